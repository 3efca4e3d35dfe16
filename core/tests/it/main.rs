//! Tests of the crate from outside.

mod runner;
mod rules;
mod store;
mod codec;
mod schema;
mod yaml;
