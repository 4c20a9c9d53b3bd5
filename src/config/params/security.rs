//! Who may do what.

use super::{Effect::*, *};
use crate::config::{
    value::{int, Text, ANY_TEXT, LONG_MAX, UNSET_IF_EMPTY},
    words::{AclPubsubDefault, ProtectedAction},
};

const ACL: &str = "there are no ACL users yet, only requirepass";

section! {
    /// Who may do what.
    Security at security {
        /// The password of the default user; none if empty.
        "requirepass" => requirepass: Text = "".into(), UNSET_IF_EMPTY, MUTABLE | SENSITIVE, Live;
        /// The file of ACL users.
        "aclfile" => aclfile: Text = "".into(), ANY_TEXT, IMMUTABLE, Meaningless(ACL);
        /// The channels of a new ACL user.
        "acl-pubsub-default" =>
            acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, (), MUTABLE, Meaningless(ACL);
        /// How many entries ACL LOG keeps.
        "acllog-max-len" => acllog_max_len: u64 = 128, int(0, LONG_MAX), MUTABLE, Meaningless(ACL);
        /// Who may CONFIG SET what is protected.
        "enable-protected-configs" =>
            enable_protected_configs: ProtectedAction = ProtectedAction::No, (), IMMUTABLE, Live;
        /// Who may use DEBUG.
        "enable-debug-command" => enable_debug_command: ProtectedAction = ProtectedAction::No, (), IMMUTABLE, Live;
        /// Who may use MODULE.
        "enable-module-command" => enable_module_command: ProtectedAction = ProtectedAction::No, (), IMMUTABLE,
            Meaningless("there are no modules");
    }
}
