//! CONFIG GET and CONFIG SET as functions on a `Config`, with Redis's replies.

use super::{
    params::{find, names, Row},
    Config,
};
use crate::base::{error::CommandError, glob};

/// Who asks for a CONFIG SET, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The client is on loopback or on the Unix socket.
    pub is_local: bool,
    /// The data set is being loaded.
    pub is_loading: bool,
}

impl Config {
    /// CONFIG GET: the directives that `patterns` match, each once, with their values.
    ///
    /// As in Redis, a name that is no pattern is replied in the case it was asked in, old names stand beside the own
    /// ones, and hidden directives answer to their full name only. The order is ours: that of the patterns, then of the
    /// table.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        let mut add = |name: &str, row: &Row| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.into(), row.show(self)));
            }
        };
        for pattern in patterns {
            if glob::is_pattern(pattern) {
                let matching = names()
                    .filter(|(name, row)| !row.is_hidden() && glob::matches(pattern, name.as_bytes(), true));
                matching.for_each(|(name, row)| add(name, row));
            } else if let Some((_, row)) = find(pattern) {
                add(&String::from_utf8_lossy(pattern), row);
            }
        }
        found
    }

    /// CONFIG SET, all or nothing: the configuration with these values, or Redis's refusal.
    ///
    /// To put it into force is the caller's; if that fails for a directive, the reply is [`set_failed`].
    pub fn set(&self, pairs: &[(&[u8], &[u8])], asker: Asker) -> Result<Config, CommandError> {
        let mut settings: Vec<(&'static str, &'static Row)> = Vec::new();
        for (name, _) in pairs {
            let typed = String::from_utf8_lossy(name);
            let Some((known, row)) = find(name) else { return Err(unknown_option(&typed)) };
            if row.is_immutable() {
                return Err(set_failed(&typed, "can't set immutable config"));
            }
            if row.is_protected() && !self.security.enable_protected_configs.allows(asker.is_local) {
                return Err(set_failed(&typed, "can't set protected config"));
            }
            if row.is_denied_while_loading() && asker.is_loading {
                return Err(CommandError::LOADING);
            }
            // A directive and its old name are not the same one here, as in Redis.
            if settings.iter().any(|(before, _)| *before == known) {
                return Err(set_failed(&typed, "duplicate parameter"));
            }
            settings.push((known, row));
        }
        let mut config = self.clone();
        for ((name, row), (_, value)) in settings.iter().zip(pairs) {
            let words = if row.takes_several { between_spaces(value) } else { vec![value.to_vec()] };
            row.read(&mut config, &words, true).map_err(|refusal| set_failed(name, &refusal))?;
        }
        Ok(config)
    }
}

/// CONFIG SET's reply when `name` cannot be set.
pub fn set_failed(name: &str, reason: &str) -> CommandError {
    on_one_line(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
}

fn unknown_option(name: &str) -> CommandError {
    on_one_line(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"))
}

/// An error reply must not contain what ends one.
fn on_one_line(text: String) -> CommandError {
    CommandError::with(text.replace(['\r', '\n'], " "))
}

/// The arguments in one value, as CONFIG SET splits them: at each space, quotes meaning nothing.
fn between_spaces(value: &[u8]) -> Vec<Vec<u8>> {
    if value.is_empty() {
        return Vec::new();
    }
    value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
        let patterns: Vec<&[u8]> = patterns.iter().map(|pattern| pattern.as_bytes()).collect();
        let found = config.get(&patterns);
        found.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect()
    }

    fn set(config: &Config, pairs: &[(&str, &str)]) -> Result<Config, String> {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        config.set(&pairs, Asker::default()).map_err(|error| error.text().to_string())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn get_takes_names_and_patterns() {
        let config = Config::default();
        assert_eq!(get(&config, &["PORT", "por?", "nosuch"]), [pair("PORT", "6379")]);
        assert_eq!(
            get(&config, &["*read-only", "maxmemory"]),
            [pair("replica-read-only", "yes"), pair("slave-read-only", "yes"), pair("maxmemory", "0")]
        );
        assert_eq!(get(&config, &["SLAVEOF"]), [pair("SLAVEOF", "")]);
        assert_eq!(get(&config, &["key-load-*"]), []);
        assert_eq!(get(&config, &["key-load-delay"]), [pair("key-load-delay", "0")]);
        assert_eq!(get(&config, &["sa[v]e"]), [pair("save", "3600 1 300 100 60 10000")]);
    }

    #[test]
    fn set_changes_all_or_nothing() {
        let config = Config::default();
        let changed = set(&config, &[("maxmemory", "1gb"), ("SAVE", "900 1"), ("hz", "0")]).unwrap();
        assert_eq!(changed.memory.maxmemory_bytes, 1 << 30);
        assert_eq!(get(&changed, &["save", "hz"]), [pair("save", "900 1"), pair("hz", "1")]);
        assert_eq!(changed.changed_since(&config), ["hz", "maxmemory", "save"]);
        assert_eq!(get(&set(&changed, &[("save", "")]).unwrap(), &["save"]), [pair("save", "")]);
        assert!(set(&config, &[("maxmemory", "1gb"), ("port", "x")]).is_err());
    }

    #[test]
    fn set_refuses_in_redis_s_words() {
        let failed = |name: &str, reason: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        };
        let unknown = "ERR Unknown option or number of arguments for CONFIG SET - ";
        for (pairs, expected) in [
            (&[("nosuch", "1")][..], format!("{unknown}'nosuch'")),
            (&[("a\r\nb", "1")], format!("{unknown}'a  b'")),
            (&[("DATABASES", "3")], failed("DATABASES", "can't set immutable config")),
            (&[("dir", "/")], failed("dir", "can't set protected config")),
            (&[("port", "1"), ("PORT", "2")], failed("PORT", "duplicate parameter")),
            (&[("PORT", "x")], failed("port", "argument couldn't be parsed into an integer")),
            (&[("appendonly", "x")], failed("appendonly", "argument must be 'yes' or 'no'")),
            (&[("databases", "4"), ("nosuch", "3")], failed("databases", "can't set immutable config")),
            (&[("port", "x"), ("nosuch", "3")], format!("{unknown}'nosuch'")),
            (&[("save", "900  1")], failed("save", "Invalid save parameters")),
        ] {
            assert_eq!(set(&Config::default(), pairs).unwrap_err(), expected);
        }
        assert!(set(&Config::default(), &[("slave-read-only", "yes"), ("replica-read-only", "no")]).is_ok());
    }

    #[test]
    fn set_asks_who_and_when() {
        let mut config = Config::default();
        config.security.enable_protected_configs = crate::config::ProtectedAction::Local;
        let pairs: &[(&[u8], &[u8])] = &[(b"dir", b"/data")];
        assert!(config.set(pairs, Asker::default()).is_err());
        let local = Asker { is_local: true, is_loading: false };
        assert_eq!(&config.set(pairs, local).unwrap().persistence.dir.0[..], b"/data");
        let loading = Asker { is_local: true, is_loading: true };
        assert_eq!(config.set(pairs, loading).unwrap_err(), CommandError::LOADING);
    }
}
