//! What the scheduler decides.

mod oracle;
