//! Which pods are looked at, and whether the node has room for them.

use std::collections::BTreeMap;

use orlop_core::Name;
use orlop_core::kinds::Pod;
use orlop_core::rules::pod_resources::{Counting, requests};

use super::{Action, Agent};
use crate::pod::{Out, PodMachine};

impl Agent {
    pub(super) fn step_pods(&mut self, actions: &mut Vec<Action>) {
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > self.now {
                break;
            }
            self.timers.remove(&(at, uid.clone()));
            self.wakes.remove(&uid);
            self.dirty.insert(uid);
        }
        if self.changed {
            let waiting = self.pods.iter().filter(|(_, machine)| machine.waits_for_objects());
            self.dirty.extend(waiting.map(|(uid, _)| uid.clone()));
        }
        for uid in std::mem::take(&mut self.dirty) {
            self.step_pod(&uid, actions);
        }
        self.changed = false;
        if self.relist_at <= self.now && !self.listing && self.runtime.is_some() {
            self.list(actions);
        }
    }

    fn step_pod(&mut self, uid: &Name, actions: &mut Vec<Action>) {
        let Some(mut machine) = self.pods.remove(uid) else { return };
        let mut out = Out::default();
        if self.config.admission && machine.is_new() && machine.pod().metadata.deletion_timestamp.is_none() {
            self.admit(&mut machine, &mut out);
        }
        machine.step(&mut self.env(), &mut out);
        if let Some(before) = self.wakes.remove(uid) {
            self.timers.remove(&(before, uid.clone()));
        }
        if let Some(at) = out.wake {
            self.wakes.insert(uid.clone(), at);
            self.timers.insert((at, uid.clone()));
        }
        if !machine.is_finished() {
            self.pods.insert(uid.clone(), machine);
        }
        self.carry_out(uid, out, actions);
    }

    /// Refuses a pod for which there is no room, as its binding may be older than what the node has taken since.
    fn admit(&self, machine: &mut PodMachine, out: &mut Out) {
        let Some((name, wanted, used, capacity)) = self.shortage(machine.pod()) else { return };
        let reason = match name.as_str() {
            "cpu" => "OutOfcpu",
            "memory" => "OutOfmemory",
            "pods" => "OutOfpods",
            "ephemeral-storage" => "OutOfephemeral-storage",
            _ => "UnexpectedAdmissionError",
        };
        let why = format!(
            "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
        );
        machine.refuse(reason, &why, out);
    }

    /// The first resource of which the pod wants more than is left: wanted, used, capacity.
    fn shortage(&self, pod: &Pod) -> Option<(Name, i64, i64, i64)> {
        let limit = |name: &Name| self.config.allocatable().get(name).map(|amount| measure(name, amount));
        let mut used: BTreeMap<Name, i64> = BTreeMap::new();
        let mut count = 0;
        for other in self.pods.values().filter(|other| other.is_active() && !other.is_new()) {
            count += 1;
            for (name, amount) in requests(other.pod(), Counting::default()) {
                let amount = measure(&name, &amount);
                *used.entry(name).or_default() += amount;
            }
        }
        let pods = Name::new_static("pods");
        if let Some(capacity) = limit(&pods).filter(|capacity| count >= *capacity) {
            return Some((pods, 1, count, capacity));
        }
        requests(pod, Counting::default()).into_iter().find_map(|(name, amount)| {
            let wanted = measure(&name, &amount);
            let taken = used.get(&name).copied().unwrap_or(0);
            let capacity = limit(&name).unwrap_or(0);
            (wanted > 0 && taken + wanted > capacity).then_some((name, wanted, taken, capacity))
        })
    }
}

/// CPU in thousandths, all else in units, as the messages give them.
fn measure(name: &str, amount: &orlop_core::rules::Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}
