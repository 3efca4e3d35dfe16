//! Whole clusters on a virtual clock.

mod determinism;
mod faults;
mod scenarios;
mod workloads;

use std::time::Duration;

use orlop_sim::{Faults, Violation};

/// What is printed of a failure: what was violated, and how to see it again.
fn again(seed: u64, nodes: usize, faults: Faults, run: Duration, violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
    format!(
        "seed {seed}:\n  {}\nagain: cargo run -p orlop-sim -- --seed {seed} --nodes {nodes} --hours {} --faults={faults}",
        lines.join("\n  "),
        run.as_secs_f64() / 3600.0,
    )
}

/// How many times longer than usual, and with how many times more seeds, simulations run: `ORLOP_SIM_SCALE`, 1 where it
/// is absent. Worth raising together with `--release`.
fn scale() -> u32 {
    std::env::var("ORLOP_SIM_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
