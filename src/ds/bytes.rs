//! Comparing short strings, which is what looking up keys, fields and members comes down to.

/// Whether two strings are the same. Keys are mostly short, and calling `memcmp` for them costs more than comparing.
#[inline(always)]
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let word =
        |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let half =
        |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    // The words overlap where the length is not a multiple of theirs.
    match a.len() {
        len @ 4..=7 => half(a, 0) ^ half(b, 0) | half(a, len - 4) ^ half(b, len - 4) == 0,
        len @ 8..=16 => word(a, 0) ^ word(b, 0) | word(a, len - 8) ^ word(b, len - 8) == 0,
        len @ 17..=32 => {
            let start = word(a, 0) ^ word(b, 0) | word(a, 8) ^ word(b, 8);
            start | word(a, len - 16) ^ word(b, len - 16) | word(a, len - 8) ^ word(b, len - 8) == 0
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_strings_compare_like_slices() {
        let pattern = |len: usize| (0..len).map(|i| i as u8 ^ 0x5A).collect::<Vec<u8>>();
        for len in 0..70 {
            let a = pattern(len);
            assert!(same_bytes(&a, &a.clone()));
            assert!(!same_bytes(&a, &pattern(len + 1)));
            for i in 0..len {
                let mut b = a.clone();
                b[i] ^= 0x10;
                assert!(!same_bytes(&a, &b), "length {len}, byte {i}");
            }
        }
    }
}
