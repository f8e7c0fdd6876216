//! The configuration as a whole.
