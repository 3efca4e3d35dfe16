//! `orlop-sim`: a random workload on a cluster whose time is virtual.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use orlop_sim::{Faults, Options, Simulation, Violation, Workload};

/// Runs a random workload on a simulated cluster, checks invariants, and prints a digest of all that happened.
///
/// The same arguments give the same digest. The last line on standard output is the digest; progress goes to standard
/// error: with it, how many objects the store holds, how many revisions of its history, and how much memory the process
/// has. Under constant load none of these goes on growing: `orlop-sim --hours 24 --nodes 3`.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// What everything that is left to chance follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many nodes the cluster has.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=250))]
    nodes: u16,
    /// For how long the workload runs, in hours of virtual time.
    #[arg(long, default_value_t = 1.0, value_parser = hours)]
    hours: f64,
    /// Lets things go wrong: all, or some of api,watches,restarts,runtime,store,clocks.
    #[arg(long, value_name = "KINDS", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    faults: Option<Faults>,
    /// Writes a line for each change there, to compare two runs by.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

fn hours(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(hours) if hours > 0.0 && hours <= 10_000.0 => Ok(hours),
        _ => Err("a number of hours above 0, at most 10000".to_owned()),
    }
}

/// How much virtual time passes between two lines of progress.
const STEP: Duration = Duration::from_secs(600);
/// How long the cluster may take to come to rest.
const SETTLE_MAX: Duration = Duration::from_secs(3600);

#[expect(clippy::disallowed_methods, reason = "people are told how long it took; nothing depends on it")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let begin = Instant::now();
    match run(&arguments, begin) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, begin: Instant) -> Result<(), Box<dyn std::error::Error>> {
    let faults = arguments.faults.unwrap_or(Faults::NONE);
    let nodes = usize::from(arguments.nodes);
    let mut log = match &arguments.log {
        Some(path) => {
            let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
            Some(BufWriter::new(file))
        }
        None => None,
    };
    let options = Options { log: log.is_some(), ..Options::nodes(nodes).faults(faults) };
    let mut sim = Simulation::new(arguments.seed, options)?;
    sim.load(Workload::for_nodes(nodes));
    let total = Duration::from_secs_f64(arguments.hours * 3600.0);
    while sim.age() < total {
        let step = sim.run_for(STEP.min(total - sim.age()));
        flush(&sim, &mut log)?;
        step.map_err(|violation| broken(arguments, &sim, &[violation]))?;
        progress(&sim, begin);
    }
    let settled = sim.settle(SETTLE_MAX);
    flush(&sim, &mut log)?;
    let took = settled.map_err(|violations| broken(arguments, &sim, &violations))?;
    eprintln!("at rest {} s after the workload ended", took.as_secs());
    summary(&sim, begin)?;
    Ok(())
}

fn progress(sim: &Simulation, begin: Instant) {
    let stored = sim.control().stored();
    let monitor = sim.monitor();
    eprintln!(
        "{:>6.2} h  revision {:>8}  objects {:>6}  history {:>7}  memory {:>5} MiB  pods {:>5}  bindings {:>7}  \
         restarts {:>6}  ({:.1} s)",
        sim.age().as_secs_f64() / 3600.0,
        monitor.history.revision(),
        stored.objects,
        stored.revisions,
        memory() >> 20,
        monitor.pods(),
        monitor.totals.bindings,
        monitor.totals.restarts,
        begin.elapsed().as_secs_f64(),
    );
}

/// What this process holds of memory, bytes; 0 where the system does not say.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() * 1024
}

fn summary(sim: &Simulation, begin: Instant) -> std::io::Result<()> {
    let monitor = sim.monitor();
    let (totals, history) = (monitor.totals, &monitor.history);
    let mut out = std::io::stdout().lock();
    writeln!(out, "virtual time     {:.3} h", sim.age().as_secs_f64() / 3600.0)?;
    writeln!(out, "pods created     {}, at most {} at a time", totals.pods, totals.pods_max)?;
    writeln!(out, "bindings         {}", totals.bindings)?;
    writeln!(out, "restarts         {}", totals.restarts)?;
    writeln!(out, "revisions        {}", history.revision())?;
    writeln!(out, "bytes written    {}", history.bytes())?;
    writeln!(out, "\n{:<45}{:>10}{:>10}{:>10}", "changes", "created", "updated", "deleted")?;
    for (resource, counts) in history.counts() {
        writeln!(out, "{resource:<45}{:>10}{:>10}{:>10}", counts.created, counts.updated, counts.deleted)?;
    }
    writeln!(out, "\n{}", history.digest())?;
    eprintln!("{:.1} s, {} steps", begin.elapsed().as_secs_f64(), sim.polls());
    Ok(())
}

fn flush(sim: &Simulation, log: &mut Option<BufWriter<File>>) -> std::io::Result<()> {
    if let Some(log) = log {
        for line in sim.monitor().history.take_log() {
            writeln!(log, "{line}")?;
        }
        log.flush()?;
    }
    Ok(())
}

/// What was violated, and how to see it again.
fn broken(arguments: &Arguments, sim: &Simulation, violations: &[Violation]) -> String {
    let mut text = format!("after {:.3} h of virtual time:", sim.age().as_secs_f64() / 3600.0);
    for violation in violations {
        text += &format!("\n  {violation}");
    }
    let faults = arguments.faults.map(|faults| format!(" --faults={faults}")).unwrap_or_default();
    text += &format!(
        "\nagain: cargo run -p orlop-sim -- --seed {} --nodes {} --hours {}{faults}",
        arguments.seed, arguments.nodes, arguments.hours,
    );
    text
}
