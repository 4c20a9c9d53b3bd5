//! Ringward.
