//! What the agent keeps besides pods: addresses, its Node, and what stands for the system's own programs.

use orlop_core::runtime::ImageInfo;
use orlop_netplan::ipam::PodAddresses;

use super::{Action, Agent, Target, Task};

impl Agent {
    /// Has the pool of addresses, as soon as the node has ranges.
    pub(super) fn keep_addresses(&mut self) {
        if self.addresses.is_some() || !self.recovered {
            return;
        }
        let ranges = self.registration.pod_cidrs(&self.config);
        if ranges.is_empty() {
            return;
        }
        // A pod that the runtime has forgotten keeps the address by which it is known.
        for machine in self.pods.values_mut() {
            machine.reserve_addresses(&ranges);
        }
        let held = self.pods.values().filter(|machine| !machine.is_host_network()).flat_map(|machine| {
            let created = machine.pod().metadata.creation_timestamp.unwrap_or_default();
            machine.addresses().iter().map(move |ip| (*ip, created))
        });
        let held: Vec<_> = held.collect();
        self.addresses = Some(PodAddresses::restore(ranges, held));
        self.dirty.extend(self.pods.keys().cloned());
    }

    pub(super) fn keep_node(&mut self, actions: &mut Vec<Action>) {
        if self.registration_wake.is_none_or(|at| at > self.now) {
            return;
        }
        let (mut writes, mut notes) = (Vec::new(), Vec::new());
        let images: Vec<ImageInfo> = self.images.values().cloned().collect();
        self.registration_wake = self.registration.step(
            self.now,
            &self.config,
            self.runtime.as_ref(),
            self.asked,
            &images,
            &mut writes,
            &mut notes,
        );
        for (what, write) in writes {
            self.act(actions, Target::Node(what), Task::Write(write));
        }
        self.tell(actions, notes);
    }

    pub(super) fn keep_mirrors(&mut self, actions: &mut Vec<Action>) {
        if self.mirrored_wake.is_none_or(|at| at > self.now) || !self.pods_seen {
            return;
        }
        self.mirrored_wake = None;
        let uid = self.registration.uid();
        let runtime = self.runtime.as_ref().map_or("orlop", |info| info.name.as_str()).to_owned();
        for at in 0..self.mirrored.len() {
            let (write, wake) = self.mirrored[at].step(self.now, &self.config, uid.as_ref(), &runtime);
            self.mirrored_wake = [self.mirrored_wake, wake].into_iter().flatten().min();
            if let Some((what, write)) = write {
                self.act(actions, Target::Mirror(at, what), Task::Write(write));
            }
        }
    }
}
