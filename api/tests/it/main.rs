//! One binary: linking many is slow.

mod alike;
mod apply;
mod bad_input;
mod custom;
mod defaults;
mod documents;
mod oracle;
mod patch;
mod pipeline;
mod policies;
mod printers;
mod together;
mod trees;
mod validation;
mod watch;
mod world;
