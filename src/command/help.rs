//! What the HELP subcommands answer, and the errors that point to them. The texts are Redis 7.2's, line for line:
//! tools and tests compare them.

use crate::base::error::CommandError;
use crate::resp::{Args, Reply};

/// The reply of `CONTAINER HELP`; `lines` is the container's constant below. The name shown is the one sent, in upper
/// case, as in Redis.
pub fn write_help(args: Args<'_>, lines: &[&str], reply: &mut Reply<'_>) {
    let name = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    reply.array(lines.len() + 3);
    reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        reply.simple(line);
    }
    reply.simple("HELP");
    reply.simple("    Print this help.");
}

/// The error for a name that is no subcommand of its container.
pub fn unknown_subcommand(args: Args<'_>) -> CommandError {
    try_help("ERR unknown subcommand", args)
}

/// The error for a subcommand that exists but has too many arguments, or others than it takes.
pub fn subcommand_syntax(args: Args<'_>) -> CommandError {
    try_help("ERR unknown subcommand or wrong number of arguments for", args)
}

fn try_help(what: &str, args: Args<'_>) -> CommandError {
    let command = String::from_utf8_lossy(args.at(0)).to_ascii_uppercase();
    let sub = quote(args.get(1).unwrap_or_default(), QUOTED_BYTES_MAX);
    CommandError::quoting(&format!("{what} '"), sub, &format!("'. Try {command} HELP."))
}

/// The error for a name that is no command: it and the beginning of its arguments are quoted.
pub fn unknown_command(args: Args<'_>) -> CommandError {
    let mut quoted = Vec::new();
    for arg in args.iter_from(1) {
        if quoted.len() >= QUOTED_BYTES_MAX {
            break;
        }
        quoted.extend_from_slice(&[b"'", quote(arg, QUOTED_BYTES_MAX - quoted.len()), b"' "].concat());
    }
    let name = quote(args.at(0), QUOTED_BYTES_MAX);
    let text = [name, b"', with args beginning with: ", &quoted].concat();
    CommandError::quoting("ERR unknown command '", &text, "")
}

/// As much of a request as an error quotes.
const QUOTED_BYTES_MAX: usize = 128;

/// Up to `bytes_max` bytes of an argument, and not beyond a zero byte: Redis prints it as a C string.
fn quote(arg: &[u8], bytes_max: usize) -> &[u8] {
    let arg = &arg[..arg.len().min(bytes_max)];
    arg.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The lines of CLIENT HELP.
pub const CLIENT: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];

/// The lines of COMMAND HELP.
pub const COMMAND: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

/// The lines of CONFIG HELP.
pub const CONFIG: &[&str] = &[
    "GET <pattern>",
    "    Return parameters matching the glob-like <pattern> and their values.",
    "SET <directive> <value>",
    "    Set the configuration <directive> to <value>.",
    "RESETSTAT",
    "    Reset statistics reported by the INFO command.",
    "REWRITE",
    "    Rewrite the configuration file.",
];

/// The lines of LATENCY HELP.
pub const LATENCY: &[&str] = &[
    "DOCTOR",
    "    Return a human readable latency analysis report.",
    "GRAPH <event>",
    "    Return an ASCII latency graph for the <event> class.",
    "HISTORY <event>",
    "    Return time-latency samples for the <event> class.",
    "LATEST",
    "    Return the latest latency samples for all events.",
    "RESET [<event> ...]",
    "    Reset latency data of one or more <event> classes.",
    "    (default: reset all data for all event classes)",
    "HISTOGRAM [COMMAND ...]",
    "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
    "    If no commands are specified then all histograms are replied.",
];

/// The lines of MEMORY HELP.
pub const MEMORY: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

/// The lines of MODULE HELP.
pub const MODULE: &[&str] = &[
    "LIST",
    "    Return a list of loaded modules.",
    "LOAD <path> [<arg> ...]",
    "    Load a module library from <path>, passing to it any optional arguments.",
    "LOADEX <path> [[CONFIG NAME VALUE] [CONFIG NAME VALUE]] [ARGS ...]",
    "    Load a module library from <path>, while passing it module configurations and optional arguments.",
    "UNLOAD <name>",
    "    Unload a module.",
];

/// The lines of OBJECT HELP.
pub const OBJECT: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];

/// The lines of PUBSUB HELP.
pub const PUBSUB: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

/// The lines of SLOWLOG HELP.
pub const SLOWLOG: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{OwnedArgs, Proto};

    fn owned(words: &[&[u8]]) -> OwnedArgs {
        OwnedArgs::collect(words.iter().copied())
    }

    #[test]
    fn help_has_a_head_and_a_foot() {
        let mut out = Vec::new();
        write_help(owned(&[b"slowlog", b"help"]).as_args(), SLOWLOG, &mut Reply::new(&mut out, Proto::Resp2));
        let text = String::from_utf8(out).unwrap();
        assert!(text
            .starts_with("*12\r\n+SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:\r\n+GET"));
        assert!(text.ends_with("+RESET\r\n+    Reset the slowlog.\r\n+HELP\r\n+    Print this help.\r\n"));
        assert_eq!(text.lines().count(), 13);
    }

    #[test]
    fn errors_quote_what_was_sent() {
        let args = owned(&[b"Client", b"FooBar", b"x"]);
        assert_eq!(
            unknown_subcommand(args.as_args()).text(),
            "ERR unknown subcommand 'FooBar'. Try CLIENT HELP."
        );
        assert_eq!(
            subcommand_syntax(owned(&[b"slowlog", b"get", b"1", b"2"]).as_args()).text(),
            "ERR unknown subcommand or wrong number of arguments for 'get'. Try SLOWLOG HELP."
        );
        assert_eq!(
            unknown_command(owned(&[b"foo", b"a", b"b\0c"]).as_args()).text(),
            "ERR unknown command 'foo', with args beginning with: 'a' 'b' "
        );
        assert_eq!(
            unknown_command(owned(&[b"foo"]).as_args()).text(),
            "ERR unknown command 'foo', with args beginning with: "
        );
    }

    #[test]
    fn long_arguments_are_cut() {
        let long = [b'a'; 200];
        let text = unknown_command(owned(&[&long, &long, b"never"]).as_args()).text().into_owned();
        assert_eq!(
            text,
            format!("ERR unknown command '{0}', with args beginning with: '{0}' ", "a".repeat(128))
        );
        let text =
            unknown_command(owned(&[b"x", &long[..100], b"0123456789012345678901234567890"]).as_args());
        assert!(text.text().ends_with("'0123456789012345678901234' "), "{}", text.text());
    }
}
