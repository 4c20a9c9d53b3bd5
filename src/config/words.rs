//! Directives whose value is one of a few words, each a closed enum.

use super::value::{Arguments, Refusal, Value, Written};

/// A closed list of words that a directive takes.
pub trait Words: Copy + PartialEq + Sized + 'static {
    /// Every word, in the order in which a refusal lists them. Where two words mean the same, the first is the one
    /// shown.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this value, as INFO and CONFIG GET print it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("unknown", |(word, _)| word)
    }

    /// The value that `word` stands for, in any case.
    fn from_word(word: &[u8]) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| *value)
    }
}

/// The refusal of a word that is not one of `words`.
pub(super) fn must_be_one_of<T>(words: &[(&'static str, T)]) -> Refusal {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    format!("argument(s) must be one of the following: {}", names.join(", ")).into()
}

macro_rules! words {
    ($(
        $(#[$doc:meta])*
        $Enum:ident { $( $(#[$variant_doc:meta])* $($word:literal)|+ => $Variant:ident, )* }
    )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Enum { $( $(#[$variant_doc])* $Variant, )* }

        impl Words for $Enum {
            const WORDS: &'static [(&'static str, $Enum)] = &[ $( $( ($word, $Enum::$Variant), )+ )* ];
        }

        impl Value for $Enum {
            type Rule = ();

            fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
                let value = words.first().and_then(|word| $Enum::from_word(word));
                *self = value.ok_or_else(|| must_be_one_of($Enum::WORDS))?;
                Ok(())
            }

            fn show(&self, (): &()) -> Vec<u8> {
                self.word().into()
            }

            fn lines(&self, default: &$Enum, (): &()) -> Vec<Written> {
                vec![Written::new(self.word(), self != default)]
            }
        }
    )* };
}

words! {
    /// Which keys go first when `maxmemory` is reached.
    MaxmemoryPolicy {
        /// The least recently used of the keys that have a TTL.
        "volatile-lru" => VolatileLru,
        /// The least frequently used of the keys that have a TTL.
        "volatile-lfu" => VolatileLfu,
        /// Any key that has a TTL.
        "volatile-random" => VolatileRandom,
        /// The key that would expire first.
        "volatile-ttl" => VolatileTtl,
        /// The least recently used key.
        "allkeys-lru" => AllkeysLru,
        /// The least frequently used key.
        "allkeys-lfu" => AllkeysLfu,
        /// Any key.
        "allkeys-random" => AllkeysRandom,
        /// None: writes that need memory are refused.
        "noeviction" => NoEviction,
    }

    /// The least severe messages that are logged.
    LogLevel {
        /// Everything.
        "debug" => Debug,
        /// Much, rarely useful.
        "verbose" => Verbose,
        /// What a production log should have.
        "notice" => Notice,
        /// Only what is important or critical.
        "warning" => Warning,
        /// No log at all.
        "nothing" => Nothing,
    }

    /// Under which supervisor the process reports itself ready.
    Supervised {
        /// upstart.
        "upstart" => Upstart,
        /// systemd, through `NOTIFY_SOCKET`.
        "systemd" => Systemd,
        /// Whichever the environment tells.
        "auto" => Auto,
        /// None.
        "no" => No,
    }

    /// The facility of messages to syslog.
    SyslogFacility {
        /// `LOG_USER`
        "user" => User,
        /// `LOG_LOCAL0`
        "local0" => Local0,
        /// `LOG_LOCAL1`
        "local1" => Local1,
        /// `LOG_LOCAL2`
        "local2" => Local2,
        /// `LOG_LOCAL3`
        "local3" => Local3,
        /// `LOG_LOCAL4`
        "local4" => Local4,
        /// `LOG_LOCAL5`
        "local5" => Local5,
        /// `LOG_LOCAL6`
        "local6" => Local6,
        /// `LOG_LOCAL7`
        "local7" => Local7,
    }

    /// When the append-only file is forced to disk.
    Fsync {
        /// Once a second.
        "everysec" => EverySec,
        /// Before a write is answered.
        "always" => Always,
        /// When the kernel sees fit.
        "no" => No,
    }

    /// How a replica that loads straight from the socket treats the data it has.
    DisklessLoad {
        /// It goes through a file.
        "disabled" => Disabled,
        /// Only where it has no data.
        "on-empty-db" => OnEmptyDb,
        /// It keeps the old data until the new is complete.
        "swapdb" => SwapDb,
    }

    /// Whether TLS clients must show a certificate.
    TlsAuthClients {
        /// They need not.
        "no" => No,
        /// They must.
        "yes" => Yes,
        /// What they show is checked.
        "optional" => Optional,
    }

    /// Whether `oom-score-adj-values` are applied.
    OomScoreAdj {
        /// They are not.
        "no" => No,
        /// As an addition to the score at start.
        "yes" | "relative" => Relative,
        /// As they are.
        "absolute" => Absolute,
    }

    /// The channels of a new ACL user.
    AclPubsubDefault {
        /// All.
        "allchannels" => AllChannels,
        /// None.
        "resetchannels" => ResetChannels,
    }

    /// Whether the payload of RESTORE and of a full sync is checked deeply.
    SanitizeDump {
        /// It is not.
        "no" => No,
        /// It is.
        "yes" => Yes,
        /// Only what clients send.
        "clients" => Clients,
    }

    /// Who may use a dangerous feature.
    ProtectedAction {
        /// Nobody.
        "no" => No,
        /// Every client.
        "yes" => Yes,
        /// Clients on loopback and on the Unix socket.
        "local" => Local,
    }

    /// How cluster nodes are named to clients.
    ClusterEndpoint {
        /// By address.
        "ip" => Ip,
        /// By host name.
        "hostname" => Hostname,
        /// Not at all.
        "unknown-endpoint" => Unknown,
    }

    /// What a replica does when a command from its primary fails.
    PropagationError {
        /// It goes on.
        "ignore" => Ignore,
        /// It stops.
        "panic" => Panic,
        /// It stops, but a primary that loads its AOF goes on.
        "panic-on-replicas" => PanicOnReplicas,
    }
}

impl ProtectedAction {
    /// Whether a client may, given whether it is a local one.
    pub fn allows(self, is_local: bool) -> bool {
        match self {
            ProtectedAction::No => false,
            ProtectedAction::Yes => true,
            ProtectedAction::Local => is_local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_any_case() {
        let mut policy = MaxmemoryPolicy::NoEviction;
        policy.read(&[b"AllKeys-LFU".to_vec()], &(), true).unwrap();
        assert_eq!(policy, MaxmemoryPolicy::AllkeysLfu);
        assert_eq!(policy.word(), "allkeys-lfu");
        let refusal = Fsync::EverySec.read(&[b"never".to_vec()], &(), true).unwrap_err();
        assert_eq!(refusal, "argument(s) must be one of the following: everysec, always, no");
    }

    #[test]
    fn of_two_words_for_one_value_the_first_is_shown() {
        assert_eq!(OomScoreAdj::from_word(b"relative").unwrap().word(), "yes");
    }
}
