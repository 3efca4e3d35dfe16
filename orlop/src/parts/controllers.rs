//! The controllers' runner, which also follows the kinds that users define.

use std::collections::BTreeMap;

use orlop_core::runner::AttemptId;
use orlop_core::store::Revision;
use orlop_core::{Cut, Failure, Kind, Name, Runner, Scope, Stored, Timestamp, World, Write};
use serde::Deserialize;

use super::job;
use crate::part::{Done, Job, Part};
use crate::stats::LoopStats;

const DEFINITION: Kind =
    Kind::cluster("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions");

/// Controllers, and the custom kinds of which some of them ([`Watches::every`](orlop_core::Watches::every)) want to
/// hear.
///
/// Definitions are heeded where the runner follows them: a kind is followed once its definition is established, and
/// until the definition is gone.
pub struct Controllers {
    runner: Runner,
    /// By name of the definition: what was read of it, and at which revision.
    defined: BTreeMap<Name, (Revision, Option<Kind>)>,
}

impl Controllers {
    /// The part that a runner is.
    pub fn new(runner: Runner) -> Controllers {
        Controllers { runner, defined: BTreeMap::new() }
    }

    /// Follows what is defined now, and what is not defined any more no longer.
    fn learn(&mut self) {
        let defined = read(self.runner.world(), &self.defined);
        for (name, kind) in &self.defined {
            let Some(kind) = &kind.1 else { continue };
            let now = defined.get(name).and_then(|(_, kind)| kind.as_ref());
            // Of a kind that is still defined only the version in which it is stored can change.
            if now.is_none_or(|now| now.kind != kind.kind || now.scope != kind.scope) {
                self.runner.retire(kind);
            }
        }
        for kind in defined.values().filter_map(|(_, kind)| kind.as_ref()) {
            self.runner.follow(kind.clone());
        }
        self.defined = defined;
    }
}

type Defined = BTreeMap<Name, (Revision, Option<Kind>)>;

/// The kinds that are defined. What has not changed since `before` is taken over.
fn read(world: &World, before: &Defined) -> Defined {
    let one = |stored: &Stored, known: Option<&(Revision, Option<Kind>)>| match known {
        Some((revision, kind)) if *revision == stored.revision => kind.clone(),
        _ => stored.decode::<Definition>().ok().and_then(Definition::kind),
    };
    world
        .objects(&DEFINITION)
        .map(|(key, stored)| (key.name.clone(), (stored.revision, one(stored, before.get(&key.name)))))
        .collect()
}

/// What we read of a definition.
#[derive(Deserialize)]
struct Definition {
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Spec {
    group: Name,
    names: Names,
    scope: Name,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Names {
    kind: Name,
    plural: Name,
}

#[derive(Deserialize)]
struct Version {
    name: Name,
    #[serde(default)]
    storage: bool,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    r#type: Name,
    status: Name,
}

impl Definition {
    /// The kind in the version in which it is stored; `None` while it is not established.
    fn kind(self) -> Option<Kind> {
        if !self.status.conditions.iter().any(|c| c.r#type == "Established" && c.status == "True") {
            return None;
        }
        let stored = self.spec.versions.into_iter().find(|version| version.storage)?;
        Some(Kind {
            group: self.spec.group,
            version: stored.name,
            kind: self.spec.names.kind,
            plural: self.spec.names.plural,
            scope: if self.spec.scope == "Cluster" { Scope::Cluster } else { Scope::Namespaced },
        })
    }
}

impl Part for Controllers {
    fn name(&self) -> &str {
        "controllers"
    }

    fn kinds(&self) -> Vec<Kind> {
        self.runner.kinds().to_vec()
    }

    fn reads(&self, kinds: &[Kind]) -> bool {
        self.runner.kinds() == kinds
    }

    fn on_cut(&mut self, cut: Cut) {
        let told = cut.reset.iter().chain(cut.changes.iter().map(|change| &change.kind));
        let definitions = told.into_iter().any(|kind| kind.same_resource(&DEFINITION));
        self.runner.on_cut(cut);
        if definitions {
            self.learn();
        }
    }

    fn on_unserved(&mut self) {
        // Which of them it is will be seen from the definitions.
        for kind in self.defined.values().filter_map(|(_, kind)| kind.as_ref()) {
            self.runner.unfollow(kind);
        }
    }

    fn poll(&mut self, now: Timestamp) -> Vec<Job> {
        self.runner.poll(now).into_iter().map(job).collect()
    }

    fn on_done(&mut self, now: Timestamp, done: Done) -> Vec<Write> {
        self.runner.on_result(now, AttemptId::new(done.id), done.outcome)
    }

    fn on_lost_event(&mut self, now: Timestamp, event: &Write, failure: &Failure) -> Option<Write> {
        self.runner.on_lost_event(now, event, failure)
    }

    fn loops(&self, out: &mut Vec<LoopStats>) {
        out.clear();
        out.extend(self.runner.stats().map(|(name, stats)| LoopStats {
            name,
            depth: stats.depth,
            looks: stats.reconciles,
            failures: stats.failures,
            panics: stats.panics,
            busy: stats.busy,
        }));
    }

    fn malformed(&self) -> usize {
        self.runner.malformed()
    }

    fn next_wake(&self) -> Option<Timestamp> {
        self.runner.next_wake()
    }
}
