//! A node's agent with its runtime.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use orlop_core::runtime::{Runtime, RuntimeEvent};
use orlop_core::store::Revision;
use orlop_core::{Cut, Failure, Kind, Timestamp, Write};
use orlop_netplan::{DataPlane, Gate};
use orlop_node::{ActionId, ActionResult, Agent, NodeConfig, Task, execute};

use crate::part::{Done, Inlet, Job, Part};

/// Runs the pods of one node.
pub struct NodeAgent {
    agent: Agent,
    name: String,
    runtime: Arc<dyn Runtime>,
    gate: Gate,
    next: u64,
    under_way: BTreeMap<u64, ActionId>,
}

/// What an agent hears besides the API.
enum Heard {
    /// Something happened in the runtime.
    Runtime(RuntimeEvent),
    /// Every data plane has passed this revision.
    Planes(Option<Revision>),
}

impl NodeAgent {
    /// The agent of a node whose containers `runtime` runs; it lets `planes` take a pod's address back before the pod
    /// ends.
    pub fn new(config: NodeConfig, runtime: Arc<dyn Runtime>, planes: &[Arc<dyn DataPlane>]) -> NodeAgent {
        let name = format!("node {}", config.name);
        let gate = Gate::new(planes.iter().map(|plane| plane.progress()));
        NodeAgent { agent: Agent::new(config), name, runtime, gate, next: 0, under_way: BTreeMap::new() }
    }
}

impl Part for NodeAgent {
    fn name(&self) -> &str {
        &self.name
    }

    fn kinds(&self) -> Vec<Kind> {
        self.agent.kinds()
    }

    fn on_cut(&mut self, cut: Cut) {
        self.agent.on_cut(cut);
    }

    fn malformed(&self) -> usize {
        self.agent.malformed()
    }

    fn hears(&mut self) -> Option<Inlet> {
        let events = self.runtime.events().map(Heard::Runtime);
        let planes = stream::unfold((self.gate.clone(), Revision(0)), |(gate, seen)| async move {
            // Without planes there is nothing to wait for, ever.
            gate.reached()?;
            gate.passed(Revision(seen.0 + 1)).await;
            let reached = gate.reached()?;
            Some((Heard::Planes(Some(reached)), (gate, reached)))
        });
        Some(Box::pin(stream::select(events, planes).map(|heard| Box::new(heard) as Box<dyn Any + Send>)))
    }

    fn on_heard(&mut self, heard: Box<dyn Any + Send>) {
        match heard.downcast::<Heard>().map(|heard| *heard) {
            Ok(Heard::Runtime(event)) => self.agent.on_runtime(event),
            Ok(Heard::Planes(reached)) => self.agent.on_planes(reached),
            Err(_) => {}
        }
    }

    fn poll(&mut self, now: Timestamp) -> Vec<Job> {
        let actions = self.agent.poll(now);
        actions
            .into_iter()
            .map(|action| {
                self.next += 1;
                self.under_way.insert(self.next, action.id);
                let mut job = Job { id: Some(self.next), ..Job::default() };
                match action.task {
                    Task::Write(write) => job.writes.push(write),
                    Task::Runtime(call) => {
                        let runtime = self.runtime.clone();
                        job.outside = Some(Box::pin(async move {
                            Box::new(execute(&call, runtime.as_ref()).await) as Box<dyn Any + Send>
                        }));
                    }
                }
                job
            })
            .collect()
    }

    fn on_done(&mut self, _now: Timestamp, done: Done) -> Vec<Write> {
        let Some(id) = self.under_way.remove(&done.id) else { return Vec::new() };
        let result = match done.outside.map(|answer| answer.downcast::<ActionResult>()) {
            Some(Ok(result)) => *result,
            _ => ActionResult::Written(match done.outcome.failed {
                None => Ok(done.outcome.revision),
                Some((_, failure)) => Err(failure),
            }),
        };
        self.agent.on_result(id, result);
        Vec::new()
    }

    fn on_lost_event(&mut self, _now: Timestamp, _event: &Write, _failure: &Failure) -> Option<Write> {
        None
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.agent.next_wake()
    }
}
