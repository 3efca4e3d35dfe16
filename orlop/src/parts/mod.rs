//! The components as [`Part`](crate::part::Part)s.

mod controllers;
mod network;
mod node;
mod scheduler;

pub use controllers::Controllers;
pub use network::Network;
pub use node::NodeAgent;

use orlop_core::Attempt;

use crate::part::Job;

/// What a runner or a scheduler wants done, as a job.
fn job(attempt: Attempt) -> Job {
    let asks = !attempt.writes.is_empty() || !attempt.effects.is_empty();
    Job {
        id: asks.then(|| attempt.id.number()),
        writes: attempt.writes,
        effects: attempt.effects,
        outside: None,
        events: attempt.events,
    }
}
