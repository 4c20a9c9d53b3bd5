//! A key's hash and slot, computed once where the request is decoded and carried along.
//!
//! The slot is Redis Cluster's (CRC16 of the key, or of its `{tag}`) and decides the shard; the hash is keyed by
//! secrets drawn at start, so that no client can choose keys that collide, and decides the place in the shard's table.

use std::hash::{BuildHasher, Hasher};

use super::ids::{ShardId, SlotId};

/// The keyed 64-bit hash of a key; the same on every core of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyHash(pub u64);

/// A key with its hash. Only `KeyHasher` makes one, so the hash always belongs to the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    bytes: &'a [u8],
    hash: KeyHash,
}

impl<'a> Key<'a> {
    /// The key itself.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Its hash.
    #[inline]
    pub fn hash(self) -> KeyHash {
        self.hash
    }

    /// A key with the hash of another one, for tests of what happens then.
    #[cfg(test)]
    pub(crate) fn with_any_hash(bytes: &'a [u8], hash: KeyHash) -> Key<'a> {
        Key { bytes, hash }
    }
}

/// Hashes keys with the process's secret.
#[derive(Clone, Debug)]
pub struct KeyHasher(ahash::RandomState);

impl KeyHasher {
    /// A hasher from four random words; equal words give equal hashes, which the simulator and the other cores rely on.
    pub fn new(secret: [u64; 4]) -> Self {
        KeyHasher(ahash::RandomState::with_seeds(secret[0], secret[1], secret[2], secret[3]))
    }

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> KeyHash {
        let mut hasher = self.0.build_hasher();
        hasher.write(bytes);
        KeyHash(hasher.finish())
    }

    /// `bytes` with its hash.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hash(bytes) }
    }

    /// `bytes` with the hash that this hasher, on whichever core, gave it before.
    #[inline]
    pub fn key_with<'a>(&self, bytes: &'a [u8], hash: KeyHash) -> Key<'a> {
        debug_assert_eq!(self.hash(bytes), hash);
        Key { bytes, hash }
    }
}

/// The hasher of a map whose keys are hashes already: `HashMap<u64, V, BuildHasherDefault<AlreadyHashed>>`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed here");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The shard of a slot where there are `shards` of them: contiguous ranges of slots, of equal size give or take one.
#[inline]
pub fn shard_of_slot(slot: SlotId, shards: u16) -> ShardId {
    ShardId((u32::from(slot.0) * u32::from(shards) / u32::from(SlotId::COUNT)) as u16)
}

/// The shard of a key.
#[inline]
pub fn shard_of_key(key: &[u8], shards: u16) -> ShardId {
    if shards == 1 {
        return ShardId(0);
    }
    shard_of_slot(slot_of_key(key), shards)
}

/// The slot of a key: CRC16 of the part between the first `{` and the first `}` after it if that part is not empty,
/// else of the whole key (Redis Cluster specification, "hash tags").
#[inline]
pub fn slot_of_key(key: &[u8]) -> SlotId {
    SlotId(crc16(hash_tag(key)) & (SlotId::COUNT - 1))
}

/// The part of the key that decides its slot.
#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = key.iter().position(|&c| c == b'{') else { return key };
    let tail = &key[open + 1..];
    match tail.iter().position(|&c| c == b'}') {
        None | Some(0) => key,
        Some(close) => &tail[..close],
    }
}

/// `CRC16[k][b]` is the CRC of byte `b` followed by `k` zero bytes: eight tables let eight bytes be taken at once
/// (Intel's slicing-by-8), where one table would be a chain of dependent loads.
const CRC16: [[u16; 256]; 8] = crc16_tables();

const fn crc16_tables() -> [[u16; 256]; 8] {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

/// CRC16/XMODEM (polynomial 0x1021, initial value 0), as Redis Cluster uses it.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    let mut chunks = bytes.chunks_exact(8);
    for c in &mut chunks {
        crc = CRC16[7][usize::from(c[0] ^ (crc >> 8) as u8)]
            ^ CRC16[6][usize::from(c[1] ^ crc as u8)]
            ^ CRC16[5][usize::from(c[2])]
            ^ CRC16[4][usize::from(c[3])]
            ^ CRC16[3][usize::from(c[4])]
            ^ CRC16[2][usize::from(c[5])]
            ^ CRC16[1][usize::from(c[6])]
            ^ CRC16[0][usize::from(c[7])];
    }
    for &b in chunks.remainder() {
        crc = crc << 8 ^ CRC16[0][usize::from((crc >> 8) as u8 ^ b)];
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc16_matches_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // Against the definition, one bit at a time, at every length around the eight-byte step.
        let bytes: Vec<u8> = (0..64u32).map(|i| (i * 37 + 11) as u8).collect();
        for len in 0..bytes.len() {
            let mut crc = 0u16;
            for &b in &bytes[..len] {
                crc ^= u16::from(b) << 8;
                for _ in 0..8 {
                    crc = if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
                }
            }
            assert_eq!(crc16(&bytes[..len]), crc, "length {len}");
        }
    }

    #[test]
    fn hash_tags_decide_the_slot() {
        assert_eq!(slot_of_key(b"foo"), SlotId(12182));
        assert_eq!(slot_of_key(b"{user1000}.following"), slot_of_key(b"{user1000}.followers"));
        assert_eq!(hash_tag(b"foo{}{bar}"), b"foo{}{bar}");
        assert_eq!(hash_tag(b"foo{{bar}}zap"), b"{bar");
        assert_eq!(hash_tag(b"foo{bar}{zap}"), b"bar");
        assert_eq!(hash_tag(b"foo{bar"), b"foo{bar");
    }

    #[test]
    fn every_shard_gets_its_share_of_slots() {
        for shards in [1u16, 2, 3, 5, 64, 1000] {
            let mut count = vec![0u32; usize::from(shards)];
            for slot in 0..SlotId::COUNT {
                count[shard_of_slot(SlotId(slot), shards).index()] += 1;
            }
            let (min, max) = (count.iter().min().unwrap(), count.iter().max().unwrap());
            assert!(max - min <= 1, "{shards} shards: {min} to {max} slots");
        }
    }
}
