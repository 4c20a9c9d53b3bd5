//! Zipmaps: what small hashes were packed in before Redis 2.6.
//!
//! ```text
//! fields, u8 | length | name | length | unused, u8 | value | unused bytes | length | name | ...     | 0xFF
//! ```
//!
//! A length is one byte up to 253, or 0xFE and a u32, little-endian. The number of fields says 254 where there are as
//! many or more.

use super::bytes::{Cursor, Stop};

const END: u8 = 0xFF;
const LONG: u8 = 0xFE;
const COUNT_UNKNOWN: u8 = 0xFE;

/// A name and a value.
pub(super) type Field<'a> = (&'a [u8], &'a [u8]);

/// The fields of a zipmap.
pub(super) fn fields(bytes: &[u8]) -> Result<Vec<Field<'_>>, Stop> {
    parse(bytes).map_err(|_| Stop::refused("a zipmap is damaged"))
}

/// The fields, if all of it is as it must be.
fn parse(bytes: &[u8]) -> Result<Vec<Field<'_>>, Stop> {
    let mut cursor = Cursor::new(bytes, 0);
    let told = cursor.byte()?;
    let mut fields = Vec::new();
    while let Some(len) = length(&mut cursor)? {
        let name = cursor.take(len)?;
        let len = length(&mut cursor)?.ok_or(Stop::Short)?;
        let unused = cursor.byte()?;
        fields.push((name, cursor.take(len)?));
        cursor.take(unused.into())?;
    }
    let is_sound = cursor.at() == bytes.len() && (told >= COUNT_UNKNOWN || usize::from(told) == fields.len());
    if is_sound {
        Ok(fields)
    } else {
        Err(Stop::Short)
    }
}

/// A length, or nothing at the end.
fn length(cursor: &mut Cursor<'_>) -> Result<Option<usize>, Stop> {
    Ok(match cursor.byte()? {
        END => None,
        LONG => Some(u32::from_le_bytes(cursor.array()?) as usize),
        len => Some(len.into()),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A zipmap of these fields, as Redis up to 2.4 makes it, with some bytes unused.
    pub(in crate::rdb::read) fn encode(fields: &[Field<'_>]) -> Vec<u8> {
        let mut bytes = vec![fields.len().min(usize::from(COUNT_UNKNOWN)) as u8];
        let length = |len: usize, bytes: &mut Vec<u8>| match u8::try_from(len) {
            Ok(len) if len < LONG => bytes.push(len),
            _ => {
                bytes.push(LONG);
                bytes.extend_from_slice(&(len as u32).to_le_bytes());
            }
        };
        for (name, value) in fields {
            length(name.len(), &mut bytes);
            bytes.extend_from_slice(name);
            length(value.len(), &mut bytes);
            let unused = value.len() % 3;
            bytes.push(unused as u8);
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(&b"??"[..unused]);
        }
        bytes.push(END);
        bytes
    }

    #[test]
    fn the_bytes_are_those_of_redis() {
        // The example in Redis's own description of the format.
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff";
        let fields = [(&b"foo"[..], &b"bar"[..]), (b"hello", b"world")];
        assert_eq!(parse(bytes), Ok(fields.to_vec()));
    }

    #[test]
    fn long_and_many_fields_come_back() {
        let long = vec![b'v'; 1000];
        let names: Vec<String> = (0..300).map(|number| format!("field {number}")).collect();
        let mut fields: Vec<Field<'_>> = names.iter().map(|name| (name.as_bytes(), &b"value"[..])).collect();
        fields.extend([(&long[..253], &long[..254]), (&long[..255], &long[..]), (b"", b"")]);
        assert_eq!(parse(&encode(&fields)), Ok(fields));
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let sound = encode(&[(b"name", b"value"), (&[b'x'; 300], b"")]);
        for len in 0..sound.len() {
            assert!(fields(&sound[..len]).is_err(), "{len}");
        }
        for bad in [&b"\x00"[..], b"\x01\xff", b"\x00\xff\xff", b"\x01\x01a\xff", b"\x01\x01a\x01\x05b\xff"] {
            assert!(fields(bad).is_err(), "{bad:?}");
        }
    }
}
