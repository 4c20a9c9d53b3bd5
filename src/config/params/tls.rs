//! TLS, which Ringward does not have yet: its directives are known and kept.

use super::{Effect::*, *};
use crate::config::{
    value::{int, Text, INT_MAX, UNSET_IF_EMPTY},
    words::TlsAuthClients,
};

const TLS: Effect = Meaningless("there is no TLS yet; put a TLS proxy in front");

section! {
    /// TLS.
    Tls at tls {
        /// The port for TLS; 0 listens on none.
        "tls-port" => port: u16 = 0, int(0, 65535), MUTABLE, TLS;
        /// How many sessions are cached.
        "tls-session-cache-size" => session_cache_size: u32 = 20 * 1024, int(0, INT_MAX), MUTABLE, TLS;
        /// How long a session is cached.
        "tls-session-cache-timeout" => session_cache_timeout_secs: u32 = 300, int(0, INT_MAX), MUTABLE, TLS;
        /// Whether sessions are cached.
        "tls-session-caching" => session_caching: bool = true, (), MUTABLE, TLS;
        /// TLS on the cluster bus.
        "tls-cluster" => cluster: bool = false, (), MUTABLE, TLS;
        /// TLS on replication links.
        "tls-replication" => replication: bool = false, (), MUTABLE, TLS;
        /// Whether clients must show a certificate.
        "tls-auth-clients" => auth_clients: TlsAuthClients = TlsAuthClients::Yes, (), MUTABLE, TLS;
        /// Whether the server's order of ciphers counts.
        "tls-prefer-server-ciphers" => prefer_server_ciphers: bool = false, (), MUTABLE, TLS;
        /// The server's certificate.
        "tls-cert-file" => cert_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// Its key.
        "tls-key-file" => key_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The key's passphrase.
        "tls-key-file-pass" => key_file_pass: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The certificate towards a primary.
        "tls-client-cert-file" => client_cert_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// Its key.
        "tls-client-key-file" => client_key_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The key's passphrase.
        "tls-client-key-file-pass" => client_key_file_pass: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// Diffie-Hellman parameters.
        "tls-dh-params-file" => dh_params_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The authorities that clients' certificates come from.
        "tls-ca-cert-file" => ca_cert_file: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// A folder of such authorities.
        "tls-ca-cert-dir" => ca_cert_dir: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The versions of TLS.
        "tls-protocols" => protocols: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The ciphers up to TLS 1.2.
        "tls-ciphers" => ciphers: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
        /// The ciphers of TLS 1.3.
        "tls-ciphersuites" => ciphersuites: Text = "".into(), UNSET_IF_EMPTY, MUTABLE, TLS;
    }
}
