//! BITOP: several strings into one.

use super::bytes_of;
use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::ds::bits::{self, Combine};
use crate::keyspace::{IntText, NewValue, SetExpire, ValueRef};
use crate::resp::Args;

/// What BITOP is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Combine(Combine),
    Not,
}

impl Operation {
    fn named(name: &[u8]) -> Option<Operation> {
        let known = [
            ("and", Operation::Combine(Combine::And)),
            ("or", Operation::Combine(Combine::Or)),
            ("xor", Operation::Combine(Combine::Xor)),
            ("not", Operation::Not),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, op)| op)
    }
}

pub(super) fn bitop(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let operation = Operation::named(args.at(1)).ok_or(CommandError::SYNTAX)?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(CommandError::BITOP_NOT);
    }
    // A missing key is a string of zeros as long as need be.
    let mut result: Option<Vec<u8>> = None;
    for name in args.iter_from(3) {
        let mut text = IntText::new();
        let bytes = bytes_of(ctx.source(name).map(ValueRef::string).transpose()?, &mut text);
        match (&mut result, operation) {
            (Some(result), Operation::Combine(how)) => bits::combine(result, how, bytes),
            _ => result = Some(bytes.to_vec()),
        }
    }
    let mut result = result.unwrap_or_default();
    if operation == Operation::Not {
        bits::invert(&mut result);
    }
    let (destination, now) = (ctx.first_key(args.at(2)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, destination, now);
    if result.is_empty() {
        slot.remove();
    } else {
        slot.set(NewValue::Buffer(&result), SetExpire::Clear);
    }
    ctx.reply.count(result.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn strings_of_any_length_are_combined() {
        let mut shard = Harness::new();
        shard.run(r#"SET a "\x0f\xf0\xaa""#);
        shard.run(r#"SET b "\xff\x3c""#);
        for (line, result) in [
            ("AND d a b", &b"\x0f\x30\0"[..]),
            ("or d a b", b"\xff\xfc\xaa"),
            ("Xor d b a", b"\xf0\xcc\xaa"),
            ("NOT d a", b"\xf0\x0f\x55"),
            ("AND d a", b"\x0f\xf0\xaa"),
            ("AND d a none", b"\0\0\0"),
            ("OR d none b", b"\xff\x3c"),
            ("XOR d a a", b"\0\0\0"),
            ("AND d a b a b", b"\x0f\x30\0"),
        ] {
            assert_eq!(shard.run(&format!("BITOP {line}")), format!(":{}\r\n", result.len()), "{line}");
            let reply = [format!("${}\r\n", result.len()).as_bytes(), result, b"\r\n"].concat();
            assert_eq!(shard.run_args(&["GET", "d"]), reply, "{line}");
        }
    }

    #[test]
    fn the_destination_is_replaced_or_removed() {
        let mut shard = Harness::new();
        shard.run("SET n 12");
        shard.run("SET d old EX 10");
        assert_eq!(shard.run("BITOP OR d n"), ":2\r\n");
        assert_eq!(shard.run("GET d"), "$2\r\n12\r\n");
        assert_eq!(shard.run("OBJECT ENCODING d"), "$3\r\nraw\r\n");
        assert_eq!(shard.ttl_ms("d"), None);
        // It may be a source as well.
        assert_eq!(shard.run("BITOP XOR d d n"), ":2\r\n");
        assert_eq!(shard.run("GET d"), "$2\r\n\0\0\r\n");
        assert_eq!(shard.run("BITOP AND d none none2"), ":0\r\n");
        assert_eq!(shard.run("EXISTS d"), ":0\r\n");
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("BITOP NOT d none"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
    }

    #[test]
    fn bad_operations() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("BITOP NAND d a b"), "-ERR syntax error\r\n");
        assert_eq!(
            shard.run("BITOP not d a b"),
            "-ERR BITOP NOT must be called with a single source key.\r\n"
        );
    }
}
