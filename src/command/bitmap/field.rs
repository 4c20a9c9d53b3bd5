//! Integers of any width within a string: BITFIELD, BITFIELD_RO.
//!
//! All operations are read first; then they are done one after the other, each seeing what those before it wrote.

use smallvec::SmallVec;

use super::{bytes_of, check_offset};
use crate::base::error::{CommandError, WrongType};
use crate::base::num::parse_i64;
use crate::command::ctx::CommandOptions;
use crate::command::Ctx;
use crate::ds::bits::Field;
use crate::keyspace::{IntText, Slot, StringRef, ValueRef, VALUE_LEN_MAX};
use crate::resp::Args;

/// One operation on one integer.
#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    encoding: Encoding,
    /// The integer's first bit.
    offset: u64,
    overflow: Overflow,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    /// Its lowest bits are kept.
    Wrap,
    /// It becomes the nearest that does.
    Saturate,
    /// Nothing is written, and the reply is null.
    Fail,
}

/// The form of an integer: `i16`, `u8`.
#[derive(Clone, Copy, Debug)]
struct Encoding {
    signed: bool,
    /// From 1 to 64, or to 63 where there is no sign: replies are signed 64-bit integers.
    width: u32,
}

pub(super) fn bitfield(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let operations = parse(ctx.options, args)?;
    if operations.iter().all(Operation::only_reads) {
        return read(ctx, args, &operations);
    }
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    slot.string()?;
    slot.make_buffer();
    ctx.reply.array(operations.len());
    for operation in &operations {
        match operation.run(&mut slot)? {
            Some(number) => ctx.reply.int(number),
            None => ctx.reply.null(),
        }
    }
    // The string reaches to the end of all that might have been written, though it failed.
    let len_bytes =
        operations.iter().filter(|operation| !operation.only_reads()).map(Operation::end_byte).max();
    if let Some(last) = len_bytes.and_then(|len| len.checked_sub(1)) {
        if slot.string()?.map_or(0, StringRef::string_len) <= last {
            slot.write_range(last, &[0]);
        }
    }
    Ok(())
}

pub(super) fn bitfield_ro(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let operations = parse(ctx.options, args)?;
    if !operations.iter().all(Operation::only_reads) {
        return Err(CommandError::BITFIELD_RO);
    }
    read(ctx, args, &operations)
}

/// Does operations that only read.
fn read(ctx: &mut Ctx<'_, '_>, args: Args<'_>, operations: &[Operation]) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(1)), ctx.now_ms());
    let mut text = IntText::new();
    let value = ctx.keyspace.lookup_read(ctx.db, key, now);
    let bytes = bytes_of(value.map(ValueRef::string).transpose()?, &mut text);
    ctx.reply.array(operations.len());
    for operation in operations {
        let number = operation.encoding.number(operation.field(bytes).get());
        ctx.reply.int(number);
    }
    Ok(())
}

fn parse(options: &CommandOptions, args: Args<'_>) -> Result<SmallVec<[Operation; 4]>, CommandError> {
    let mut operations = SmallVec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        if args.is(at, "overflow") && left >= 1 {
            overflow = Overflow::named(args.at(at + 1)).ok_or(CommandError::OVERFLOW_TYPE)?;
            at += 2;
            continue;
        }
        let takes = match () {
            () if args.is(at, "get") => 2,
            () if args.is(at, "set") || args.is(at, "incrby") => 3,
            () => return Err(CommandError::SYNTAX),
        };
        if left < takes {
            return Err(CommandError::SYNTAX);
        }
        let encoding = Encoding::named(args.at(at + 1)).ok_or(CommandError::BITFIELD_TYPE)?;
        let offset = encoding.offset(options, args.at(at + 2))?;
        let number = || parse_i64(args.at(at + 3)).ok_or(CommandError::NOT_INTEGER);
        let action = match () {
            () if takes == 2 => Action::Get,
            () if args.is(at, "set") => Action::Set(number()?),
            () => Action::Add(number()?),
        };
        let operation = Operation { action, encoding, offset, overflow };
        // A last field may reach beyond `proto-max-bulk-len` by a few bytes, but not beyond what an entry can hold.
        if !operation.only_reads() && operation.end_byte() > VALUE_LEN_MAX {
            return Err(CommandError::BIT_OFFSET);
        }
        operations.push(operation);
        at += 1 + takes;
    }
    Ok(operations)
}

