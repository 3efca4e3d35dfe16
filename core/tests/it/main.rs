//! Tests of the crate from outside.

mod codec;
mod rules;
mod runner;
mod schema;
mod store;
mod yaml;
mod kinds;
