//! The policies as plugins: a predicate for GPUs, and a priority for each policy.
//!
//! Each GPU is a resource of its node, `gpu.example.com/0` and so on, a thousand of each. A pod says in labels how many
//! GPUs it wants (`gpus`), how much of each (`gpu-milli`), and of which models (`gpu-models`, `_` between them); once it
//! is placed, its requests name the GPUs that it has.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use orlop::scheduler::{
    Columns, Depends, MAX_SCORE, NodeId, NodeSet, NodeView, PodFacts, PreFilter, PreScore, Predicate,
    Prepared, Priority, Snapshot, Verdict,
};

use super::policy::{MOST, Room, Task, Workload};
use super::trace::Chance;

/// A GPU's resource.
pub(crate) const GPUS: [&str; MOST] = [
    "gpu.example.com/0",
    "gpu.example.com/1",
    "gpu.example.com/2",
    "gpu.example.com/3",
    "gpu.example.com/4",
    "gpu.example.com/5",
    "gpu.example.com/6",
    "gpu.example.com/7",
];
/// The label of nodes that names their GPUs' model.
pub(crate) const MODEL: &str = "gpu-model";

/// What a pod asks for.
pub(crate) fn task(pod: &PodFacts) -> Task {
    let number = |label: &str| pod.label(label).and_then(|text| text.parse().ok()).unwrap_or(0i64);
    let models = pod.label("gpu-models").unwrap_or_default();
    Task {
        cpu_milli: pod.requests.cpu_milli,
        memory: pod.requests.memory,
        gpus: usize::try_from(number("gpus")).unwrap_or(0),
        gpu_milli: number("gpu-milli"),
        models: models.split('_').filter(|model| !model.is_empty()).map(str::to_owned).collect(),
    }
}

/// What a node has left.
pub(crate) fn room(node: &NodeView<'_>) -> Room {
    let count = GPUS.iter().take_while(|gpu| node.allocatable(gpu) > 0).count();
    let mut gpus = [0; MOST];
    gpus.iter_mut().zip(GPUS).take(count).for_each(|(free, gpu)| *free = node.free(gpu));
    let model = node.label(MODEL).unwrap_or_default().to_owned();
    Room { cpu_milli: node.free("cpu"), gpus, count, model }
}

/// The same of many nodes: each GPU's column is looked up once.
struct Rooms<'a> {
    cluster: &'a Snapshot,
    cpu: Option<(&'a [i64], &'a [i64])>,
    gpus: Vec<Option<(&'a [i64], &'a [i64])>>,
}

