//! Single bits: SETBIT, GETBIT.

use super::{bit_offset, bytes_of};
use crate::base::error::CommandError;
use crate::command::Ctx;
use crate::ds::bits;
use crate::keyspace::{IntText, ValueRef};
use crate::resp::Args;

pub(super) fn setbit(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(ctx.options, args.at(2))?;
    let bit = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(CommandError::BIT_VALUE),
    };
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    let mut text = IntText::new();
    let bytes = bytes_of(slot.string()?, &mut text);
    let (at, was) = ((offset / 8) as usize, bits::get(bytes, offset));
    let old = bytes.get(at).copied();
    let new = bits::with(old.unwrap_or(0), offset, bit);
    if old == Some(new) {
        slot.make_buffer();
    } else {
        slot.write_range(at, &[new]);
    }
    ctx.reply.int(was.into());
    Ok(())
}

pub(super) fn getbit(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = bit_offset(ctx.options, args.at(2))?;
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let value = ctx.keyspace.lookup_read(ctx.db, key, now);
    let bytes = bytes_of(value.map(ValueRef::string).transpose()?, &mut text);
    ctx.reply.int(bits::get(bytes, offset).into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    const OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
    const VALUE: &str = "-ERR bit is not an integer or out of range\r\n";

    #[test]
    fn bits_are_set_cleared_and_read() {
        let mut shard = Harness::new();
        assert_eq!(shard.run("SETBIT k 7 1"), ":0\r\n");
        assert_eq!(shard.run("SETBIT k 7 1"), ":1\r\n");
        assert_eq!(shard.run("GET k"), "$1\r\n\x01\r\n");
        assert_eq!(shard.run("SETBIT k 25 1"), ":0\r\n");
        assert_eq!(shard.run("GET k"), "$4\r\n\x01\0\0@\r\n");
        assert_eq!(shard.run("SETBIT k 7 0"), ":1\r\n");
        assert_eq!(shard.run("GETBIT k 7"), ":0\r\n");
        assert_eq!(shard.run("GETBIT k 25"), ":1\r\n");
        assert_eq!(shard.run("GETBIT k 4294967295"), ":0\r\n");
        assert_eq!(shard.run("GETBIT none 0"), ":0\r\n");
        assert_eq!(shard.run("SETBIT zeros 9 0"), ":0\r\n");
        assert_eq!(shard.run("STRLEN zeros"), ":2\r\n");
    }

    #[test]
    fn an_integer_is_its_text() {
        let mut shard = Harness::new();
        shard.run("SET n 12 EX 10");
        // '1' is 0x31.
        assert_eq!(shard.run("GETBIT n 2"), ":1\r\n");
        assert_eq!(shard.run("SETBIT n 6 1"), ":0\r\n");
        assert_eq!(shard.run("GET n"), "$2\r\n32\r\n");
        assert_eq!(shard.run("OBJECT ENCODING n"), "$3\r\nraw\r\n");
        assert_eq!(shard.ttl_ms("n"), Some(10_000));
    }

    #[test]
    fn what_changes_nothing_is_no_change_but_makes_the_string_raw() {
        let mut shard = Harness::new();
        shard.run("SET n 12");
        let dirty = shard.keyspace.dirty();
        assert_eq!(shard.run("SETBIT n 2 1"), ":1\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty);
        assert_eq!(shard.run("OBJECT ENCODING n"), "$3\r\nraw\r\n");
        // Growing is a change, also by zeros.
        assert_eq!(shard.run("SETBIT n 16 0"), ":0\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty + 1);
    }

    #[test]
    fn offsets_and_values_are_checked() {
        let mut shard = Harness::new();
        for offset in ["-1", "x", "''", "1.5", "4294967296", "9223372036854775808", "'#1'"] {
            assert_eq!(shard.run(&format!("SETBIT k {offset} 1")), OFFSET, "{offset}");
            assert_eq!(shard.run(&format!("GETBIT k {offset}")), OFFSET, "{offset}");
        }
        for value in ["2", "-1", "x", "''", "01", "9223372036854775808"] {
            assert_eq!(shard.run(&format!("SETBIT k 1 {value}")), VALUE, "{value}");
        }
        assert_eq!(shard.run("SETBIT k x x"), OFFSET);
        shard.options.string_bytes_max = 2;
        assert_eq!(shard.run("SETBIT k 15 1"), ":0\r\n");
        assert_eq!(shard.run("SETBIT k 16 1"), OFFSET);
        assert_eq!(shard.keyspace.len(shard.db), 1);
    }
}
