//! The payload of one value: what DUMP answers and RESTORE takes.

use super::{
    layout::PAYLOAD_FOOTER_BYTES,
    read::{read_value, Cursor, Format, TextBuffer, Type},
};
use crate::{base::crc64, ds::collection::Edit, keyspace::Value};

/// A payload whose version can be read, and whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub struct Payload<'a> {
    /// The type and the value.
    bytes: &'a [u8],
    format: Format,
}

/// Room for a string that a payload has in another form than as it is.
#[derive(Debug, Default)]
pub struct Scratch(TextBuffer);

impl<'a> Payload<'a> {
    /// The payload of these bytes; `None` if version or checksum are wrong.
    pub fn new(bytes: &'a [u8]) -> Option<Payload<'a>> {
        let (value, footer) = bytes.split_at_checked(bytes.len().checked_sub(PAYLOAD_FOOTER_BYTES)?)?;
        let (version, told) = footer.split_first_chunk()?;
        let format = Format::of_payload(u16::from_le_bytes(*version))?;
        let summed = &bytes[..bytes.len() - told.len()];
        (crc64::crc64(crc64::EMPTY, summed).to_le_bytes() == *told)
            .then_some(Payload { bytes: value, format })
    }

    /// The value; `None` if it is damaged, has no elements, or cannot be held here. What may follow it is ignored, as
    /// in Redis.
    pub fn read<'b>(self, scratch: &'b mut Scratch, edit: &mut Edit<'_>) -> Option<Value<'b>>
    where
        'a: 'b,
    {
        let mut cursor = Cursor::new(self.bytes, 0);
        match Type::of(cursor.byte().ok()?, self.format.is_valkey) {
            Type::Of(kind) => read_value(kind, &mut cursor, &mut scratch.0, edit).ok(),
            Type::Stream | Type::Module | Type::Unknown => None,
        }
    }
}
