//! The checksum of RDB files and DUMP payloads: CRC-64 with the polynomial of Jones (0xad93d23594c935a9), reflected.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of nothing.
pub const EMPTY: u64 = 0;

/// The checksum of what `crc` is the checksum of, with these bytes after it. Many bytes at once cost less.
pub fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    // Nothing is added to the sum at the end, so it is also the state to go on from.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc64Redis, crc);
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_redis() {
        assert_eq!(crc64(EMPTY, b""), EMPTY);
        assert_eq!(crc64(EMPTY, b"123456789"), 0xE9C6_D914_C4B8_D9CA);
    }

    #[test]
    fn pieces_make_the_checksum_of_the_whole() {
        let text: Vec<u8> = (0..5000u32).map(|at| (at * at / 8) as u8).collect();
        // Bit by bit, as the definition has it.
        let one_by_one = text.iter().fold(EMPTY, |crc, &byte| {
            (0..8).fold(crc ^ u64::from(byte), |crc, _| {
                crc >> 1 ^ (0x95AC_9329_AC4B_C9B5 & (crc & 1).wrapping_neg())
            })
        });
        for len in [1, 7, 64, 1000, 5000] {
            assert_eq!(text.chunks(len).fold(EMPTY, crc64), one_by_one, "{len}");
        }
    }
}
