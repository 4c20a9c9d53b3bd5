//! The bytes and estimates here are what redis-server 7.0.15 answered to GET and PFCOUNT after the same PFADDs.

use proptest::collection::vec;
use proptest::prelude::*;
use sha1::{Digest, Sha1};

use super::*;

const SPARSE_MAX: usize = 3000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with<S: AsRef<[u8]>>(elements: impl IntoIterator<Item = S>) -> HyperLogLog {
    let mut built = HyperLogLog::new();
    built.make_stale();
    for element in elements {
        built.raise(observe(element.as_ref()), SPARSE_MAX).unwrap();
    }
    built
}

fn numbers(count: usize) -> HyperLogLog {
    with((0..count).map(|number| number.to_string()))
}

fn registers_of(read: HyperLogLogRef<'_>) -> Vec<u8> {
    let mut registers = Registers::new();
    registers.add(read).unwrap();
    registers.0.to_vec()
}

#[test]
fn small_ones_have_the_bytes_of_redis() {
    let tails: Vec<String> = (0..20).map(|len| "x".repeat(len)).collect();
    for (elements, bytes, runs) in [
        (&[][..], "48594c4c0100000000000000000000807fff", "Z:16384"),
        (&["a".to_owned()], "48594c4c01000000000000000000008071a6844e57", "Z:12711 v:2,1 Z:3672"),
        (
            &["a", "b", "c"].map(str::to_owned),
            "48594c4c01000000000000000000008060f38050b1844bfb80425a",
            "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603",
        ),
        (
            &tails,
            "48594c4c010000000000000000000080450880425a9043749040a784453c8441a180416d84435c8441dd84464794460d8042858c407b80405f8043db800d84426a8046968444fa90453a8408",
            "Z:1289 v:1,1 Z:603 v:5,1 Z:885 v:5,1 Z:168 v:2,1 Z:1341 v:2,1 Z:418 v:1,1 Z:366 v:2,1 Z:861 v:2,1 Z:478 v:2,1 Z:1608 v:6,1 Z:1550 v:1,1 Z:646 v:4,1 Z:124 v:1,1 Z:96 v:1,1 Z:988 v:1,1 z:14 v:2,1 Z:619 v:1,1 Z:1687 v:2,1 Z:1275 v:5,1 Z:1339 v:2,1 z:9",
        ),
    ] {
        let built = with(elements);
        assert_eq!(hex(built.bytes()), bytes);
        assert_eq!(built.as_ref().runs_text(), runs);
        assert_eq!(built.as_ref().estimate(), Ok(elements.len() as u64));
        assert_eq!(built.as_ref().cached(), None);
    }
}

#[test]
fn large_ones_have_the_bytes_of_redis() {
    for (count, len, sha1, estimate) in [
        (100, 287, "e448ecf5da41d8cbef3dfc98b83246a059f244da", 100),
        (1000, 1923, "4b303e06b0d6db03a3a76f2ec573cd3e169405e7", 1001),
        (1500, 2766, "b7f0e6c86cbe9c59c281dd3c0d425adfba6079c5", 1512),
        (1600, 2926, "306924b529f2d89dbe85860d7379c2cfd57ee41b", 1611),
        (2000, 12304, "2171f65769f5e3025667dd86b6973403e6e6fc8b", 2007),
        (5000, 12304, "3fa160b43f67d7e004731fa9d341262846fbaf66", 4985),
        (100_000, 12304, "ab6973d0a02ad01492516665fac6473e86680977", 99_565),
    ] {
        let built = numbers(count);
        assert_eq!(
            (built.bytes().len(), hex(&Sha1::digest(built.bytes()))),
            (len, sha1.to_owned()),
            "{count}"
        );
        assert_eq!(built.as_ref().estimate(), Ok(estimate), "{count}");
        let mut registers = Registers::new();
        registers.add(built.as_ref()).unwrap();
        assert_eq!(registers.estimate(), estimate, "{count}");
    }
}

