//! How many pods are placed a second?
//!
//! `cargo run --release -p orlop-benches --bin sched-perf -- [--workload NAME] [--path engine|full|https]
//! [--nodes N] [--json] [--picture FILE]`
//!
//! Without a name, the workloads of the table in docs/performance.md are run; `Scale` and `Swarm` by name. With `--json`
//! a line for each run: `{"workload","path","nodes","init","pods","pods_per_s","p99_ms"}`.
//!
//! `--picture FILE` draws the runs of `Scale` as SVG.
//!
//! The paths: `engine` is snapshot, queue and decision; the latency is that of one decision. `full` creates pods through
//! the API in process (default admission, managed fields, objects in memory), has the scheduler bind them, and ends when
//! a watcher has seen the last binding; the latency is a pod's from its creation until that moment. `https` is the same
//! over TLS with objects in a durable store. Both say what a pod cost in CPU time, and whom.

mod engine;
mod full;
mod https;
mod meter;
mod picture;
mod workload;

use std::time::{Duration, Instant};

use serde_json::json;
use workload::Workload;

/// That of the program `orlop`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse(std::env::args().skip(1))?;
    let rows = workload::all();
    let chosen = rows.iter().filter(|row| match &args.workload {
        Some(name) => row.name == name,
        None if args.picture.is_some() => row.name == "Scale",
        None => row.is_of_the_table(),
    });
    let mut runs = Vec::new();
    for row in chosen {
        let row = Workload { nodes: args.nodes.unwrap_or(row.nodes), ..*row };
        let run = match args.path {
            Path::Engine => engine::run(&row),
            Path::Full => full::run(&row, false).map_err(|e| e.to_string())?,
            Path::Https => full::run(&row, true).map_err(|e| e.to_string())?,
        };
        print(&row, args.path, &run, args.json);
        runs.push((row, run));
    }
    if let Some(file) = &args.picture {
        std::fs::write(file, picture::draw(&runs))?;
    }
    if runs.is_empty() {
        let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        names.dedup();
        return Err(format!("no such workload; there are {}", names.join(", ")).into());
    }
    Ok(())
}

/// How the pods get in.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    Engine,
    Full,
    Https,
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Path::Engine => "engine",
            Path::Full => "full",
            Path::Https => "https",
        }
    }
}

struct Args {
    workload: Option<String>,
    path: Path,
    nodes: Option<usize>,
    json: bool,
    picture: Option<String>,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args { workload: None, path: Path::Engine, nodes: None, json: false, picture: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--workload" => args.workload = Some(value()?),
                "--path" => {
                    let name = value()?;
                    let path = [Path::Engine, Path::Full, Path::Https].into_iter().find(|p| p.name() == name);
                    args.path = path.ok_or(format!("{name}: no such path; there are engine, full, https"))?;
                }
                "--nodes" => {
                    let n = value()?.parse().ok().filter(|n| *n > 0);
                    args.nodes = Some(n.ok_or("--nodes wants a number above 0")?);
                }
                "--json" => args.json = true,
                "--picture" => args.picture = Some(value()?),
                other => return Err(format!("{other}: not known; see the head of the source file")),
            }
        }
        Ok(args)
    }
}

/// What was seen.
struct Run {
    /// How many pods were placed; fewer than asked for is a failure of the run.
    placed: usize,
    took: Duration,
    latencies: Vec<Duration>,
    /// The CPU time that was spent meanwhile, and by whom, where that is known.
    spent: Vec<(&'static str, Duration)>,
}

impl Run {
    fn expecting(pods: usize) -> Run {
        Run { placed: 0, took: Duration::ZERO, latencies: Vec::with_capacity(pods), spent: Vec::new() }
    }

    fn pods_per_second(&self) -> f64 {
        self.placed as f64 / self.took.as_secs_f64()
    }

    fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default()
    }
}

fn print(row: &Workload, path: Path, run: &Run, as_json: bool) {
    let p99 = run.p99().as_secs_f64() * 1_000.0;
    if as_json {
        let line = json!({
            "workload": row.name, "path": path.name(), "nodes": row.nodes, "init": row.init, "pods": row.pods,
            "pods_per_s": run.pods_per_second().round(), "p99_ms": (p99 * 10_000.0).round() / 10_000.0,
        });
        println!("{line}");
    } else {
        println!(
            "{:<27} {:<7} {:>7} nodes {:>6} -> {:>7} pods {:>9.0} pods/s  p99 {p99:.4} ms  in {:.2?}",
            row.name,
            path.name(),
            row.nodes,
            row.init,
            row.pods,
            run.pods_per_second(),
            run.took,
        );
    }
    if !as_json && !run.spent.is_empty() {
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / run.placed.max(1) as f64;
        let spent: Vec<String> =
            run.spent.iter().map(|(who, spent)| format!("{who} {:.1} µs", each(*spent))).collect();
        println!("{:<27} CPU for a pod: {}", "", spent.join(", "));
    }
    if run.placed < row.pods {
        eprintln!("{}: only {} of {} pods were placed", row.name, run.placed, row.pods);
    }
    if let Some(peak) = peak_memory().filter(|_| !as_json && row.pods >= 100_000) {
        println!("{:<27} peak memory {peak:.2} GB", "");
    }
}

/// The most memory that the process has held, in GB.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes / 1024.0 / 1024.0)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}
