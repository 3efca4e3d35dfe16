//! Tests of the crate from outside.

mod codec;
mod kinds;
mod rules;
mod runner;
mod schema;
mod store;
mod world;
mod yaml;
