//! One binary: linking many is slow.

mod documents;
mod oracle;
mod patch;
mod printers;
mod conversations;
