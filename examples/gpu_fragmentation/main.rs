//! GPU fragmentation: the policy FGD as plugins of one's own, beside Random, BestFit and Packing, on a production trace.
//!
//! `cargo run --release -p orlop-examples --example gpu_fragmentation -- ../shared/traces/openb [VARIANT] [SEEDS]`
//!
//! Tasks arrive until they ask for 130 % of all GPUs; what no node takes is turned away. Printed is the share of all
//! GPUs that is given out when 95, 100 and 130 % have arrived, the mean of so many orders of arrival.

mod plugins;
mod policy;
mod trace;

use std::path::PathBuf;
use std::sync::Arc;

use orlop::base::Name;
use orlop::scheduler::plugins::Fit;
use orlop::scheduler::{Change, Profile, Snapshot, place};

use plugins::{Fgd, GPUS, GpuFit, Policy};
use policy::{Task, Workload};

/// After so many per cent of the capacity has arrived, it is looked at.
const MARKS: [i64; 3] = [95, 100, 130];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "../shared/traces/openb".to_owned()));
    let variant = arguments.next().unwrap_or_else(|| "default".to_owned());
    let seeds: u64 = arguments.next().map_or(Ok(10), |text| text.parse())?;
    let tasks = trace::tasks(&folder, &variant)?;
    let (cluster, capacity) = trace::nodes(&folder)?;
    let workload = Arc::new(Workload::of(&tasks));
    println!("{} tasks of {variant}, {} nodes, {} GPUs", tasks.len(), cluster.len(), capacity / 1000);
    println!("{:8}  {}", "policy", MARKS.map(|mark| format!("{mark:>6}")).join("  "));
    let fgd = Fgd::new(workload);
    for policy in [Policy::Random, Policy::BestFit, Policy::Packing, Policy::Fgd(fgd)] {
        let mut sums = [0.0; MARKS.len()];
        for seed in 0..seeds {
            let shares = run(&cluster, capacity, &tasks, &policy, seed)?;
            sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
        }
        let means = sums.map(|sum| format!("{:6.2}", sum / seeds as f64));
        println!("{:8}  {}", orlop::scheduler::PreScore::name(&policy), means.join("  "));
    }
    Ok(())
}

/// The shares of all GPUs that are given out at each mark, in per cent.
fn run(
    cluster: &Snapshot,
    capacity: i64,
    tasks: &[Task],
    policy: &Policy,
    seed: u64,
) -> Result<[f64; MARKS.len()], Box<dyn std::error::Error>> {
    let mut cluster = cluster.clone();
    let profile =
        Profile::empty("gpus").pre_filter(Fit::default()).pre_filter(GpuFit).pre_score(policy.clone(), 1);
    let (mut arrived, mut given) = (0, 0);
    let mut shares = [None; MARKS.len()];
    let last = MARKS[MARKS.len() - 1];
    for (number, task) in trace::arrivals(tasks, capacity * last / 100, seed).into_iter().enumerate() {
        let asks = task.gpus as i64 * task.gpu_milli;
        for (share, mark) in shares.iter_mut().zip(MARKS) {
            if arrived + asks > capacity * mark / 100 {
                share.get_or_insert(100.0 * given as f64 / capacity as f64);
            }
        }
        arrived += asks;
        let mut pod = trace::pod(task, number)?;
        let Some(node) = place(&pod, &cluster, &profile, seed).node else { continue };
        let view = cluster.node(&node).ok_or("a chosen node is there")?;
        for gpu in policy.gpus(&plugins::room(&view), task) {
            pod.requests.set(&Name::new_static(GPUS[gpu]), task.gpu_milli);
        }
        pod.node = node;
        given += asks;
        cluster.apply(Change::Pod(pod));
    }
    Ok(shares.map(|share| share.unwrap_or(100.0 * given as f64 / capacity as f64)))
}
