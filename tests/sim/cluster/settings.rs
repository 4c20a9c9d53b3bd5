//! How a seed plays the cluster.

use ringward::base::prng::Prng;
use ringward::config::{Asker, Config, ProtectedAction};

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of each node: shards and cores.
    pub(crate) nodes: Vec<(u16, u16)>,
    pub(crate) groups: usize,
    pub(crate) writers: usize,
    pub(crate) readers: usize,
    pub(crate) noisy: usize,
    pub(crate) pipeline_max: u64,
    pub(crate) rounds: usize,
    pub(crate) steps_per_round: u64,
    /// One of so many steps is an event.
    pub(crate) steps_per_event: u64,
    /// Which events there are, as often as they are to come.
    pub(crate) events: Vec<Event>,
    /// Bytes under way on a connection, and bytes that arrive at a time.
    pub(crate) wire_capacity: usize,
    pub(crate) piece_max: u64,
    pub(crate) mail_capacity: usize,
    /// Whether keys of groups expire or are evicted, and whether commands delete them.
    pub(crate) may_vanish: bool,
    pub(crate) is_deleted: bool,
    pub(crate) password: Option<String>,
    /// Directives of all nodes.
    pub(crate) directives: Vec<(String, String)>,
}

/// What can go wrong, and what operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    CutLink,
    CutAllLinks,
    Part,
    Rejoin,
    Freeze,
    Kill,
    KillWithoutFiles,
    Shutdown,
    Restart,
    /// REPLICAOF a node.
    Follow,
    /// REPLICAOF NO ONE.
    Lead,
    /// What Sentinel does: one is promoted, the others follow it.
    Promote,
    Failover,
    AbortFailover,
    /// Two nodes follow each other.
    Loop,
    WrongPassword,
    RightPassword,
    Configure,
    Save,
    KillClients,
    TimePasses,
}

const EVENTS: &[Event] = &[
    Event::CutLink,
    Event::CutLink,
    Event::CutAllLinks,
    Event::Part,
    Event::Rejoin,
    Event::Freeze,
    Event::Kill,
    Event::KillWithoutFiles,
    Event::Shutdown,
    Event::Restart,
    Event::Follow,
    Event::Follow,
    Event::Lead,
    Event::Promote,
    Event::Promote,
    Event::Failover,
    Event::Failover,
    Event::AbortFailover,
    Event::Loop,
    Event::WrongPassword,
    Event::RightPassword,
    Event::Configure,
    Event::Save,
    Event::KillClients,
    Event::TimePasses,
];

impl Settings {
    pub(crate) fn draw(rng: &mut Prng) -> Settings {
        let nodes = (0..2 + rng.below(3)).map(|_| {
            let shards = 1 + rng.below(4) as u16;
            (shards, 1 + rng.below(u64::from(shards.min(3))) as u16)
        });
        let mut nodes: Vec<(u16, u16)> = nodes.collect();
        if rng.below(2) == 0 {
            // Where all have as many shards more can be gone on with.
            let shards = nodes[0].0;
            nodes.iter_mut().for_each(|node| *node = (shards, node.1.min(shards)));
        }
        let events: Vec<Event> = EVENTS.iter().copied().filter(|_| rng.below(2) == 0).collect();
        let pick =
            |rng: &mut Prng, values: &[&str]| values[rng.below(values.len() as u64) as usize].to_owned();
        let password = (rng.below(4) == 0).then(|| "secret".to_owned());
        let has_files = rng.below(2) == 0;
        let has_limit = rng.below(6) == 0;
        let mut directives = vec![
            ("save".to_owned(), String::new()),
            ("repl-timeout".to_owned(), pick(rng, &["2", "3", "5"])),
            ("repl-ping-replica-period".to_owned(), "1".to_owned()),
            ("repl-diskless-sync-delay".to_owned(), pick(rng, &["0", "0", "1"])),
            ("repl-backlog-size".to_owned(), pick(rng, &["1", "3000", "30000", "1mb", "1mb"])),
            ("repl-backlog-ttl".to_owned(), pick(rng, &["3600", "3600", "3600", "1"])),
            ("replica-serve-stale-data".to_owned(), pick(rng, &["yes", "yes", "no"])),
            ("min-replicas-to-write".to_owned(), pick(rng, &["0", "0", "0", "1"])),
            ("min-replicas-max-lag".to_owned(), "3".to_owned()),
            ("shutdown-timeout".to_owned(), "1".to_owned()),
            (
                "client-output-buffer-limit".to_owned(),
                pick(rng, &["replica 256mb 64mb 60", "replica 20kb 0 0"]),
            ),
            ("appendonly".to_owned(), if has_files { "yes" } else { "no" }.to_owned()),
            ("appendfsync".to_owned(), pick(rng, &["always", "everysec", "no"])),
        ];
        if let Some(password) = &password {
            directives.push(("requirepass".to_owned(), password.clone()));
            directives.push(("masterauth".to_owned(), password.clone()));
        }
        if has_limit {
            directives.push(("maxmemory".to_owned(), pick(rng, &["300kb", "600kb", "1mb"])));
            directives.push((
                "maxmemory-policy".to_owned(),
                pick(rng, &["allkeys-random", "allkeys-lru", "volatile-ttl"]),
            ));
        }
        Settings {
            nodes,
            groups: 3 + rng.below(5) as usize,
            writers: 1 + rng.below(3) as usize,
            readers: 1 + rng.below(4) as usize,
            noisy: rng.below(3) as usize,
            pipeline_max: 1 + rng.below(6),
            rounds: 1 + rng.below(2) as usize,
            steps_per_round: 500 + rng.below(2500),
            steps_per_event: [40, 150, 400][rng.below(3) as usize],
            events: if events.is_empty() { EVENTS.to_vec() } else { events },
            wire_capacity: [200, 3000, 100_000][rng.below(3) as usize],
            piece_max: [20, 400, 10_000][rng.below(3) as usize],
            mail_capacity: [2, 8, 256][rng.below(3) as usize],
            may_vanish: has_limit || rng.below(4) == 0,
            is_deleted: rng.below(3) == 0,
            password,
            directives,
        }
    }

    /// What the planted mistakes need to show: replicas of several shards, and links that mostly stand.
    pub(crate) fn draw_for_tampering(rng: &mut Prng) -> Settings {
        let mut settings = Settings::draw(rng);
        settings.nodes = vec![(3, 2), (3, 2)];
        settings.events = vec![Event::CutLink, Event::Promote, Event::Freeze];
        settings.noisy = 1;
        (settings.may_vanish, settings.is_deleted) = (false, false);
        settings.directives.retain(|(name, _)| !name.starts_with("m"));
        settings.password = None;
        settings.directives.retain(|(name, _)| name != "requirepass");
        settings
    }

    /// The configuration of a node as it is started first.
    pub(crate) fn configuration(&self) -> Config {
        let asker = Asker { is_local: true, is_loading: false };
        let pairs: Vec<(&[u8], &[u8])> =
            self.directives.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        let mut config = Config::default().set(&pairs, asker).expect("values that can be set");
        config.security.enable_debug_command = ProtectedAction::Yes;
        config.network.is_protected_mode = false;
        config
    }
}
