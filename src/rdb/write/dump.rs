//! One value by itself: what DUMP answers.

use super::value::{Form, ValueWriter};
use crate::{
    base::crc64::{self, crc64},
    keyspace::ValueRef,
    rdb::layout::{VERSION, VERSION_FIELD_EXPIRY},
};

/// The payload that RESTORE makes the value of again: its type, the value, the version, the checksum.
pub fn dump(value: ValueRef<'_>, compress: bool) -> Vec<u8> {
    let form = Form::of(value);
    let mut out = vec![form.kind()];
    ValueWriter::new(compress).write(form, &mut out);
    let version = if form.is_expiring() { VERSION_FIELD_EXPIRY } else { VERSION };
    out.extend_from_slice(&version.to_le_bytes());
    let checksum = crc64(crc64::EMPTY, &out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out
}

/// How many bytes the value takes in a file, without its type.
pub fn serialized_len(value: ValueRef<'_>, compress: bool) -> usize {
    let mut out = Vec::new();
    ValueWriter::new(compress).write(Form::of(value), &mut out);
    out.len()
}
