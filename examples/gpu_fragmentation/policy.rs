//! How much of a node's GPUs is of no use to the tasks that are to be expected: the measure of "Beware of
//! Fragmentation" (USENIX ATC 2023), and what placing a task does to it.

use std::collections::BTreeMap;

/// Most GPUs that a node has.
pub(crate) const MOST: usize = 8;

/// What a task asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Task {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    /// Bytes.
    pub memory: i64,
    /// How many GPUs.
    pub gpus: usize,
    /// Thousandths of each of them.
    pub gpu_milli: i64,
    /// The models that will do; empty: any.
    pub models: Vec<String>,
}

/// What a node has left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Room {
    /// Thousandths of a CPU.
    pub cpu_milli: i64,
    /// Thousandths of each GPU.
    pub gpus: [i64; MOST],
    /// How many GPUs there are.
    pub count: usize,
    /// Their model.
    pub model: String,
}

impl Room {
    fn left(&self) -> i64 {
        self.gpus[..self.count].iter().sum()
    }

    /// Whether a task's GPUs can be had. What it asks of CPU is looked at where `with_cpu`.
    pub(crate) fn takes(&self, task: &Task, with_cpu: bool) -> bool {
        let fitting = self.gpus[..self.count].iter().filter(|free| **free >= task.gpu_milli).count();
        (task.gpus == 0 || fitting >= task.gpus)
            && (task.models.is_empty() || task.models.contains(&self.model))
            && (!with_cpu || self.cpu_milli >= task.cpu_milli)
    }

    /// What is left after a task has these GPUs.
    fn without(&self, task: &Task, gpus: &[usize]) -> Room {
        let mut room = self.clone();
        room.cpu_milli -= task.cpu_milli;
        gpus.iter().for_each(|gpu| room.gpus[*gpu] -= task.gpu_milli);
        room
    }

    /// The choices of GPUs that differ in what they leave: for a share each GPU on which it fits, else the fullest ones
    /// that fit.
    fn choices(&self, task: &Task) -> Vec<Vec<usize>> {
        let mut fitting: Vec<usize> =
            (0..self.count).filter(|gpu| self.gpus[*gpu] >= task.gpu_milli).collect();
        fitting.sort_by_key(|gpu| (self.gpus[*gpu], *gpu));
        match task.gpus {
            0 => vec![Vec::new()],
            1 => {
                fitting.dedup_by_key(|gpu| self.gpus[*gpu]);
                fitting.into_iter().map(|gpu| vec![gpu]).collect()
            }
            many => vec![fitting.into_iter().take(many).collect()],
        }
    }

    /// The GPUs on which a task leaves least room idle: the fullest that fit.
    pub(crate) fn tightest(&self, task: &Task) -> Vec<usize> {
        self.choices(task).into_iter().next().unwrap_or_default()
    }
}

/// The tasks that are to be expected, each with its share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workload {
    tasks: Vec<(Task, f64)>,
}

impl Workload {
    /// A workload like these tasks.
    pub(crate) fn of<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> Workload {
        let mut counts: BTreeMap<Task, usize> = BTreeMap::new();
        let mut all = 0;
        for task in tasks {
            // Memory is plentiful in this cluster: it makes no kinds of tasks.
            *counts.entry(Task { memory: 0, ..task.clone() }).or_default() += 1;
            all += 1;
        }
        Workload { tasks: counts.into_iter().map(|(task, n)| (task, n as f64 / f64::from(all))).collect() }
    }

    /// How many thousandths of a node's free GPUs an expected task could not use, on average.
    ///
    /// For a task that does not run there, and for one that needs no GPU, that is all of them; else those that are too
    /// small for it.
    pub(crate) fn fragments(&self, room: &Room) -> f64 {
        let left = room.left() as f64;
        let of = |task: &Task| {
            if task.gpus == 0 || !room.takes(task, true) {
                return left;
            }
            let small = room.gpus[..room.count].iter().filter(|free| **free < task.gpu_milli);
            small.sum::<i64>() as f64
        };
        self.tasks.iter().map(|(task, share)| share * of(task)).sum()
    }

    /// By how much placing a task makes the fragments grow, at best, and on which GPUs. `None`: it does not fit.
    pub(crate) fn growth(&self, room: &Room, task: &Task) -> Option<(f64, Vec<usize>)> {
        if !room.takes(task, true) {
            return None;
        }
        let before = self.fragments(room);
        let grown = room
            .choices(task)
            .into_iter()
            .map(|gpus| (self.fragments(&room.without(task, &gpus)) - before, gpus));
        grown.min_by(|(a, x), (b, y)| a.total_cmp(b).then_with(|| x.cmp(y)))
    }
}
