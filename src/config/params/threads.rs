//! Shards and the processors they run on: Ringward's own section.

use super::{Effect::*, *};
use crate::config::{
    cores::Cores,
    value::{int, Text, UNSET_IF_EMPTY},
};

const CPULISTS: &str = "one list of processors serves all threads, see cores";
const IO_THREADS: &str = "the cores that own the data do the network's work too, see shards and cores";

section! {
    /// Shards and the processors they run on.
    Threads at threads {
        /// How many parts the keyspace has; 0 means one for each of `cores`.
        "shards" => shards: u16 = 0, int(0, 1024), IMMUTABLE, Live;
        /// The processors to run on, one thread each; none means all that the process may run on.
        "cores" => cores: Cores = Cores::default(), (), IMMUTABLE, Live;
        /// How long a core without work looks for more before it sleeps.
        "spin-us" => spin_us: u32 = 0, int(0, 1_000_000), MUTABLE, Live;
        /// Redis's threads for the network.
        "io-threads" => io_threads: u16 = 1, int(1, 128), IMMUTABLE, Meaningless(IO_THREADS);
        /// Whether these threads also read.
        "io-threads-do-reads" => io_threads_do_reads: bool = false, (), IMMUTABLE, Meaningless(IO_THREADS);
        /// Processors of Redis's main thread.
        "server_cpulist" => server_cpulist: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Meaningless(CPULISTS);
        /// Processors of Redis's background threads.
        "bio_cpulist" => bio_cpulist: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Meaningless(CPULISTS);
        /// Processors of Redis's AOF rewrite.
        "aof_rewrite_cpulist" =>
            aof_rewrite_cpulist: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Meaningless(CPULISTS);
        /// Processors of Redis's snapshot.
        "bgsave_cpulist" => bgsave_cpulist: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Meaningless(CPULISTS);
    }
}
