//! The trace: nodes and tasks of a production cluster, and arrivals made of them.

use std::path::Path;

use orlop::scheduler::{Change, NodeFacts, PodFacts, Snapshot};
use serde_json::json;

use super::plugins::{GPUS, MODEL};
use super::policy::Task;

/// The rows of a file of comma-separated values, without its head.
fn rows(path: &Path) -> Result<Vec<Vec<String>>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        format!(
            "{}: {error}; the first argument is the folder of the trace, which Alibaba has published as \
             cluster-trace-gpu-v2023",
            path.display()
        )
    })?;
    Ok(text
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.trim().to_owned()).collect())
        .collect())
}

fn number(row: &[String], at: usize) -> i64 {
    row.get(at).and_then(|cell| cell.parse().ok()).unwrap_or(0)
}

/// The nodes with GPUs, and how many thousandths of GPUs they have in all. Their names put them in an order of chance.
pub(crate) fn nodes(folder: &Path, seed: u64) -> Result<(Snapshot, i64), Box<dyn std::error::Error>> {
    let mut cluster = Snapshot::new();
    let mut capacity = 0;
    let rows = rows(&folder.join("openb_node_list_gpu_node.csv"))?;
    for (place, row) in Chance(seed).shuffled(rows).into_iter().enumerate() {
        let mut allocatable = json!({
            "cpu": format!("{}m", number(&row, 1)),
            "memory": format!("{}Mi", number(&row, 2)),
            "pods": "1000",
        });
        for gpu in GPUS.iter().take(usize::try_from(number(&row, 3)).unwrap_or(0)) {
            allocatable[*gpu] = "1000".into();
            capacity += 1000;
        }
        cluster.apply(Change::Node(NodeFacts::from_json(&json!({
            "metadata": {"name": format!("{place:04}-{}", row[0]), "labels": {MODEL: row[4]}},
            "status": {"allocatable": allocatable},
        }))?));
    }
    Ok((cluster, capacity))
}

/// The tasks of one variant of the trace: `default`, `gpushare40` and so on.
pub(crate) fn tasks(folder: &Path, variant: &str) -> Result<Vec<Task>, String> {
    let rows = rows(&folder.join(format!("openb_pod_list_{variant}.csv")))?;
    let task = |row: &Vec<String>| Task {
        cpu_milli: number(row, 1),
        memory: number(row, 2) << 20,
        gpus: usize::try_from(number(row, 3)).unwrap_or(0),
        gpu_milli: if number(row, 3) > 0 { number(row, 4) } else { 0 },
        models: row
            .get(5)
            .map_or("", String::as_str)
            .split('|')
            .filter(|m| !m.is_empty())
            .map(str::to_owned)
            .collect(),
    };
    Ok(rows.iter().map(task).collect())
}

/// A pod that asks for what a task does.
pub(crate) fn pod(task: &Task, number: usize) -> Result<PodFacts, serde_json::Error> {
    PodFacts::from_json(&json!({
        "metadata": {"name": format!("task-{number}"), "namespace": "default", "uid": format!("{number}"), "labels": {
            "gpus": task.gpus.to_string(),
            "gpu-milli": task.gpu_milli.to_string(),
            "gpu-models": task.models.join("_"),
        }},
        "spec": {"containers": [{"name": "task", "resources": {"requests": {
            "cpu": format!("{}m", task.cpu_milli),
            "memory": task.memory.to_string(),
        }}}]},
    }))
}

/// Small, fast and the same everywhere: chance enough for an order of arrivals (splitmix64).
pub(crate) struct Chance(pub u64);

impl Chance {
    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) % end as u64) as usize
    }

    /// The same in any order.
    pub(crate) fn shuffled<T>(&mut self, mut all: Vec<T>) -> Vec<T> {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at + 1));
        }
        all
    }
}

/// Arrivals: the tasks in any order, and then tasks drawn from them, until they ask for so many thousandths of GPUs.
pub(crate) fn arrivals<'a>(tasks: &'a [Task], thousandths: i64, chance: &mut Chance) -> Vec<&'a Task> {
    let asks = |task: &Task| task.gpus as i64 * task.gpu_milli;
    let mut all: Vec<&Task> = chance.shuffled(tasks.iter().collect());
    let mut sum: i64 = all.iter().map(|task| asks(task)).sum();
    while sum < thousandths && !tasks.is_empty() {
        let task = &tasks[chance.below(tasks.len())];
        sum += asks(task);
        all.push(task);
    }
    all
}
