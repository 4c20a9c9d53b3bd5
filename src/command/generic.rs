//! The generic commands: rows at the top, functions below.

use super::spec::Spec;

/// The rows of this family.
pub static SPECS: &[Spec] = &[];
