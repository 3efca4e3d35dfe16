//! The kinds that an API serves.