impl Operation {
    fn only_reads(&self) -> bool {
        matches!(self.action, Action::Get)
    }

    /// How long the string is that holds the integer.
    fn end_byte(&self) -> usize {
        (self.offset + u64::from(self.encoding.width)).div_ceil(8) as usize
    }

    fn field(&self, bytes: &[u8]) -> Field {
        Field::new(bytes, self.offset, self.encoding.width)
    }

    /// Does it; what to reply, nothing where the number would not fit.
    fn run(&self, slot: &mut Slot<'_>) -> Result<Option<i64>, WrongType> {
        let mut text = IntText::new();
        let bytes = bytes_of(slot.string()?, &mut text);
        let (mut field, len) = (self.field(bytes), bytes.len());
        let encoding = self.encoding;
        let old = encoding.number(field.get());
        let (wanted, reply_new) = match self.action {
            Action::Get => return Ok(Some(old)),
            Action::Set(number) => (encoding.widened(number), false),
            Action::Add(number) => (i128::from(old) + i128::from(number), true),
        };
        let Some(new) = encoding.fitted(wanted, self.overflow) else { return Ok(None) };
        if new != old || len < self.end_byte() {
            field.set(new as u64);
            slot.write_range(field.first_byte() as usize, &field.bytes()[..field.len_bytes()]);
        }
        Ok(Some(if reply_new { new } else { old }))
    }
}

impl Overflow {
    fn named(name: &[u8]) -> Option<Overflow> {
        let known = [("wrap", Overflow::Wrap), ("sat", Overflow::Saturate), ("fail", Overflow::Fail)];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known.as_bytes())).map(|(_, it)| it)
    }
}

impl Encoding {
    fn named(name: &[u8]) -> Option<Encoding> {
        let (signed, width) = match name {
            [b'i', width @ ..] => (true, width),
            [b'u', width @ ..] => (false, width),
            _ => return None,
        };
        let width = u32::try_from(parse_i64(width)?).ok()?;
        let width_max = if signed { 64 } else { 63 };
        (1..=width_max).contains(&width).then_some(Encoding { signed, width })
    }

    /// The offset that `text` names: in bits, or after a `#` in integers of this encoding.
    fn offset(self, options: &CommandOptions, text: &[u8]) -> Result<u64, CommandError> {
        let offset = match text {
            [b'#', index @ ..] => parse_i64(index).and_then(|index| index.checked_mul(i64::from(self.width))),
            text => parse_i64(text),
        };
        check_offset(options, offset)
    }

    /// The number that the field's bits stand for.
    fn number(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        match self.signed {
            true => (bits << unused) as i64 >> unused,
            false => bits as i64,
        }
    }

    /// The number that SET is given, to be compared with the limits. Where there is no sign, a negative one is as large
    /// as its bits say. One with a sign that is so small that its distance from the upper limit is no 64-bit integer
    /// counts as too large: Redis saturates it there, since its subtraction wraps.
    fn widened(self, number: i64) -> i128 {
        let (_, max) = self.limits();
        let wraps = self.width < 64 && max - i128::from(number) > i128::from(i64::MAX);
        match self.signed {
            true if wraps => i128::from(number) + (1 << 64),
            true => i128::from(number),
            false => i128::from(number as u64),
        }
    }

    /// The least and the greatest number.
    fn limits(self) -> (i128, i128) {
        match self.signed {
            true => (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1),
            false => (0, (1 << self.width) - 1),
        }
    }

