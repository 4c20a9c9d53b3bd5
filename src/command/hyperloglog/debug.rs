//! PFDEBUG and PFSELFTEST.

use super::{held, hyperloglog};
use crate::base::error::CommandError;
use crate::base::prng::Prng;
use crate::command::Ctx;
use crate::ds::hyperloglog::{observe, HyperLogLog, HyperLogLogRef, Observation, Registers, REGISTERS};
use crate::keyspace::{NewValue, SetExpire, Slot};
use crate::resp::Args;

/// How many elements the self test adds; Redis adds ten million, and answers nobody meanwhile.
const TESTED_ELEMENTS: u64 = 100_000;

/// How many times the self test sets all registers.
const TESTED_ROUNDS: usize = 8;

pub(super) fn pfdebug(ctx: &mut Ctx<'_, '_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, now) = (ctx.first_key(args.at(2)), ctx.now_ms());
    let mut slot = ctx.keyspace.find(ctx.db, key, now);
    held(&mut slot)?.ok_or(CommandError::PFDEBUG_NO_KEY)?;
    let is = |name: &str| args.is(1, name);
    if is("getreg") {
        make_dense(&mut slot)?;
        ctx.reply.array(REGISTERS);
        for rank in look(&slot)?.ranks() {
            ctx.reply.int(rank.into());
        }
    } else if is("decode") {
        let shown = look(&slot)?;
        if shown.is_dense() {
            return Err(CommandError::PFDEBUG_NOT_SPARSE);
        }
        ctx.reply.bulk(shown.runs_text().as_bytes());
    } else if is("encoding") {
        let shown = look(&slot)?;
        ctx.reply.simple(if shown.is_dense() { "dense" } else { "sparse" });
    } else if is("todense") {
        let was_sparse = make_dense(&mut slot)?;
        ctx.reply.int(was_sparse.into());
    } else {
        return Err(CommandError::unknown_pfdebug(args.at(1)));
    }
    Ok(())
}

/// What the slot holds, which was seen to be one.
fn look<'s>(slot: &'s Slot<'_>) -> Result<HyperLogLogRef<'s>, CommandError> {
    slot.value().ok_or(CommandError::PFDEBUG_NO_KEY).and_then(hyperloglog)
}

/// Stores it in the dense form; whether it was sparse.
fn make_dense(slot: &mut Slot<'_>) -> Result<bool, CommandError> {
    let old = look(slot)?;
    if old.is_dense() {
        return Ok(false);
    }
    let mut dense = HyperLogLog::from(old);
    dense.make_dense()?;
    slot.set(NewValue::Buffer(dense.bytes()), SetExpire::Keep);
    Ok(true)
}

pub(super) fn pfselftest(ctx: &mut Ctx<'_, '_>, _args: Args<'_>) -> Result<(), CommandError> {
    test_registers(ctx.rng)?;
    test_estimates(ctx.rng)?;
    ctx.reply.ok();
    Ok(())
}

/// Sets dense registers to random ranks and reads them back.
fn test_registers(rng: &mut Prng) -> Result<(), CommandError> {
    for _ in 0..TESTED_ROUNDS {
        let mut dense = HyperLogLog::new();
        dense.make_dense()?;
        let mut expected = vec![0; REGISTERS];
        for (register, expected) in expected.iter_mut().enumerate() {
            let rank = rng.below(64) as u8;
            dense.raise(Observation { register, rank }, 0)?;
            *expected = rank;
        }
        for (register, (rank, expected)) in dense.as_ref().ranks().zip(expected).enumerate() {
            if rank != expected {
                let text = format!("TESTFAILED Register {register} should be {expected} but is {rank}");
                return Err(CommandError::with(text));
            }
        }
    }
    Ok(())
}

/// Adds random elements to a sparse one and to a dense one: their estimates must agree, and be near the truth.
fn test_estimates(rng: &mut Prng) -> Result<(), CommandError> {
    let (mut sparse, mut dense) = (HyperLogLog::new(), HyperLogLog::new());
    dense.make_dense()?;
    let standard_error = 1.04 / (REGISTERS as f64).sqrt();
    let (seed, mut checkpoint) = (rng.next_u64(), 1);
    for count in 1..=TESTED_ELEMENTS {
        let seen = observe(&(seed ^ count).to_le_bytes());
        dense.raise(seen, 0)?;
        // Beyond this Redis's would be dense, too.
        if count < REGISTERS as u64 / 2 {
            sparse.raise(seen, usize::MAX)?;
            if count == checkpoint && sparse.as_ref().estimate()? != dense.as_ref().estimate()? {
                return Err(CommandError::with("TESTFAILED dense/sparse disagree".to_owned()));
            }
        }
        if count != checkpoint {
            continue;
        }
        checkpoint *= 10;
        let mut registers = Registers::new();
        registers.add(dense.as_ref())?;
        let estimate = registers.estimate();
        // Six standard errors; a few more where there are few elements, since one collision is much there.
        let allowed = (standard_error * 6.0 * count as f64).ceil() as u64 + u64::from(count == 10);
        let error = estimate.abs_diff(count);
        if error > allowed {
            let text = format!("TESTFAILED Too big error. card:{count} abserr:{error}");
            return Err(CommandError::with(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Harness;

    #[test]
    fn the_self_test_passes() {
        let mut shard = Harness::new();
        for _ in 0..3 {
            assert_eq!(shard.run("PFSELFTEST"), "+OK\r\n");
        }
    }

    #[test]
    fn debug_shows_and_changes_the_encoding() {
        let mut shard = Harness::new();
        shard.run("PFADD h a b c");
        assert_eq!(shard.run("PFDEBUG ENCODING h"), "+sparse\r\n");
        let decoded = shard.run("PFDEBUG decode h");
        assert_eq!(decoded.matches("v:").count(), 3, "{decoded}");
        assert_eq!(shard.run("PFDEBUG TODENSE h"), ":1\r\n");
        assert_eq!(shard.run("PFDEBUG TODENSE h"), ":0\r\n");
        assert_eq!(shard.run("PFDEBUG ENCODING h"), "+dense\r\n");
        assert_eq!(shard.run("PFDEBUG DECODE h"), "-ERR HLL encoding is not sparse\r\n");
        assert_eq!(shard.run("PFCOUNT h"), ":3\r\n");
        shard.run("PFADD g a b c");
        let registers = shard.run("PFDEBUG GETREG g");
        assert_eq!(registers, shard.run("PFDEBUG GETREG h"));
        assert!(registers.starts_with("*16384\r\n:0\r\n"));
        assert_eq!(shard.run("PFDEBUG ENCODING g"), "+dense\r\n", "GETREG makes it dense");
        assert_eq!(shard.run("PFDEBUG foo h"), "-ERR Unknown PFDEBUG subcommand 'foo'\r\n");
        assert_eq!(shard.run("PFDEBUG foo none"), "-ERR The specified key does not exist\r\n");
    }
}
