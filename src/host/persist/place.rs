//! Where snapshots go: `dir` and `dbfilename`, which CONFIG SET may change.
//!
//! Redis changes its folder at once: what is open stays where it is, and what is made from then on is made in the new
//! folder. So it is here. Core 0 alone takes CONFIG SET; the runtime looks at the new place first (`Effect::Enter`).
//! No snapshot of which a part is in one place gets its manifest in another: all cores change between two saves.
//!
//! The append-only file stays where it is open, until it is switched off and on again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PersistMail;
use crate::base::error::CommandError;
use crate::base::ids::CoreId;
use crate::base::time::Ticks;
use crate::config::{set_failed, Asker, Config, Directory};
use crate::host::host::{Effect, Host};
use crate::host::mail::Rare;
use crate::host::query::Answer;
use crate::storage::plan::Plan;

/// A folder, and what snapshots are called there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The folder; empty for the one that the process was started for.
    pub dir: PathBuf,
    /// `dbfilename`.
    pub dbfilename: String,
}

impl Place {
    /// What the configuration says.
    pub(super) fn of(config: &Config) -> Place {
        let dir = config.persistence.dir.0.as_path();
        let dir = if dir == Path::new(".") { PathBuf::new() } else { dir.to_owned() };
        Place { dir, dbfilename: config.persistence.dbfilename.to_string() }
    }

    /// A file there.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> PathBuf {
        match self.dir.as_os_str().is_empty() {
            true => PathBuf::from("."),
            false => self.dir.clone(),
        }
    }
}

/// What the runtime has found at a place.
#[derive(Debug)]
pub struct Entered {
    /// The folder's whole path.
    pub dir: PathBuf,
    /// What lies there.
    pub plan: Plan,
}

/// A CONFIG SET that waits until the runtime has looked: who asked, for what.
#[derive(Debug)]
pub(in crate::host) struct Entering {
    asker: (CoreId, u64),
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    as_whom: Asker,
    place: Place,
    is_other_dir: bool,
}

impl<T: Ticks> Host<T> {
    /// CONFIG SET, on core 0. The answer follows, unless it is refused at once.
    pub(in crate::host) fn set_config(
        &mut self,
        asker: (CoreId, u64),
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
        as_whom: Asker,
    ) -> Option<CommandError> {
        let config = match self.config_with(&pairs, as_whom) {
            Ok(config) => config,
            Err(refusal) => return Some(refusal),
        };
        let (before, after) = (&self.config.persistence, &config.persistence);
        let is_other_dir = before.dir != after.dir;
        if is_other_dir || before.dbfilename != after.dbfilename {
            let place = Place::of(&config);
            self.effects.push(Effect::Enter { dir: place.folder(), dbfilename: place.dbfilename.clone() });
            self.persist.entering.push_back(Entering { asker, pairs, as_whom, place, is_other_dir });
        } else {
            self.put_in_force(asker, config);
        }
        None
    }

    fn config_with(&self, pairs: &[(Vec<u8>, Vec<u8>)], as_whom: Asker) -> Result<Config, CommandError> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        self.config.set(&pairs, as_whom)
    }

    /// The runtime has looked at a place as `Effect::Enter` told it to: in the order in which it was told. An error is
    /// for the client.
    pub fn entered(&mut self, result: Result<Entered, String>) {
        let Some(entering) = self.persist.entering.pop_front() else { return };
        let Entering { asker, pairs, as_whom, place, is_other_dir } = entering;
        let name = if is_other_dir { "dir" } else { "dbfilename" };
        let result = result.map_err(|reason| set_failed(name, &reason));
        // Others may have changed something meanwhile.
        let result = result.and_then(|entered| Ok((entered, self.config_with(&pairs, as_whom)?)));
        let (Entered { dir, plan }, mut config) = match result {
            Ok(found) => found,
            Err(refusal) => {
                self.post(asker.0, Rare::Answer(asker.1, Answer::Refused(refusal)));
                return;
            }
        };
        if is_other_dir {
            config.persistence.dir = Directory::from(dir.as_path());
        }
        let place = Place { dir, ..place };
        if let Some(conducting) = &mut self.persist.conducting {
            conducting.next_place = Some(Box::new((place, plan)));
        }
        self.put_in_force(asker, config);
        self.settle_place();
    }

    fn put_in_force(&mut self, asker: (CoreId, u64), config: Config) {
        self.warn_of_limit(&config);
        self.configure_all(asker, Arc::new(config));
    }

    /// Changes the place, unless something is being saved.
    pub(super) fn settle_place(&mut self) {
        let Some(conducting) = &mut self.persist.conducting else { return };
        if conducting.conductor.target().is_some() {
            return;
        }
        let Some((place, plan)) = conducting.next_place.take().map(|next| *next) else { return };
        conducting.conductor.loaded(plan.snapshot_id);
        conducting.snapshot = plan.snapshot;
        conducting.stock = plan.stock;
        let is_other_dir = place.dir != self.persist.place.dir;
        if is_other_dir {
            if conducting.set.is_some() {
                tracing::warn!(
                    "The append only file stays in {}, and a server that is started in {} does not find it: CONFIG SET \
                     appendonly no and then yes begins one there",
                    self.persist.aof_folder.display(),
                    place.dir.display()
                );
            }
            conducting.generation = conducting.generation.max(plan.generation);
            conducting.old_logs = plan.old_logs;
        }
        for core in (1..self.cores).map(CoreId) {
            self.post(core, Rare::Persist(PersistMail::Place(place.clone())));
        }
        self.change_place(place);
    }

    /// What is made from now on is made there.
    pub(super) fn change_place(&mut self, place: Place) {
        if place.dir != self.persist.place.dir {
            self.persist.aof_folder = place.dir.join(self.config.persistence.appenddirname.as_path());
        }
        self.persist.place = place;
    }
}
