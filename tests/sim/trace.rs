//! What the simulator does, line by line: shown when a seed is replayed, and always hashed, so that two runs of a seed
//! can be compared.

use std::fmt::{self, Write};

/// See the module.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: Fnv,
    is_shown: bool,
}

/// FNV-1a, 64 bits.
#[derive(Debug)]
struct Fnv(u64);

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 =
            text.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
        Ok(())
    }
}

impl Trace {
    pub(crate) fn new(is_shown: bool) -> Trace {
        Trace { hash: Fnv(0xcbf2_9ce4_8422_2325), is_shown }
    }

    /// Something has happened.
    pub(crate) fn note(&mut self, what: fmt::Arguments<'_>) {
        let _ = self.hash.write_fmt(what);
        if self.is_shown {
            println!("{what}");
        }
    }

    /// Of everything that has happened.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }
}

/// Shows what the nodes log.
pub(crate) struct Logged;

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Logged {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        event.record(&mut Logged);
    }
}

impl tracing::field::Visit for Logged {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            println!("    log: {value:?}");
        }
    }
}
