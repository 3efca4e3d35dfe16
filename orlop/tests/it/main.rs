//! The loop that drives parts, without threads or a clock of its own.

mod drive;
