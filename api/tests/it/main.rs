//! One binary: linking many is slow.

mod oracle;
mod patch;
mod printers;