#[test]
fn merged_ones_have_the_bytes_of_redis() {
    let tails = with((0..20).map(|len| "x".repeat(len)));
    for (sources, len, sha1, estimate) in [
        (
            [numbers(100), with(["a", "b", "c"]), tails.clone()],
            342,
            "a075fb076f6f63b2469cdf44141450a1e7223c8c",
            123,
        ),
        ([numbers(1000), numbers(1500), tails], 2798, "3674e5add29e832d2bec969eb500193f6702c259", 1533),
    ] {
        let mut registers = Registers::new();
        sources.iter().for_each(|source| registers.add(source.as_ref()).unwrap());
        let mut merged = HyperLogLog::new();
        merged.raise_all(&registers, SPARSE_MAX).unwrap();
        assert_eq!((merged.bytes().len(), hex(&Sha1::digest(merged.bytes()))), (len, sha1.to_owned()));
        assert_eq!(merged.as_ref().estimate(), Ok(estimate));
    }
}

#[test]
fn only_its_own_form_is_read() {
    let sparse = HyperLogLog::new();
    let mut dense = HyperLogLog::new();
    dense.make_dense().unwrap();
    assert_eq!(dense.bytes().len(), 12304);
    for whole in [&sparse, &dense] {
        assert!(HyperLogLogRef::of(whole.bytes()).is_some());
        let mut wrong = whole.bytes().to_vec();
        wrong[4] = 2;
        assert!(HyperLogLogRef::of(&wrong).is_none());
        wrong = whole.bytes().to_vec();
        wrong[0] = b'h';
        assert!(HyperLogLogRef::of(&wrong).is_none());
    }
    assert!(HyperLogLogRef::of(&dense.bytes()[..12303]).is_none());
    assert!(HyperLogLogRef::of(&[dense.bytes(), b"x"].concat()).is_none());
    assert!(HyperLogLogRef::of(&sparse.bytes()[..15]).is_none());
    assert!(HyperLogLogRef::of(b"").is_none());
}

#[test]
fn damaged_runs_are_noticed() {
    let header = &HyperLogLog::new().bytes()[..16].to_vec();
    // Too few registers, too many, a run across the end, half a run, and numbers that would overflow.
    for runs in
        [&b""[..], b"\x3f", b"\x7f\xff\x00", b"\x7f\xfe\x81", b"\x7f", &[0x7F; 100_001], &[0xFF; 5000]]
    {
        let bytes = [header, runs].concat();
        let damaged = HyperLogLogRef::of(&bytes).unwrap();
        assert_eq!(damaged.estimate(), Err(Corrupt), "{runs:?}");
        assert_eq!(Registers::new().add(damaged), Err(Corrupt), "{runs:?}");
        assert_eq!(HyperLogLog::from(damaged).make_dense(), Err(Corrupt), "{runs:?}");
    }
    let mut short = HyperLogLog::from(HyperLogLogRef::of(&[header, &b"\x3f"[..]].concat()).unwrap());
    assert_eq!(short.raise(Observation { register: 64, rank: 1 }, SPARSE_MAX), Err(Corrupt));
    assert_eq!(short.raise(Observation { register: 63, rank: 1 }, SPARSE_MAX), Ok(true));
    assert_eq!(short.raise(Observation { register: 63, rank: 33 }, SPARSE_MAX), Err(Corrupt));
}

#[test]
fn promotion_comes_with_size_or_rank() {
    let mut ranked = HyperLogLog::new();
    assert_eq!(ranked.raise(Observation { register: 3, rank: 32 }, SPARSE_MAX), Ok(true));
    assert!(!ranked.as_ref().is_dense());
    assert_eq!(ranked.raise(Observation { register: 3, rank: 33 }, SPARSE_MAX), Ok(true));
    assert!(ranked.as_ref().is_dense());
    assert_eq!(registers_of(ranked.as_ref())[3], 33);

    let mut small = HyperLogLog::new();
    assert_eq!(small.raise(Observation { register: 100, rank: 1 }, 21), Ok(true));
    assert_eq!(small.bytes().len(), 21);
    assert_eq!(small.raise(Observation { register: 100, rank: 2 }, 0), Ok(true));
    assert!(!small.as_ref().is_dense(), "it does not grow");
    // Its neighbour would be joined to it in the end, but needs a run of its own first.
    assert_eq!(small.raise(Observation { register: 101, rank: 2 }, 21), Ok(true));
    assert!(small.as_ref().is_dense());
}