    /// What is written for a number; nothing if that is to fail.
    fn fitted(self, wanted: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        if (min..=max).contains(&wanted) {
            return Some(wanted as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.number(wanted as u64 & u64::MAX >> (64 - self.width))),
            Overflow::Saturate => Some(wanted.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::harness::Harness;

    const OFFSET: &str = "-ERR bit offset is not an integer or out of range\r\n";
    const TYPE: &str =
        "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but \
                        i64 is.\r\n";

    /// The integers of an array reply, `-` for null.
    fn run(shard: &mut Harness, line: &str) -> String {
        let reply = shard.run(line);
        let mut lines = reply.lines();
        assert!(lines.next().unwrap().starts_with('*'), "{line}: {reply}");
        lines.map(|line| if line == "$-1" { "-" } else { &line[1..] }).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn integers_are_read_set_and_counted_up() {
        let mut shard = Harness::new();
        for (line, reply) in [
            ("SET i5 100 1 GET u4 0", "0 0"),
            ("GET i5 100 INCRBY i5 100 -2", "1 -1"),
            ("SET u8 #1 255 GET u8 8 GET i8 #1 GET u4 10", "0 255 -1 15"),
            ("INCRBY u8 #1 1 OVERFLOW SAT INCRBY u8 #1 -1 INCRBY u8 #1 300", "0 0 255"),
            ("OVERFLOW FAIL INCRBY u8 #1 1 INCRBY u8 #1 -5 GET u8 #1", "- 250 250"),
            (
                "SET i64 #9 -9223372036854775808 INCRBY i64 #9 -1 GET i64 #9",
                "0 9223372036854775807 9223372036854775807",
            ),
            ("SET u63 3 9223372036854775807 INCRBY u63 3 1", "281474976710656000 0"),
            ("OVERFLOW SAT SET u8 0 -1 SET i8 0 200 SET i8 0 -200 GET i8 0", "0 -1 127 -128"),
            ("SET u1 0 1 SET u1 0 2 GET u1 0", "1 1 0"),
            ("", ""),
        ] {
            assert_eq!(run(&mut shard, &format!("BITFIELD k {line}")), reply, "{line}");
        }
        assert_eq!(shard.run("STRLEN k"), ":80\r\n");
        assert_eq!(run(&mut shard, "BITFIELD_RO k GET i64 #9 GET u8 1000"), "9223372036854775807 0");
    }

    #[test]
    fn overflow_counts_from_where_it_stands() {
        let mut shard = Harness::new();
        let line = "BITFIELD k INCRBY u2 100 3 OVERFLOW SAT INCRBY u2 102 9 OVERFLOW wrap INCRBY u2 100 1 OVERFLOW Fail \
                    INCRBY u2 102 1";
        assert_eq!(run(&mut shard, line), "3 3 0 -");
    }

    #[test]
    fn strings_grow_by_writes_only() {
        let mut shard = Harness::new();
        assert_eq!(run(&mut shard, "BITFIELD k GET u8 100"), "0");
        assert_eq!(run(&mut shard, "BITFIELD k"), "");
        assert_eq!(shard.run("EXISTS k"), ":0\r\n");
        let dirty = shard.keyspace.dirty();
        assert_eq!(run(&mut shard, "BITFIELD k OVERFLOW FAIL INCRBY u1 100 5"), "-");
        assert_eq!(shard.run("STRLEN k"), ":13\r\n");
        assert_eq!(shard.keyspace.dirty(), dirty + 1);
        assert_eq!(run(&mut shard, "BITFIELD k SET u8 0 0 INCRBY i3 90 0"), "0 0");
        assert_eq!(shard.keyspace.dirty(), dirty + 1, "nothing was changed");
        shard.run("SET n 12");
        assert_eq!(run(&mut shard, "BITFIELD n GET u8 0"), "49");
        assert_eq!(shard.run("OBJECT ENCODING n"), "$3\r\nint\r\n");
        assert_eq!(run(&mut shard, "BITFIELD n SET u8 0 49"), "49");
        assert_eq!(shard.run("OBJECT ENCODING n"), "$3\r\nraw\r\n");
    }

    #[test]
    fn bad_arguments() {
        let mut shard = Harness::new();
        let syntax = "-ERR syntax error\r\n";
        for (line, error) in [
            ("GET u64 0", TYPE),
            ("GET i65 0", TYPE),
            ("GET i0 0", TYPE),
            ("GET u 0", TYPE),
            ("GET x8 0", TYPE),
            ("GET I8 0", TYPE),
            ("GET '' 0", TYPE),
            ("GET u08 x", TYPE),
            ("GET u8 -1", OFFSET),
            ("GET u8 #-1", OFFSET),
            ("GET u8 #", OFFSET),
            ("GET u8 ''", OFFSET),
            ("GET u8 4294967296", OFFSET),
            ("GET u8 #536870912", OFFSET),
            ("GET u8 #2305843009213693952", OFFSET),
            ("SET u8 x x", OFFSET),
            ("SET u8 0 x", "-ERR value is not an integer or out of range\r\n"),
            ("INCRBY u8 0 1.5", "-ERR value is not an integer or out of range\r\n"),
            ("GET u8", syntax),
            ("SET u8 0", syntax),
            ("INCRBY u8 0", syntax),
            ("OVERFLOW", syntax),
            ("FOO", syntax),
            ("OVERFLOW x", "-ERR Invalid OVERFLOW type specified\r\n"),
            ("SET u8 0 1 FOO", syntax),
        ] {
            assert_eq!(shard.run(&format!("BITFIELD k {line}")), error, "{line}");
        }
        assert_eq!(
            shard.run("BITFIELD_RO k GET u8 0 SET u8 0 1"),
            "-ERR BITFIELD_RO only supports the GET subcommand\r\n"
        );
        assert_eq!(run(&mut shard, "BITFIELD_RO k OVERFLOW FAIL"), "");
        assert_eq!(run(&mut shard, "BITFIELD k GET u8 #536870911"), "0");
        assert_eq!(shard.run("EXISTS k"), ":0\r\n");
    }

    #[test]
    fn the_last_bits_that_a_string_may_have() {
        let mut shard = Harness::new();
        shard.options.string_bytes_max = 16;
        assert_eq!(run(&mut shard, "BITFIELD k SET u8 127 255"), "0");
        assert_eq!(shard.run("STRLEN k"), ":17\r\n");
        assert_eq!(shard.run("BITFIELD k SET u8 128 255"), OFFSET);
        shard.options.string_bytes_max = VALUE_LEN_MAX as u64;
        let last = VALUE_LEN_MAX as u64 * 8 - 1;
        assert_eq!(shard.run(&format!("BITFIELD k SET u8 {last} 255")), OFFSET);
        assert_eq!(run(&mut shard, &format!("BITFIELD k GET u8 {last}")), "0");
    }

    #[test]
    fn fitting_agrees_with_wide_arithmetic() {
        for (signed, width, wanted, wrap, saturate) in [
            (true, 8, 128, -128, 127),
            (true, 8, -129, 127, -128),
            (true, 1, 1, -1, 0),
            (true, 64, 1i128 << 63, i64::MIN, i64::MAX),
            (false, 63, 1i128 << 63, 0, i64::MAX),
            (false, 63, -1, i64::MAX, 0),
            (false, 8, i128::from(u64::MAX), 255, 255),
        ] {
            let encoding = Encoding { signed, width };
            assert_eq!(encoding.fitted(wanted, Overflow::Wrap), Some(wrap), "{wanted}");
            assert_eq!(encoding.fitted(wanted, Overflow::Saturate), Some(saturate), "{wanted}");
            assert_eq!(encoding.fitted(wanted, Overflow::Fail), None, "{wanted}");
        }
    }
}
