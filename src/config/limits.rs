//! Limits on the memory of clients' buffers.

use super::value::{natural, with_memory_unit, Arguments, Refusal, Value, Written};
use crate::base::num::{parse_i64, parse_memory};

/// How much a client may let pile up unread before it is dropped (`client-output-buffer-limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputBufferLimits {
    /// Ordinary clients, MONITOR included.
    pub normal: OutputBufferLimit,
    /// Replicas.
    pub replica: OutputBufferLimit,
    /// Clients with a subscription.
    pub pubsub: OutputBufferLimit,
}

/// The limit of one class of clients; 0 bytes are no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputBufferLimit {
    /// A client that reaches it is dropped at once.
    pub hard_bytes: u64,
    /// A client that stays above it is dropped after `soft_secs`.
    pub soft_bytes: u64,
    /// See `soft_bytes`.
    pub soft_secs: u64,
}

impl OutputBufferLimits {
    /// Redis's defaults.
    pub fn usual() -> OutputBufferLimits {
        OutputBufferLimits {
            normal: OutputBufferLimit::default(),
            replica: OutputBufferLimit { hard_bytes: 256 << 20, soft_bytes: 64 << 20, soft_secs: 60 },
            pubsub: OutputBufferLimit { hard_bytes: 32 << 20, soft_bytes: 8 << 20, soft_secs: 60 },
        }
    }

    fn class_mut(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        Some(match client_class(name)? {
            ClientClass::Normal => &mut self.normal,
            ClientClass::Replica => &mut self.replica,
            ClientClass::Pubsub => &mut self.pubsub,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientClass {
    Normal,
    Replica,
    Pubsub,
}

fn client_class(name: &[u8]) -> Option<ClientClass> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Some(ClientClass::Normal),
        b"slave" | b"replica" => Some(ClientClass::Replica),
        b"pubsub" => Some(ClientClass::Pubsub),
        _ => None,
    }
}

impl Value for OutputBufferLimits {
    type Rule = ();
    const TAKES_SEVERAL: bool = true;

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        if words.len() % 4 != 0 {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for class in words.chunks_exact(4) {
            let limit = self
                .class_mut(&class[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let numbers = (parse_memory(&class[1]), parse_memory(&class[2]), natural(&class[3]));
            let (Some(hard_bytes), Some(soft_bytes), Some(soft_secs)) = numbers else {
                return Err(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()
                );
            };
            *limit = OutputBufferLimit { hard_bytes, soft_bytes, soft_secs };
        }
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        let classes = [("normal", self.normal), ("slave", self.replica), ("pubsub", self.pubsub)];
        let classes = classes.map(|(name, limit)| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_secs)
        });
        classes.join(" ").into()
    }

    fn lines(&self, default: &OutputBufferLimits, (): &()) -> Vec<Written> {
        let classes = [
            ("normal", self.normal, default.normal),
            ("replica", self.replica, default.replica),
            ("pubsub", self.pubsub, default.pubsub),
        ];
        let line = |(name, limit, default): (&str, OutputBufferLimit, OutputBufferLimit)| {
            let (hard, soft) = (with_memory_unit(limit.hard_bytes), with_memory_unit(limit.soft_bytes));
            Written::new(format!("{name} {hard} {soft} {}", limit.soft_secs), limit != default)
        };
        classes.map(line).into()
    }

    /// Each class has its own line. Redis gives out the places in turn, whatever class they had.
    fn is_same_line(old: &Arguments, new: &Arguments) -> bool {
        let class = |words: &Arguments| words.first().and_then(|name| client_class(name));
        class(old) == class(new)
    }
}

/// How much memory all clients' buffers may take together (`maxmemory-clients`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientsMemory {
    /// So many bytes; 0 is no limit.
    Bytes(u64),
    /// A part of `maxmemory`.
    Percent(u8),
}

impl Value for ClientsMemory {
    type Rule = ();

    fn read(&mut self, words: &Arguments, (): &(), _is_first: bool) -> Result<(), Refusal> {
        let word = words.first().map_or(&[][..], |word| word);
        if let Some(bytes) = parse_memory(word) {
            if bytes > i64::MAX as u64 {
                return Err(format!("argument must be between -100 and {} inclusive", i64::MAX).into());
            }
            *self = ClientsMemory::Bytes(bytes);
            return Ok(());
        }
        let percent = word.strip_suffix(b"%").and_then(parse_i64).filter(|&percent| percent >= 0);
        *self = match percent.ok_or("argument must be a memory or percent value")? {
            0 => ClientsMemory::Bytes(0),
            percent @ 1..=100 => ClientsMemory::Percent(percent as u8),
            _ => return Err("percentage argument must be less or equal to 100".into()),
        };
        Ok(())
    }

    fn show(&self, (): &()) -> Vec<u8> {
        match self {
            ClientsMemory::Bytes(bytes) => bytes.to_string(),
            ClientsMemory::Percent(percent) => format!("{percent}%"),
        }
        .into()
    }

    fn lines(&self, default: &ClientsMemory, (): &()) -> Vec<Written> {
        let written = match self {
            ClientsMemory::Bytes(bytes) => with_memory_unit(*bytes),
            ClientsMemory::Percent(percent) => format!("{percent}%"),
        };
        vec![Written::new(written, self != default)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::testing::{read, show};

    #[test]
    fn output_buffer_limits() {
        let usual = OutputBufferLimits::usual();
        let shown = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(show(&usual), shown);
        let limits = read(usual, "REPLICA 1mb 2k 3 normal 1gb 0 0").unwrap();
        assert_eq!(limits.replica, OutputBufferLimit { hard_bytes: 1 << 20, soft_bytes: 2000, soft_secs: 3 });
        assert_eq!(limits.lines(&usual, &())[1], Written::new("replica 1mb 2000 3", true));
        assert!(!limits.lines(&usual, &())[2].is_needed);
        assert!(read(usual, "normal 1 2")
            .unwrap_err()
            .starts_with("Wrong number of arguments in buffer limit"));
        assert!(read(usual, "master 1 2 3").unwrap_err().starts_with("Invalid client class"));
        assert!(read(usual, "normal 1 2 -3").unwrap_err().starts_with("Error in hard, soft or soft_seconds"));
    }

    #[test]
    fn clients_memory() {
        let none = ClientsMemory::Bytes(0);
        assert_eq!(read(none, "1g"), Ok(ClientsMemory::Bytes(1_000_000_000)));
        assert_eq!(show(&read(none, "5%").unwrap()), "5%");
        assert_eq!(read(none, "0%"), Ok(none));
        assert_eq!(read(none, "101%"), Err("percentage argument must be less or equal to 100".into()));
        assert_eq!(read(none, "-1"), Err("argument must be a memory or percent value".into()));
    }
}
