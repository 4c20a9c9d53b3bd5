//! MIGRATE: what it asks for. The work is the coordinator's, which has the keys of all shards dumped and, when the
//! other server has them, removed; and `host::migrate`'s, which speaks with that server.

use crate::base::error::CommandError;
use crate::base::num::parse_i64;
use crate::command::spec::named_keys;
use crate::command::Ctx;
use crate::resp::Args;

/// What MIGRATE is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateOptions<'a> {
    /// A name or an address.
    pub host: &'a [u8],
    /// As it was given.
    pub port: &'a [u8],
    /// Of the other server; whether it has one of this number it will tell.
    pub db: i64,
    /// How long the other server may do nothing at all, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the keys stay here, too.
    pub copy: bool,
    /// Whether they take the place of keys of the other server.
    pub replace: bool,
    /// User, if one is named, and password.
    pub credentials: Option<(Option<&'a [u8]>, &'a [u8])>,
    /// The argument that is the first key, and how many there are. There may be none.
    pub keys: (usize, usize),
}

/// The timeout where none or nonsense is given.
const TIMEOUT_MS: u64 = 1000;

impl<'a> MigrateOptions<'a> {
    /// Reads the arguments.
    ///
    /// # Errors
    /// What Redis says of them, in its order.
    pub fn parse(args: Args<'a>) -> Result<MigrateOptions<'a>, CommandError> {
        let (mut copy, mut replace, mut credentials) = (false, false, None);
        let mut keys = (3, 1);
        let mut at = 6;
        while at < args.len() {
            let more = args.len() - 1 - at;
            if args.is(at, "copy") {
                copy = true;
            } else if args.is(at, "replace") {
                replace = true;
            } else if args.is(at, "auth") && more >= 1 {
                credentials = Some((None, args.at(at + 1)));
                at += 1;
            } else if args.is(at, "auth2") && more >= 2 {
                credentials = Some((Some(args.at(at + 1)), args.at(at + 2)));
                at += 2;
            } else if args.is(at, "keys") {
                if !args.at(3).is_empty() {
                    return Err(CommandError::new(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                keys = (at + 1, more);
                break;
            } else {
                return Err(CommandError::SYNTAX);
            }
            at += 1;
        }
        let number = |at: usize| parse_i64(args.at(at)).ok_or(CommandError::NOT_INTEGER);
        let (timeout, db) = (number(5)?, number(4)?);
        let timeout_ms = u64::try_from(timeout).ok().filter(|&ms| ms > 0).unwrap_or(TIMEOUT_MS);
        let (host, port) = (args.at(1), args.at(2));
        Ok(MigrateOptions { host, port, db, timeout_ms, copy, replace, credentials, keys })
    }

    /// The port's number, read as Redis does: what follows the digits does not matter. None if no port has it.
    pub fn port_number(&self) -> Option<u16> {
        let digits = self.port.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = parse_i64(&self.port[..digits]).and_then(|number| u16::try_from(number).ok());
        number.filter(|&number| number > 0)
    }
}

/// Tells which arguments of MIGRATE are nobody's business: names and passwords behind AUTH and AUTH2.
pub fn secrets_of_migrate<'a>(args: Args<'a>) -> impl Fn(usize) -> bool + 'a {
    let options = 6..named_keys(args.len(), |at| args.at(at)).unwrap_or(args.len());
    let is_option = move |at: usize, name: &str| options.contains(&at) && args.is(at, name);
    move |at: usize| {
        is_option(at.wrapping_sub(1), "auth")
            || is_option(at.wrapping_sub(1), "auth2")
            || is_option(at.wrapping_sub(2), "auth2")
    }
}

/// No shard runs it by itself: it stands in no file that we write, and from others it is not taken.
pub(super) fn migrate(_: &mut Ctx<'_, '_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::new("ERR MIGRATE needs another server"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::OwnedArgs;

    fn owned(line: &str) -> OwnedArgs {
        OwnedArgs::collect(line.split(' ').map(|word| word.trim_matches('"').as_bytes()))
    }

    #[test]
    fn options_are_read_as_redis_does() {
        let plain = MigrateOptions {
            host: b"h",
            port: b"6379",
            db: 0,
            timeout_ms: 1000,
            copy: false,
            replace: false,
            credentials: None,
            keys: (3, 1),
        };
        for (line, expected) in [
            ("migrate h 6379 k 0 0", plain.clone()),
            ("migrate h 6379 k 0 -5", plain.clone()),
            ("migrate h 6379 k -3 20", MigrateOptions { db: -3, timeout_ms: 20, ..plain.clone() }),
            (
                "migrate h 6379 k 0 1000 COPY replace Auth pw",
                MigrateOptions {
                    copy: true,
                    replace: true,
                    credentials: Some((None, b"pw")),
                    ..plain.clone()
                },
            ),
            (
                "migrate h 6379 \"\" 0 1000 auth keys AUTH2 me pw keys a b",
                MigrateOptions { credentials: Some((Some(b"me"), b"pw")), keys: (12, 2), ..plain.clone() },
            ),
            ("migrate h 6379 \"\" 0 1000 keys", MigrateOptions { keys: (7, 0), ..plain.clone() }),
            ("migrate h 6379 \"\" 0 1000 keys copy", MigrateOptions { keys: (7, 1), ..plain }),
        ] {
            assert_eq!(MigrateOptions::parse(owned(line).as_args()), Ok(expected), "{line}");
        }
        let syntax = "ERR syntax error";
        let integer = "ERR value is not an integer or out of range";
        for (line, text) in [
            ("migrate h p k x x what", syntax),
            ("migrate h p k x x auth", syntax),
            ("migrate h p k x x auth2 me", syntax),
            ("migrate h p k x 1", integer),
            ("migrate h p k 1 x", integer),
            (
                "migrate h p k x x keys a",
                "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
            ),
        ] {
            assert_eq!(MigrateOptions::parse(owned(line).as_args()).unwrap_err().text(), text, "{line}");
        }
    }

    #[test]
    fn ports_are_the_digits_at_the_front() {
        for (port, number) in [
            ("6379", Some(6379)),
            ("6379x", Some(6379)),
            ("x", None),
            ("0", None),
            ("65536", None),
            ("", None),
        ] {
            let line = format!("migrate h {port} k 0 0");
            assert_eq!(
                MigrateOptions::parse(owned(&line).as_args()).unwrap().port_number(),
                number,
                "{port}"
            );
        }
    }

    #[test]
    fn secrets_are_known_wherever_they_stand() {
        for (line, secret) in [
            ("migrate auth auth k 0 0 copy auth pw", &[8][..]),
            ("migrate h p \"\" 0 0 auth2 me pw auth pw2 keys auth x auth2 y z", &[7, 8, 10]),
            ("migrate h p k 0 0 auth", &[]),
        ] {
            let args = owned(line);
            let args = args.as_args();
            let is_secret = secrets_of_migrate(args);
            let found: Vec<usize> = (0..args.len()).filter(|&at| is_secret(at)).collect();
            assert_eq!(found, secret, "{line}");
        }
    }
}
