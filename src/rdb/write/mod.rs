//! Writing: strings, values, files, payloads.

pub(super) mod dump;
pub(super) mod file;
mod string;
mod value;

#[cfg(test)]
mod tests;
