//! Writing: strings, values, files, payloads.

pub(super) mod dump;
pub(super) mod file;
pub(super) mod string;
mod value;

#[cfg(test)]
mod tests;
