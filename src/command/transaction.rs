//! The transaction commands: rows only. The session keeps what MULTI queues, the host runs EXEC.

use super::spec::{Doc, Flags, Group, KeySpec, Run, SessionOp, Spec};

/// The rows of this family.
pub static SPECS: &[Spec] = &[
    row(
        "discard",
        1,
        SessionOp::Discard,
        "2.0.0",
        "O(N), when N is the number of queued commands",
        "Forgets the commands queued since MULTI.",
        "",
    )
    .flags(ALWAYS.with(Flags::FAST)),
    row(
        "exec",
        1,
        SessionOp::Exec,
        "1.2.0",
        "Depends on commands in the transaction",
        "Runs the commands queued since MULTI, all at once.",
        "",
    )
    .flags(Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SKIP_SLOWLOG)),
    row("multi", 1, SessionOp::Multi, "1.2.0", "O(1)", "Begins to queue commands for EXEC.", "")
        .flags(ALWAYS.with(Flags::FAST)),
    row("unwatch", 1, SessionOp::Unwatch, "2.2.0", "O(1)", "Forgets the watched keys.", "")
        .flags(ALWAYS.with(Flags::FAST)),
    row(
        "watch",
        -2,
        SessionOp::Watch,
        "2.2.0",
        "O(1) for every key.",
        "Lets the next EXEC run only if these keys have not changed by then.",
        "key [key ...]",
    )
    .flags(ALWAYS.with(Flags::FAST))
    .keys(&[KeySpec::rest(1, 1, &["RO"])]),
];

/// Works whatever state the server is in, but not in scripts.
const ALWAYS: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::ALLOW_BUSY);

const fn row(
    name: &'static str,
    arity: i8,
    op: SessionOp,
    since: &'static str,
    complexity: &'static str,
    summary: &'static str,
    syntax: &'static str,
) -> Spec {
    Spec::new(
        name,
        arity,
        Run::Session(op),
        Doc { summary, since, group: Group::Transactions, complexity, syntax },
    )
}
