//! What one client, and all of them, may take.

use super::{Effect::*, *};
use crate::config::{
    limits::{ClientsMemory, OutputBufferLimits},
    value::{bytes, int, LONG_MAX},
};

section! {
    /// What one client, and all of them, may take.
    Clients at clients {
        /// How many may be connected at once.
        "maxclients" => maxclients: u32 = 10000, int(1, u32::MAX as i128), MUTABLE, Live;
        /// How much a client may send that is not executed yet.
        "client-query-buffer-limit" =>
            query_buffer_limit_bytes: u64 = 1 << 30, bytes(1 << 20, LONG_MAX), MUTABLE, Live;
        /// How much a client may leave unread.
        "client-output-buffer-limit" =>
            output_buffer_limits: OutputBufferLimits = OutputBufferLimits::usual(), (), MUTABLE, Live;
        /// The longest single argument, and the longest string.
        "proto-max-bulk-len" => proto_max_bulk_len_bytes: u64 = 512 << 20, bytes(1 << 20, LONG_MAX), MUTABLE, Live;
        /// How much all clients' buffers may take.
        "maxmemory-clients" => maxmemory_clients: ClientsMemory = ClientsMemory::Bytes(0), (), MUTABLE, Live;
        /// How many keys the table of CLIENT TRACKING holds.
        "tracking-table-max-keys" => tracking_table_max_keys: u64 = 1_000_000, int(0, LONG_MAX), MUTABLE,
            Meaningless("there is no CLIENT TRACKING yet");
    }
}
