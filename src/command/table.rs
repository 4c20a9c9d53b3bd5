//! All commands, found by name.
//!
//! One table per process, made at start: the families' rows, then `rename-command` applied to their names. Found by
//! one multiplication and usually one comparison, since this happens for every request.

use std::collections::BTreeMap;

use super::spec::{Flags, Group, KeySpec, Run, Spec, Spread};
use super::{
    bitmap, connection, debug, generic, hash, hyperloglog, internal, list, pubsub, server, set, string,
    transaction, zset,
};

/// The place of a command or subcommand in the table: what statistics are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u16);

impl CommandId {
    /// No command: the name was not found.
    pub const NONE: CommandId = CommandId(u16::MAX);

    /// Its place in a list of all commands.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The longest name of a command; longer ones are not looked for.
const NAME_BYTES_MAX: usize = 32;

/// All commands and subcommands of this process.
#[derive(Debug)]
pub struct Table {
    /// Every command, each followed by its subcommands.
    specs: Vec<&'static Spec>,
    /// Whether a request takes the short way: one key, in argument 1, on one shard.
    short: Vec<bool>,
    /// Whether what a command works on lies apart from its key's entry.
    deep: Vec<bool>,
    /// Where the subcommands of a container stand in `specs`.
    children: Vec<std::ops::Range<u16>>,
    /// Commands and subcommands by the names of their rows, whatever clients call them.
    by_spec: BTreeMap<&'static str, CommandId>,
    /// Top-level names, lower case, by `bucket_of`; open addressing, at most half full.
    names: Vec<Option<Name>>,
}

/// A name that clients use.
#[derive(Clone, Debug)]
struct Name {
    fold: Fold,
    /// In lower case.
    name: Box<[u8]>,
    /// Whether equal folds mean equal names: at most 16 letters.
    is_letters: bool,
    id: CommandId,
}

/// A name's length and its first and last eight bytes, with letters in lower case; other bytes may be changed by that,
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fold {
    len: usize,
    first: u64,
    last: u64,
}

impl Table {
    /// The table with `rename-command` directives (from, to; to nothing where a command is disabled) applied.
    ///
    /// # Errors
    /// The text for the log if a renamed command does not exist or the new name is taken.
    pub fn new(renames: &[(String, String)]) -> Result<Table, String> {
        let mut table = Table {
            specs: Vec::new(),
            short: Vec::new(),
            deep: Vec::new(),
            children: Vec::new(),
            by_spec: BTreeMap::new(),
            names: vec![None; 1024],
        };
        let mut names: Vec<(String, CommandId)> = Vec::new();
        for spec in families() {
            let id = table.add(spec);
            if !spec.flags.has(Flags::INTERNAL) {
                names.push((spec.name.to_owned(), id));
            }
            let from = table.specs.len() as u16;
            for sub in spec.subcommands {
                table.add(sub);
            }
            table.children[id.index()] = from..table.specs.len() as u16;
        }
        for (from, to) in renames {
            let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
            let at = names
                .iter()
                .position(|(name, _)| *name == from)
                .ok_or_else(|| "No such command in rename-command".to_owned())?;
            let (_, id) = names.swap_remove(at);
            if to.is_empty() {
                continue;
            }
            if names.iter().any(|(name, _)| *name == to) {
                return Err("Target command name already exists".to_owned());
            }
            names.push((to, id));
        }
        for (name, id) in names {
            let name = name.into_bytes().into_boxed_slice();
            let fold = Fold::of(&name);
            let mut at = fold.bucket(table.names.len());
            while table.names[at].is_some() {
                at = (at + 1) % table.names.len();
            }
            let is_letters = name.len() <= 16 && name.iter().all(u8::is_ascii_lowercase);
            table.names[at] = Some(Name { fold, name, is_letters, id });
        }
        Ok(table)
    }

    fn add(&mut self, spec: &'static Spec) -> CommandId {
        let id = CommandId(self.specs.len() as u16);
        self.specs.push(spec);
        self.by_spec.insert(spec.name, id);
        self.short.push(is_short(spec));
        self.deep.push(is_deep(spec));
        self.children.push(0..0);
        id
    }

    /// The command of this name, in either case; not its subcommand, and none that is internal.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandId> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let fold = Fold::of(name);
        let mut at = fold.bucket(self.names.len());
        while let Some(known) = &self.names[at] {
            if known.fold == fold && (known.is_letters || known.name.eq_ignore_ascii_case(name)) {
                return Some(known.id);
            }
            at = (at + 1) & (self.names.len() - 1);
        }
        None
    }