impl<'a> Rooms<'a> {
    fn of(cluster: &'a Snapshot) -> Rooms<'a> {
        let columns: &Columns = cluster.columns();
        let column = |name: &str| {
            let id = columns.resource(name)?;
            Some((columns.allocatable(id), columns.requested(id)))
        };
        Rooms { cluster, cpu: column("cpu"), gpus: GPUS.iter().map(|gpu| column(gpu)).collect() }
    }

    fn room(&self, node: NodeId) -> Room {
        let at = node.index();
        let free = |column: &Option<(&[i64], &[i64])>| column.map_or(0, |(all, used)| all[at] - used[at]);
        let there = |column: &Option<(&[i64], &[i64])>| column.is_some_and(|(all, _)| all[at] > 0);
        let count = self.gpus.iter().take_while(|column| there(column)).count();
        let mut gpus = [0; MOST];
        gpus.iter_mut().zip(&self.gpus).take(count).for_each(|(left, column)| *left = free(column));
        let model = self.cluster.view(node).label(MODEL).unwrap_or_default().to_owned();
        Room { cpu_milli: free(&self.cpu), gpus, count, model }
    }
}

/// Keeps pods to nodes that have the GPUs that they ask for.
#[derive(Clone, Copy)]
pub(crate) struct GpuFit;

struct Wanted(Task);

impl PreFilter for GpuFit {
    fn name(&self) -> &str {
        "GpuFit"
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodFacts, _: &'a Snapshot) -> Prepared<'a> {
        let task = task(pod);
        if task.gpus == 0 { Prepared::Skip } else { Prepared::ready(Wanted(task)) }
    }

    fn depends_on(&self) -> Depends {
        Depends::NODE_LABELS.and(Depends::NODE_CAPACITY).and(Depends::PODS_THERE)
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

impl Predicate for Wanted {
    fn filter(&self, node: &NodeView<'_>) -> Verdict {
        Verdict::fits_or(room(node).takes(&self.0, false), || Verdict::refuse("Insufficient GPUs"))
    }

    fn filter_all(&self, cluster: &Snapshot, nodes: &mut NodeSet) {
        let rooms = Rooms::of(cluster);
        nodes.retain(|node| rooms.room(node).takes(&self.0, false));
    }

    fn remedy(&self, _: &NodeView<'_>) -> Option<String> {
        Some(format!("{} GPUs with {} thousandths free are needed", self.0.gpus, self.0.gpu_milli))
    }
}

/// A policy: what a node is worth for a task.
#[derive(Clone)]
pub(crate) enum Policy {
    /// Any node, and any GPUs of it.
    Random,
    /// The node with least left, CPU and GPUs weighed alike.
    BestFit,
    /// GPUs that are shared already, then nodes in use, then others.
    Packing,
    /// The node whose fragments grow least.
    Fgd(Fgd),
}

/// Fragmentation gradient descent. Remembers what it worked out: nodes are often alike.
#[derive(Clone)]
pub(crate) struct Fgd {
    workload: Arc<Workload>,
    known: Arc<Mutex<HashMap<Task, HashMap<Room, i64>>>>,
}

impl Fgd {
    /// For a workload to be expected.
    pub(crate) fn new(workload: Arc<Workload>) -> Fgd {
        Fgd { workload, known: Arc::default() }
    }

    fn worth(&self, room: Room, task: &Task, known: &mut HashMap<Room, i64>) -> i64 {
        if let Some(worth) = known.get(&room) {
            return *worth;
        }
        let worth = self.workload.worth(&room, task).map_or(0, |(worth, _)| worth);
        known.insert(room, worth);
        worth
    }
}

impl Policy {
    /// What a node with this room is worth, 0 to 100.
    fn worth(&self, room: Room, task: &Task, known: &mut HashMap<Room, i64>) -> i64 {
        match self {
            Policy::Random => 0,
            Policy::BestFit => {
                // A large node has 128 CPUs and 8 GPUs. A hundredth is as fine as it gets.
                let cpu = (room.cpu_milli - task.cpu_milli) as f64 / 128_000.0;
                let left: i64 = room.gpus[..room.count].iter().sum();
                let gpus = (left - task.gpus as i64 * task.gpu_milli) as f64 / 8000.0;
                (100.0 * (1.0 - (cpu + gpus) / 2.0)) as i64
            }
            Policy::Packing if task.gpus == 0 => 0,
            Policy::Packing => {
                let gpus = room.tightest(task);
                let whole = |gpu: &usize| room.gpus[*gpu] == 1000;
                let idle = (0..room.count).filter(|gpu| whole(gpu)).count();
                if idle == room.count {
                    33 - idle as i64
                } else if gpus.iter().any(&whole) {
                    50 - gpus.iter().filter(|gpu| whole(gpu)).count() as i64
                } else {
                    100 - gpus.iter().map(|gpu| room.gpus[*gpu] / 10).sum::<i64>() / 10
                }
            }
            Policy::Fgd(fgd) => fgd.worth(room, task, known),
        }
    }

    /// The GPUs of a node that a task is given.
    pub(crate) fn gpus(&self, room: &Room, task: &Task, chance: &mut Chance) -> Vec<usize> {
        match self {
            Policy::Random => {
                let fitting = (0..room.count).filter(|gpu| room.gpus[*gpu] >= task.gpu_milli);
                let mut gpus = chance.shuffled(fitting.collect());
                gpus.truncate(task.gpus);
                gpus
            }
            Policy::Fgd(fgd) => fgd.workload.worth(room, task).map(|(_, gpus)| gpus).unwrap_or_default(),
            Policy::BestFit | Policy::Packing => room.tightest(task),
        }
    }
}

struct ForTask<'a> {
    policy: &'a Policy,
    task: Task,
}

impl PreScore for Policy {
    fn name(&self) -> &str {
        match self {
            Policy::Random => "Random",
            Policy::BestFit => "BestFit",
            Policy::Packing => "Packing",
            Policy::Fgd(_) => "FGD",
        }
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodFacts,
        _: &'a Snapshot,
        _: &'a [NodeId],
    ) -> Option<Box<dyn Priority + 'a>> {
        Some(Box::new(ForTask { policy: self, task: task(pod) }))
    }
}

impl Priority for ForTask<'_> {
    fn score(&self, node: &NodeView<'_>) -> i64 {
        self.policy.worth(room(node), &self.task, &mut HashMap::new())
    }

    fn score_all(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        let rooms = Rooms::of(cluster);
        let mut all = match self.policy {
            // Whoever panicked with it had finished what it put in.
            Policy::Fgd(fgd) => Some(fgd.known.lock().unwrap_or_else(PoisonError::into_inner)),
            _ => None,
        };
        let mut none = HashMap::new();
        let known = match &mut all {
            Some(all) => all.entry(Task { memory: 0, ..self.task.clone() }).or_default(),
            None => &mut none,
        };
        for (node, score) in nodes.iter().zip(scores) {
            *score = self.policy.worth(rooms.room(*node), &self.task, known);
        }
    }

    /// Of the best nodes the first by name gets the highest score, so that equal nodes are taken in one order; where
    /// nothing matters, any will do.
    fn normalize(&self, cluster: &Snapshot, nodes: &[NodeId], scores: &mut [i64]) {
        if matches!(self.policy, Policy::Random) {
            return;
        }
        let max = scores.iter().copied().max().unwrap_or(0);
        let best = nodes.iter().zip(scores.iter()).filter(|(_, score)| **score == max);
        let first = best.map(|(node, _)| cluster.view(*node).name()).min();
        for (node, score) in nodes.iter().zip(scores) {
            let chosen = *score == max && Some(cluster.view(*node).name()) == first;
            *score = if chosen { MAX_SCORE } else { (*score).clamp(0, MAX_SCORE - 1) };
        }
    }
}
