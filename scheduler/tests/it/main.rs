//! What the scheduler decides, and how its queue and bindings behave.

mod decisions;
mod loops;
mod oracle;
mod properties;
mod rig;
mod text;
