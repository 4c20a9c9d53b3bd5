//! The process as its host sees it: log, supervision, shutdown.

use super::{Effect::*, *};
use crate::config::{
    special::{OomScores, ShutdownOptions},
    value::{int, Text, ANY_TEXT, INT_MAX, LONG_MAX, UNSET_IF_EMPTY},
    words::{LogLevel, OomScoreAdj, Supervised, SyslogFacility},
};

const SYSLOG: &str = "the log goes to logfile or stdout; systemd's journal or a pipe takes it on from there";
const OOM_SCORE: &str =
    "nothing is forked whose score would differ; OOMScoreAdjust in the systemd unit sets ours";
const TITLE: &str = "the process keeps its title";
const CRASH: &str = "a crash report is left to the core dump";

section! {
    /// The process as its host sees it.
    Process at process {
        /// Whether to leave the terminal.
        "daemonize" => is_daemon: bool = false, (), IMMUTABLE, Live;
        /// Who is told that the server is ready.
        "supervised" => supervised: Supervised = Supervised::No, (), IMMUTABLE, Later(5);
        /// Where the process id is written; a daemon without one writes `/var/run/redis.pid`.
        "pidfile" => pidfile: Text = "".into(), UNSET_IF_EMPTY, IMMUTABLE, Live;
        /// The least severe messages that are logged.
        "loglevel" => loglevel: LogLevel = LogLevel::Notice, (), MUTABLE, Live;
        /// Where the log goes; stdout if empty.
        "logfile" => logfile: Text = "".into(), ANY_TEXT, IMMUTABLE, Live;
        /// Whether the log also goes to syslog.
        "syslog-enabled" => syslog_enabled: bool = false, (), IMMUTABLE, Meaningless(SYSLOG);
        /// The name in syslog.
        "syslog-ident" => syslog_ident: Text = "redis".into(), ANY_TEXT, IMMUTABLE, Meaningless(SYSLOG);
        /// The facility in syslog.
        "syslog-facility" =>
            syslog_facility: SyslogFacility = SyslogFacility::Local0, (), IMMUTABLE, Meaningless(SYSLOG);
        /// Whether a crash is described in the log.
        "crash-log-enabled" => crash_log_enabled: bool = true, (), MUTABLE, Meaningless(CRASH);
        /// Whether memory is tested after a crash.
        "crash-memcheck-enabled" => crash_memcheck_enabled: bool = true, (), MUTABLE, Meaningless(CRASH);
        /// Whether a panic exits rather than aborts.
        "use-exit-on-panic" => use_exit_on_panic: bool = false, (), MUTABLE | HIDDEN, Meaningless(CRASH);
        /// The period of Redis's software watchdog.
        "watchdog-period" => watchdog_period_ms: u32 = 0, int(0, INT_MAX), MUTABLE | HIDDEN,
            Meaningless("the cores watch each other without being asked");
        /// How many databases SELECT chooses from.
        "databases" => databases: u32 = 16, int(1, INT_MAX), IMMUTABLE, Live;
        /// How often background work runs in a second.
        "hz" => hz: u32 = 10, int(0, INT_MAX).clamped(1, 500), MUTABLE, Live;
        /// Whether `hz` grows with the number of clients.
        "dynamic-hz" => dynamic_hz: bool = true, (), MUTABLE,
            Meaningless("background work on clients follows their number by itself");
        /// Whether Redis's tables are resized in idle time.
        "activerehashing" => activerehashing: bool = true, (), MUTABLE,
            Meaningless("a table grows and shrinks one small segment at a time");
        /// How long a script may run before others are told BUSY.
        "busy-reply-threshold" ("lua-time-limit") => busy_reply_threshold_ms: u64 = 5000, int(0, LONG_MAX), MUTABLE,
            Meaningless("there are no scripts yet");
        /// How long a shutdown waits for replicas that lag.
        "shutdown-timeout" => shutdown_timeout_secs: u32 = 10, int(0, INT_MAX), MUTABLE, Live;
        /// What SIGINT asks for.
        "shutdown-on-sigint" =>
            shutdown_on_sigint: ShutdownOptions = ShutdownOptions::default(), (), MUTABLE, Live;
        /// What SIGTERM asks for.
        "shutdown-on-sigterm" =>
            shutdown_on_sigterm: ShutdownOptions = ShutdownOptions::default(), (), MUTABLE, Live;
        /// Whether the kernel's OOM score is set.
        "oom-score-adj" => oom_score_adj: OomScoreAdj = OomScoreAdj::No, (), MUTABLE, Meaningless(OOM_SCORE);
        /// These scores.
        "oom-score-adj-values" =>
            oom_score_adj_values: OomScores = OomScores([0, 200, 800]), (), MUTABLE, Meaningless(OOM_SCORE);
        /// Whether transparent huge pages are turned off for the process.
        "disable-thp" => disable_thp: bool = true, (), IMMUTABLE,
            Meaningless("nothing is forked, so huge pages cost no copies");
        /// Whether the process names its address and mode in its title.
        "set-proc-title" => set_proc_title: bool = true, (), IMMUTABLE, Meaningless(TITLE);
        /// The form of this title.
        "proc-title-template" => proc_title_template: Text = "{title} {listen-addr} {server-mode}".into(),
            ANY_TEXT.checked(is_title_template), MUTABLE, Meaningless(TITLE);
        /// Whether the logo is logged even without a terminal.
        "always-show-logo" => always_show_logo: bool = false, (), IMMUTABLE, Meaningless("there is no logo");
        /// The collation of SORT ALPHA.
        "locale-collate" => locale_collate: Text = "".into(), ANY_TEXT, MUTABLE,
            Meaningless("SORT ALPHA compares bytes");
        /// Start-up warnings to suppress.
        "ignore-warnings" => ignore_warnings: Text = "".into(), ANY_TEXT, MUTABLE,
            Meaningless("the one warning that it names is about fork");
        /// Whether jemalloc returns memory in the background.
        "jemalloc-bg-thread" => jemalloc_bg_thread: bool = true, (), MUTABLE,
            Meaningless("the allocator is not jemalloc");
    }
}

/// `validateProcTitleTemplate`: known variables in braces, `{{` for a brace, and something that remains.
fn is_title_template(template: &[u8]) -> Result<(), &'static str> {
    const REFUSAL: &str = "template format is invalid or contains unknown variables";
    const VARIABLES: [&[u8]; 7] =
        [b"title", b"listen-addr", b"server-mode", b"port", b"tls-port", b"unixsocket", b"config-file"];
    let mut rest = template;
    while let Some(brace) = rest.iter().position(|&byte| byte == b'{') {
        rest = &rest[brace + 1..];
        if let Some(after_escape) = rest.strip_prefix(b"{") {
            rest = after_escape;
            continue;
        }
        let end = rest.iter().position(|&byte| byte == b'}').ok_or(REFUSAL)?;
        if !VARIABLES.contains(&&rest[..end]) {
            return Err(REFUSAL);
        }
        rest = &rest[end + 1..];
    }
    if template.iter().all(|&byte| byte == b' ') {
        Err(REFUSAL)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_templates() {
        for good in ["x", "{title} {port}", "{{literal", "{{{title}}"] {
            assert!(is_title_template(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "  ", "{x}", "{title", "{"] {
            assert!(is_title_template(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