    /// The subcommand of `container` with this name, in either case.
    pub fn find_sub(&self, container: CommandId, name: &[u8]) -> Option<CommandId> {
        self.children[container.index()].clone().map(CommandId).find(|&id| {
            let full = self.specs[id.index()].name;
            full.split_once('|').is_some_and(|(_, sub)| sub.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    /// The row of a command.
    #[inline]
    pub fn spec(&self, id: CommandId) -> &'static Spec {
        self.specs[id.index()]
    }

    /// Whether requests of this command take the short way: one key, in argument 1, on one shard.
    #[inline]
    pub fn is_short(&self, id: CommandId) -> bool {
        self.short[id.index()]
    }

    /// Whether what this command works on lies apart from its key's entry: a collection.
    #[inline]
    pub fn is_deep(&self, id: CommandId) -> bool {
        self.deep[id.index()]
    }

    /// The command that shards use among themselves under this name, whatever clients call it now.
    ///
    /// # Panics
    /// If there is no such row: the names are constants of this program.
    pub fn internal(&self, name: &str) -> CommandId {
        *self.by_spec.get(name).expect("a row of this name")
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.specs.len()
    }

    /// Whether there is no command; never.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// Every command and subcommand.
    pub fn iter(&self) -> impl Iterator<Item = (CommandId, &'static Spec)> + '_ {
        self.specs.iter().enumerate().map(|(i, &spec)| (CommandId(i as u16), spec))
    }

    /// The commands that clients can name, with the name they have now, subcommands left out, by place.
    pub fn named(&self) -> Vec<(&str, CommandId)> {
        let mut named: Vec<_> = self
            .names
            .iter()
            .flatten()
            .filter_map(|known| Some((std::str::from_utf8(&known.name).ok()?, known.id)))
            .collect();
        named.sort_by_key(|&(_, id)| id);
        named
    }
}

fn is_deep(spec: &Spec) -> bool {
    matches!(spec.doc.group, Group::Hash | Group::List | Group::Set | Group::Zset)
}

fn is_short(spec: &Spec) -> bool {
    matches!(spec.run, Run::Shard(_, Spread::One))
        && matches!(spec.keys, [KeySpec { first: 1, last: 0, .. }])
        && !spec.flags.has(Flags::INTERNAL)
}

/// The rows of all families, in the order that COMMAND lists them.
fn families() -> impl Iterator<Item = &'static Spec> {
    string::SPECS
        .iter()
        .chain(list::SPECS)
        .chain(set::SPECS)
        .chain(hash::SPECS)
        .chain(zset::SPECS)
        .chain(bitmap::SPECS)
        .chain(hyperloglog::SPECS)
        .chain(generic::SPECS)
        .chain(connection::SPECS)
        .chain(server::SPECS)
        .chain(transaction::SPECS)
        .chain(pubsub::SPECS)
        .chain(internal::SPECS)
        .chain(debug::SPECS)
}

impl Fold {
    #[inline]
    fn of(name: &[u8]) -> Fold {
        // In ASCII, setting this bit makes a letter small, and no other byte becomes a letter.
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let word = |bytes: Option<&[u8; 8]>| bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes) | LOWER);
        let (first, last) = if name.len() >= 8 {
            (word(name.first_chunk()), word(name.last_chunk()))
        } else {
            let first = name.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte | 0x20));
            (first, 0)
        };
        Fold { len: name.len(), first, last }
    }

    /// Where to begin to look for the name among so many places, a power of two.
    #[inline]
    fn bucket(self, places: usize) -> usize {
        let mixed =
            (self.first ^ self.last.rotate_left(23) ^ self.len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 48) as usize & (places - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_in_either_case() {
        let table = Table::new(&[]).unwrap();
        for (id, spec) in table.iter() {
            match spec.name.split_once('|') {
                None if spec.flags.has(Flags::INTERNAL) => {
                    assert_eq!(table.find(spec.name.as_bytes()), None);
                    assert_eq!(table.internal(spec.name), id);
                }
                None => {
                    assert_eq!(table.find(spec.name.as_bytes()), Some(id));
                    assert_eq!(table.find(spec.name.to_uppercase().as_bytes()), Some(id));
                }
                Some((container, sub)) => {
                    let container = table.find(container.as_bytes()).unwrap();
                    assert_eq!(table.find_sub(container, sub.to_uppercase().as_bytes()), Some(id));
                }
            }
        }
        assert_eq!(table.find(b"nosuchcommand"), None);
        assert_eq!(table.find(b""), None);
    }

    #[test]
    fn commands_can_be_renamed_and_disabled() {
        let rename = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let table = Table::new(&[rename("GET", "fetch"), rename("set", "")]).unwrap();
        assert_eq!(table.find(b"get"), None);
        assert_eq!(table.find(b"set"), None);
        assert_eq!(table.spec(table.find(b"FETCH").unwrap()).name, "get");
        assert!(Table::new(&[rename("nosuch", "a")]).is_err());
        assert!(Table::new(&[rename("get", "set")]).is_err());
    }
}