#[test]
fn an_estimate_is_kept_until_something_changes() {
    let mut built = HyperLogLog::new();
    assert_eq!(built.as_ref().cached(), Some(0));
    assert_eq!(built.raise(Observation { register: 0, rank: 1 }, SPARSE_MAX), Ok(true));
    assert_eq!(built.as_ref().cached(), None);
    let mut bytes = built.bytes().to_vec();
    bytes[ESTIMATE_AT..][..8].copy_from_slice(&77u64.to_le_bytes());
    let mut built = HyperLogLog::from(HyperLogLogRef::of(&bytes).unwrap());
    assert_eq!(built.raise(Observation { register: 0, rank: 1 }, SPARSE_MAX), Ok(false));
    built.make_dense().unwrap();
    assert_eq!(built.as_ref().cached(), Some(77));
    assert_eq!(built.raise(Observation { register: 0, rank: 2 }, SPARSE_MAX), Ok(true));
    assert_eq!(built.as_ref().cached(), None);
    assert_eq!(&built.bytes()[ESTIMATE_AT..STALE_AT], &[77, 0, 0, 0, 0, 0, 0]);
}

/// Registers close together, so that runs are split and joined.
fn observations() -> impl Strategy<Value = Vec<Observation>> {
    let register = prop_oneof![4 => 0usize..40, 1 => 100usize..300, 1 => 16_300usize..REGISTERS];
    let rank = prop_oneof![6 => 1u8..4, 1 => 1u8..=32];
    vec((register, rank).prop_map(|(register, rank)| Observation { register, rank }), 0..300)
}

proptest! {
    #[test]
    fn both_encodings_hold_the_highest_ranks(seen in observations()) {
        let (mut sparse, mut dense, mut model) = (HyperLogLog::new(), HyperLogLog::new(), vec![0; REGISTERS]);
        dense.make_dense().unwrap();
        for &seen in &seen {
            let higher = model[seen.register] < seen.rank;
            model[seen.register] = seen.rank.max(model[seen.register]);
            prop_assert_eq!(sparse.raise(seen, usize::MAX), Ok(higher));
            prop_assert_eq!(dense.raise(seen, 0), Ok(higher));
        }
        prop_assert!(!sparse.as_ref().is_dense());
        prop_assert_eq!(&registers_of(sparse.as_ref()), &model);
        prop_assert_eq!(&registers_of(dense.as_ref()), &model);
        prop_assert_eq!(dense.as_ref().ranks().collect::<Vec<_>>(), model);
        prop_assert_eq!(sparse.as_ref().estimate(), dense.as_ref().estimate());
        let stale = dense.bytes().to_vec();
        sparse.make_dense().unwrap();
        prop_assert_eq!(sparse.bytes(), &stale[..]);
    }

    #[test]
    fn raising_all_registers_is_raising_one_after_the_other(first in observations(), second in observations()) {
        let mut target = HyperLogLog::new();
        let mut source = HyperLogLog::new();
        for &seen in &first {
            target.raise(seen, usize::MAX).unwrap();
        }
        for &seen in &second {
            source.raise(seen, usize::MAX).unwrap();
        }
        let mut registers = Registers::new();
        registers.add(target.as_ref()).unwrap();
        registers.add(source.as_ref()).unwrap();
        for bytes_max in [usize::MAX, 60] {
            let (mut all, mut each) = (target.clone(), target.clone());
            all.raise_all(&registers, bytes_max).unwrap();
            for (register, &rank) in registers.0.iter().enumerate().filter(|(_, &rank)| rank > 0) {
                each.raise(Observation { register, rank }, bytes_max).unwrap();
            }
            prop_assert_eq!(all.bytes(), each.bytes());
        }
    }
}
