//! Build your own container orchestrator.

pub mod drive;
pub mod manifest;
pub mod part;
pub mod parts;
pub mod spec;

pub use orlop_core as base;
