//! One binary: linking many is slow.

mod documents;
mod oracle;
mod patch;
mod printers;
mod conversations;
mod world;
mod pipeline;
mod watch;
mod apply;
mod defaults;
mod trees;
mod validation;
