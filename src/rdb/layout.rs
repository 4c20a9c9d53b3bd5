//! The RDB format: the bytes that stand for types, records and lengths.
//!
//! ```text
//! file       "REDIS" "0010" | FA name value ... | FE database, FB keys volatile, keys ... | FF | checksum, u64
//! key        [FC unix-ms, i64] [F8 idle seconds] [F9 frequency, u8] | type, u8 | key, a string | value
//! payload    type, u8 | value | version, u16 | checksum, u64                          what DUMP answers
//!
//! length     00nnnnnn                                       below 64
//!            01nnnnnn nnnnnnnn                              below 16384, the high bits first
//!            10000000 n, u32 big-endian
//!            10000001 n, u64 big-endian
//! string     length | bytes
//!            11000000 i8  |  11000001 i16  |  11000010 i32  an integer's text
//!            11000011 | length compressed | length | LZF    see `base::lzf`
//! ```
//!
//! All numbers are little-endian but for those of lengths. The checksum is a CRC-64 of everything before it
//! (`base::crc64`), zero where it was not wanted.
//!
//! ```text
//! 0   string             string
//! 1   list               elements | string ...                                     old
//! 2   set                members | string ...
//! 3   zset               members | string, score as text ...                       old
//! 4   hash               fields | name, value ...
//! 5   zset               members | string, score: f64 ...
//! 9   hash               a string: a zipmap                                        old
//! 10  list               a string: a ziplist                                       old
//! 11  set                a string: an intset
//! 12  zset               a string: a ziplist                                       old
//! 13  hash               a string: a ziplist                                       old
//! 14  list               nodes | a string each: a ziplist                          old
//! 16  hash               a string: a listpack of names and values
//! 17  zset               a string: a listpack of members and scores
//! 18  list               nodes | 1: a string, one element; 2: a string, a listpack
//! 20  set                a string: a listpack                                      not written: Redis 7.0 has none
//! 24  hash               earliest expiry, i64 | fields | expiry, name, value ...
//! 25  hash               earliest expiry, i64 | a string: a listpack of names, values and expiries, by expiry
//! ```
//!
//! The expiries of type 24 are lengths: 0 for none, else how long after the earliest one, plus 1. Those of type 25 are
//! milliseconds of Unix time, 0 for none, and the fields without one are the last.
//!
//! Not here: what Redis's other types are (streams, modules), which no value of ours is written as.

/// The first bytes of a file; four digits with the version follow.
pub const MAGIC: &[u8; 5] = b"REDIS";

/// The version of what Redis 7.0 reads, and of what is written here as far as it can be.
pub const VERSION: u16 = 10;

/// The version that has fields of hashes that expire (Redis 7.4).
pub const VERSION_FIELD_EXPIRY: u16 = 12;

/// Bytes after a payload's value: the version and the checksum.
pub const PAYLOAD_FOOTER_BYTES: usize = 2 + CHECKSUM_BYTES;

/// Bytes of a checksum.
pub const CHECKSUM_BYTES: usize = 8;

/// Records of a file that are no keys, or stand before one.
pub mod opcode {
    /// How often the next key is used.
    pub const FREQUENCY: u8 = 0xF9;
    /// For how long the next key has not been used.
    pub const IDLE: u8 = 0xF8;
    /// Something about the file: a name and a value.
    pub const AUX: u8 = 0xFA;
    /// How many keys the database has.
    pub const RESIZE: u8 = 0xFB;
    /// When the next key expires, in milliseconds.
    pub const EXPIRE_MS: u8 = 0xFC;
    /// When the next key expires, in seconds; old.
    pub const EXPIRE_SECONDS: u8 = 0xFD;
    /// The database of the keys that follow.
    pub const SELECT: u8 = 0xFE;
    /// The end; the checksum follows.
    pub const EOF: u8 = 0xFF;
}

/// The types of values that are written.
pub mod kind {
    /// A string.
    pub const STRING: u8 = 0;
    /// A set, member by member.
    pub const SET: u8 = 2;
    /// A hash, field by field.
    pub const HASH: u8 = 4;
    /// A sorted set, member by member.
    pub const ZSET: u8 = 5;
    /// A set of integers, as it lies in memory.
    pub const SET_INTSET: u8 = 11;
    /// A hash in a listpack.
    pub const HASH_LISTPACK: u8 = 16;
    /// A sorted set in a listpack.
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list, node by node.
    pub const LIST: u8 = 18;
    /// A hash with fields that expire, field by field.
    pub const HASH_EXPIRING: u8 = 24;
    /// A hash with fields that expire, in a listpack.
    pub const HASH_LISTPACK_EXPIRING: u8 = 25;
}

/// What a node of a list is.
pub mod container {
    /// One element.
    pub const PLAIN: u64 = 1;
    /// A listpack.
    pub const PACKED: u64 = 2;
}

/// First bytes of lengths that do not fit into it, and of strings in another form.
pub mod length {
    /// The upper two bits of a length that has 14 bits.
    pub const BITS_14: u8 = 0x40;
    /// Before a length that has 32 bits.
    pub const BITS_32: u8 = 0x80;
    /// Before a length that has 64 bits.
    pub const BITS_64: u8 = 0x81;
    /// A string that is an integer of 8 bits.
    pub const INT_8: u8 = 0xC0;
    /// A string that is an integer of 16 bits.
    pub const INT_16: u8 = 0xC1;
    /// A string that is an integer of 32 bits.
    pub const INT_32: u8 = 0xC2;
    /// A string that is compressed.
    pub const LZF: u8 = 0xC3;
}
