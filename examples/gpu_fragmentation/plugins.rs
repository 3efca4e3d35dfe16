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
    /// Any node.
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

    /// The GPUs for a task.
    pub(crate) fn gpus(&self, room: &Room, task: &Task) -> Vec<usize> {
        self.workload.growth(room, task).map(|(_, gpus)| gpus).unwrap_or_default()
    }

    fn worth(&self, room: Room, task: &Task, known: &mut HashMap<Room, i64>) -> i64 {
        if let Some(worth) = known.get(&room) {
            return *worth;
        }
        // In millionths of a GPU, so that sums of shares keep their order.
        let worth = self
            .workload
            .growth(&room, task)
            .map_or(i64::MIN / 4, |(growth, _)| (-growth * 1000.0).round() as i64);
        known.insert(room, worth);
        worth
    }
}

impl Policy {
    fn worth(&self, room: Room, task: &Task, known: &mut HashMap<Room, i64>) -> i64 {
        let left: i64 = room.gpus[..room.count].iter().sum();
        match self {
            Policy::Random => 0,
            // A large node has 128 CPUs and 8 GPUs.
            Policy::BestFit => -((room.cpu_milli - task.cpu_milli) * 1000 / 128 + left * 1000 / 8),
            Policy::Packing => {
                let shared = room.tightest(task).first().is_some_and(|gpu| room.gpus[*gpu] < 1000);
                let in_use = left < 1000 * room.count as i64;
                let idle = room.gpus[..room.count].iter().filter(|free| **free == 1000).count() as i64;
                match (task.gpus, shared, in_use) {
                    (1, true, _) => 1_000_000 - room.gpus[room.tightest(task)[0]],
                    (_, _, true) => 100_000 - idle,
                    _ => -idle,
                }
            }
            Policy::Fgd(fgd) => fgd.worth(room, task, known),
        }
    }

    /// The GPUs of a node that a task is given.
    pub(crate) fn gpus(&self, room: &Room, task: &Task) -> Vec<usize> {
        match self {
            Policy::Fgd(fgd) => fgd.gpus(room, task),
            _ => room.tightest(task),
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

    /// The best have the highest score to themselves, however close the others are.
    fn normalize(&self, _: &Snapshot, _: &[NodeId], scores: &mut [i64]) {
        let (min, max) =
            (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        let below = MAX_SCORE - 1;
        for score in scores {
            *score = match *score == max {
                true => MAX_SCORE,
                false => ((*score - min) as f64 / (max - min) as f64 * below as f64) as i64,
            };
        }
    }
}
