//! Tests of the crate from outside.

mod runner;
mod rules;
