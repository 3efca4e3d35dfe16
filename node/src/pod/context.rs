//! What a step sees, and what it wants done.

use std::time::Duration;

use orlop_core::kinds::{Container, Pod};
use orlop_core::plan::Reference;
use orlop_core::runtime::{Call, ProbePurpose, SandboxId};
use orlop_core::{Name, Note, Revision, Timestamp, Write};
use orlop_netplan::ipam::PodAddresses;

use crate::config::NodeConfig;
use crate::objects::Objects;
use crate::spec::PodFacts;

/// What a reply is for. Numbers are places in the list of the pod's containers and, where a late reply could meet the
/// next instance, its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Sandbox,
    StopSandbox,
    RemoveSandbox,
    Look(usize),
    Pull(usize),
    Create(usize),
    Start(usize),
    Stop(usize),
    Kill,
    Forget,
    Probe(usize, u32, ProbePurpose),
    PostStart(usize, u32),
    PreStop(usize, u32),
}

/// What a write is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodWrite {
    Status,
    Delete,
}

/// What a step wants done.
#[derive(Default)]
pub(crate) struct Out {
    pub(crate) calls: Vec<(Op, Call)>,
    pub(crate) writes: Vec<(PodWrite, Write)>,
    pub(crate) notes: Vec<Note>,
    pub(crate) wake: Option<Timestamp>,
    pub(crate) relist: bool,
}

impl Out {
    pub(crate) fn call(&mut self, op: Op, call: Call) {
        self.calls.push((op, call));
    }

    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// What a step sees beyond the pod itself.
pub(crate) struct Env<'a> {
    pub(crate) now: Timestamp,
    pub(crate) config: &'a NodeConfig,
    pub(crate) objects: &'a Objects,
    pub(crate) addresses: &'a mut Option<PodAddresses>,
    pub(crate) runtime: &'a str,
    /// Whether other objects have changed since the last step.
    pub(crate) changed: bool,
    /// How far the data planes are; `None`: there are none.
    pub(crate) planes: Option<Revision>,
}

/// What a container's step sees.
pub(crate) struct Cx<'a> {
    pub(crate) now: Timestamp,
    pub(crate) changed: bool,
    pub(crate) facts: PodFacts<'a>,
    pub(crate) about: &'a Reference,
    pub(crate) sandbox: SandboxId,
    pub(crate) init_count: usize,
    /// Behind it are the ephemeral containers.
    pub(crate) own_count: usize,
    pub(crate) out: &'a mut Out,
}

impl Cx<'_> {
    pub(crate) fn note(
        &mut self,
        i: usize,
        container: &Container,
        warning: bool,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let list = match i {
            i if i < self.init_count => "initContainers",
            i if i < self.own_count => "containers",
            _ => "ephemeralContainers",
        };
        let mut about = self.about.clone();
        about.field_path = smol_str::format_smolstr!("spec.{list}{{{}}}", container.name);
        self.out.notes.push(Note {
            about,
            warning,
            reason: Name::new_static(reason),
            message: message.into(),
        });
    }

    /// `web_default(uid)`.
    pub(crate) fn pod_name(&self) -> String {
        let meta = &self.facts.pod.metadata;
        format!("{}_{}({})", meta.name, meta.namespace, meta.uid)
    }

    /// What the pod grants its containers to end.
    pub(crate) fn grace(&self) -> Duration {
        grace_of(self.facts.pod)
    }
}

pub(super) fn grace_of(pod: &Pod) -> Duration {
    let given = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    Duration::from_secs(u64::try_from(given).unwrap_or(0))
}
