//! The log, in Redis's line format: `pid:role date mark message`.
//!
//! Levels map to Redis's: debug `.`, verbose `-`, notice `*`, warning `#`. Nothing is logged per request, so a line may
//! cost a lock and a write.

use std::fmt::{self, Write as _};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::config::LogLevel;

/// The level that is written: 0 debug to 3 warning, 4 nothing.
static LEVEL: AtomicU8 = AtomicU8::new(2);

/// Where lines go.
struct RedisFormat {
    out: Mutex<Option<File>>,
}

/// Starts logging, to a file or to stdout where `logfile` is empty.
///
/// # Errors
/// The file cannot be opened.
pub fn start(logfile: &str, loglevel: LogLevel) -> io::Result<()> {
    let file = if logfile.is_empty() {
        None
    } else {
        Some(OpenOptions::new().create(true).append(true).open(Path::new(logfile))?)
    };
    set_level(loglevel);
    let subscriber = tracing_subscriber::registry().with(RedisFormat { out: Mutex::new(file) });
    // A second start, as in tests, keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// `CONFIG SET loglevel`.
pub fn set_level(loglevel: LogLevel) {
    let level = match loglevel {
        LogLevel::Debug => 0,
        LogLevel::Verbose => 1,
        LogLevel::Notice => 2,
        LogLevel::Warning => 3,
        LogLevel::Nothing => 4,
    };
    LEVEL.store(level, Ordering::Relaxed);
}

impl<S: Subscriber> Layer<S> for RedisFormat {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, mark) = match *event.metadata().level() {
            Level::TRACE => (0, '.'),
            Level::DEBUG => (1, '-'),
            Level::INFO => (2, '*'),
            Level::WARN | Level::ERROR => (3, '#'),
        };
        // Libraries speak in levels of their own; only what is ours is for the operator.
        if level < LEVEL.load(Ordering::Relaxed) || !event.metadata().target().starts_with("ringward") {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let line = format!("{}:M {} {mark} {}\n", std::process::id(), local_time(), message.0);
        match &mut *self.out.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            // A log that cannot be written has nobody to tell.
            Some(file) => drop(file.write_all(line.as_bytes())),
            None => drop(io::stdout().write_all(line.as_bytes())),
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        } else {
            let _ = write!(self.0, " {}={value:?}", field.name());
        }
    }
}

/// `22 Nov 2026 10:15:48.123` in the local time zone.
fn local_time() -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let secs = since.as_secs() as libc::time_t;
    // SAFETY: zeroed bytes are a valid tm; localtime_r fills it and keeps nothing.
    let tm = unsafe {
        let mut tm: libc::tm = std::mem::zeroed();
        libc::localtime_r(&secs, &mut tm);
        tm
    };
    format!(
        "{:02} {} {} {:02}:{:02}:{:02}.{:03}",
        tm.tm_mday,
        MONTHS[tm.tm_mon as usize % 12],
        tm.tm_year + 1900,
        tm.tm_hour,
        tm.tm_min,
        tm.tm_sec,
        since.subsec_millis()
    )
}
