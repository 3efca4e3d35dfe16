//! What the scheduler decides, and how its queue and bindings behave.

mod config;
mod decisions;
mod gangs;
mod laws;
mod loops;
mod oracle;
mod placer;
mod properties;
mod rig;
mod text;
mod volumes;
mod what_if;
