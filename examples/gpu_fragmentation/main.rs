//! GPU fragmentation: the policy FGD as plugins of one's own, beside Random, BestFit and Packing, on a production trace.
//!
//! `cargo run --release -p orlop-examples --example gpu_fragmentation -- FOLDER [VARIANT] [SEEDS]`, where the
//! folder holds the files of Alibaba's cluster-trace-gpu-v2023 (`openb_node_list_gpu_node.csv`, …).
//!
//! Tasks arrive until they ask for 130 % of all GPUs; what no node takes is turned away. Printed is the share of all
//! GPUs that is given out when 95, 100 and 130 % have arrived, and which part of the idle GPUs is fragments when 90 %
//! have: each the mean of so many orders of arrival.

pub(crate) mod plugins;
pub(crate) mod policy;
pub(crate) mod trace;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop::base::Name;
use orlop::scheduler::plugins::Fit;
use orlop::scheduler::{Change, Profile, Snapshot, place};

use plugins::{Fgd, GPUS, GpuFit, Policy};
use policy::{Task, Workload};
use trace::Chance;

/// After so many per cent of the capacity has arrived, it is looked at what is given out.
const MARKS: [i64; 3] = [95, 100, 130];
/// After so many per cent it is looked at what is fragments.
const FRAGMENTS_AT: i64 = 90;

/// What is seen at each mark, and the fragments.
type Row = [f64; MARKS.len() + 1];
type Failed = Box<dyn std::error::Error>;

fn main() -> std::process::ExitCode {
    match print() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn print() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "../shared/traces/openb".to_owned()));
    let variant = arguments.next().unwrap_or_else(|| "default".to_owned());
    let seeds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let rows = table(&folder, &variant, seeds)?;
    println!("{variant}: per cent of all GPUs given out when so many per cent have arrived, and fragments");
    let marks = MARKS.map(|mark| format!("{mark:>6}")).join("  ");
    println!("{:8}  {marks}  of what is idle at {FRAGMENTS_AT}", "policy");
    for (policy, means) in rows {
        println!("{policy:8}  {}", means.map(|mean| format!("{mean:6.2}")).join("  "));
    }
    Ok(())
}

/// What each policy gives out, the mean of so many orders of arrival.
pub(crate) fn table(folder: &Path, variant: &str, seeds: u64) -> Result<[(String, Row); 4], Failed> {
    let tasks = trace::tasks(folder, variant)?;
    let workload = Arc::new(Workload::of(&tasks));
    let row = |policy: Policy| -> Result<(String, Row), Failed> {
        let mut sums = Row::default();
        for seed in 0..seeds {
            let shares = run(folder, &tasks, &workload, &policy, seed)?;
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
        Ok((orlop::scheduler::PreScore::name(&policy).to_owned(), sums.map(|sum| sum / seeds as f64)))
    };
    Ok([
        row(Policy::Random)?,
        row(Policy::BestFit)?,
        row(Policy::Packing)?,
        row(Policy::Fgd(Fgd::new(workload.clone())))?,
    ])
}

/// The shares of all GPUs that are given out at each mark, and that of fragments in what is idle, in per cent.
fn run(
    folder: &Path,
    tasks: &[Task],
    workload: &Workload,
    policy: &Policy,
    seed: u64,
) -> Result<Row, Failed> {
    let (mut cluster, capacity) = trace::nodes(folder, seed)?;
    let mut chance = Chance(seed);
    let profile =
        Profile::empty("gpus").pre_filter(Fit::default()).pre_filter(GpuFit).pre_score(policy.clone(), 1);
    let (mut arrived, mut given) = (0, 0);
    let mut seen = [None; MARKS.len() + 1];
    let share = |given: i64| 100.0 * given as f64 / capacity as f64;
    let last = MARKS[MARKS.len() - 1];
    let arrivals = trace::arrivals(tasks, capacity * last / 100, &mut chance);
    for (number, task) in arrivals.into_iter().enumerate() {
        let asks = task.gpus as i64 * task.gpu_milli;
        for (seen, mark) in seen.iter_mut().zip(MARKS) {
            if arrived + asks > capacity * mark / 100 {
                seen.get_or_insert(share(given));
            }
        }
        if arrived + asks > capacity * FRAGMENTS_AT / 100 {
            let idle = (capacity - given) as f64;
            seen[MARKS.len()].get_or_insert_with(|| 100.0 * fragments(&cluster, workload) / idle);
        }
        arrived += asks;
        let mut pod = trace::pod(task, number)?;
        let Some(node) = place(&pod, &cluster, &profile, seed).node else { continue };
        let view = cluster.node(&node).ok_or("a chosen node is there")?;
        for gpu in policy.gpus(&plugins::room(&view), task, &mut chance) {
            pod.requests.set(&Name::new_static(GPUS[gpu]), task.gpu_milli);
        }
        pod.node = node;
        given += asks;
        cluster.apply(Change::Pod(pod));
    }
    Ok(seen.map(|seen| seen.unwrap_or(share(given))))
}

/// The fragments on all nodes, in thousandths of GPUs.
fn fragments(cluster: &Snapshot, workload: &Workload) -> f64 {
    cluster.nodes().map(|node| workload.fragments(&plugins::room(&node))).sum()
}
