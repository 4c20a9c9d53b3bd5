//! How clients reach the server.

use super::{Effect::*, *};
use crate::config::{
    places::Addresses,
    value::{int, octal, Text, INT_MAX, UNSET_IF_EMPTY},
};

section! {
    /// How clients reach the server.
    Network at network {
        /// The addresses to listen on.
        "bind" => binds: Addresses = Addresses::all(), (), MUTABLE, Live;
        /// The address that connections to a primary come from.
        "bind-source-addr" => bind_source_addr: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, Live;
        /// Whether clients of other hosts are refused while there is no password.
        "protected-mode" => is_protected_mode: bool = true, (), MUTABLE, Live;
        /// The TCP port; 0 listens on none.
        "port" => port: u16 = 6379, int(0, 65535), MUTABLE, Live;
        /// How many connections the kernel lets wait for their accept.
        "tcp-backlog" => tcp_backlog: u32 = 511, int(0, INT_MAX), IMMUTABLE, Live;
        /// The path of the Unix socket; none if empty.
        "unixsocket" => unixsocket: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Live;
        /// The mode of the Unix socket; 0 leaves it to the umask.
        "unixsocketperm" => unixsocket_mode: u32 = 0, octal(0, 0o777), IMMUTABLE, Live;
        /// A client that is silent for so long is dropped; 0 never.
        "timeout" => timeout_secs: u32 = 0, int(0, INT_MAX), MUTABLE, Live;
        /// The time between TCP keepalive probes; 0 sends none.
        "tcp-keepalive" => tcp_keepalive_secs: u32 = 300, int(0, INT_MAX), MUTABLE, Live;
        /// The mark that routing sees on our packets.
        "socket-mark-id" => socket_mark_id: u32 = 0, int(0, u32::MAX as i128), IMMUTABLE,
            Meaningless("its sockets carry no mark");
    }
}
