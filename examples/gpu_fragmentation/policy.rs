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

    /// The GPUs on which a task leaves least room idle: the fullest that fit.
    pub(crate) fn tightest(&self, task: &Task) -> Vec<usize> {
        let mut fitting: Vec<usize> =
            (0..self.count).filter(|gpu| self.gpus[*gpu] >= task.gpu_milli).collect();
        fitting.sort_by_key(|gpu| (self.gpus[*gpu], *gpu));
        fitting.truncate(task.gpus);
        fitting
    }

    /// The choices of GPUs: for a share each GPU on which it fits, else the fullest ones that fit.
    fn choices(&self, task: &Task) -> Vec<Vec<usize>> {
        if task.gpus == 1 && task.gpu_milli < 1000 {
            let fitting = (0..self.count).filter(|gpu| self.gpus[*gpu] >= task.gpu_milli);
            return fitting.map(|gpu| vec![gpu]).collect();
        }
        vec![self.tightest(task)]
    }
}

/// How much of all tasks the kinds of tasks must make up that are to be expected, in per cent; the rarest are left out.
const POPULAR: usize = 95;

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
        let mut kinds: Vec<(usize, Task)> = counts.into_iter().map(|(task, count)| (count, task)).collect();
        kinds.sort_by(|a, b| b.cmp(a));
        let mut taken = 0;
        kinds.retain(|(count, _)| {
            let wanted = taken * 100 < all * POPULAR;
            taken += if wanted { *count } else { 0 };
            wanted
        });
        let share = |count: usize| count as f64 / taken as f64;
        Workload { tasks: kinds.into_iter().map(|(count, task)| (task, share(count))).collect() }
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

    /// How good it is for the fragments to place a task on a node, 0 to 100, and on which GPUs it is best. `None`: it
    /// does not fit.
    ///
    /// The change is squeezed by a sigmoid and cut to a whole number, as the paper's authors have it. That is more than
    /// a scale: nodes whose fragments change by nearly as much count as equal, and if these are always taken in one
    /// order, whole nodes stay free for large tasks. The exact change, unrounded, gives out 2.6 points less.
    pub(crate) fn worth(&self, room: &Room, task: &Task) -> Option<(i64, Vec<usize>)> {
        if !room.takes(task, true) {
            return None;
        }
        let before = self.fragments(room);
        let worth = |gpus: &[usize]| {
            let less = (before - self.fragments(&room.without(task, gpus))) / 1000.0;
            (100.0 / (1.0 + (-less).exp())) as i64
        };
        let choices = room.choices(task).into_iter().map(|gpus| (worth(&gpus), gpus));
        // Of equal ones the first.
        choices.reduce(|best, next| if next.0 > best.0 { next } else { best })
    }
}
