//! The pods of a plan by address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use orlop_core::{Key, Name};

/// What the network knows of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEntry {
    /// Its namespace and name.
    pub key: Key,
    /// The node on which it is.
    pub node: Name,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// Pods by address. Cloning costs the same however many there are, and a change copies one part in 256.
#[derive(Clone, Debug)]
pub struct PodIndex {
    parts: Box<[Arc<BTreeMap<IpAddr, PodEntry>>]>,
}

const PARTS: usize = 256;

impl Default for PodIndex {
    fn default() -> PodIndex {
        let empty = Arc::new(BTreeMap::new());
        PodIndex { parts: vec![empty; PARTS].into() }
    }
}

/// Neighbouring addresses go to different parts, so that they stay equally large.
fn part(address: &IpAddr) -> usize {
    (crate::ipam::number(*address) % PARTS as u128) as usize
}

impl PodIndex {
    /// The pod that has this address.
    pub fn get(&self, address: &IpAddr) -> Option<&PodEntry> {
        self.parts[part(address)].get(address)
    }

    /// How many addresses pods have.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Whether no pod has an address.
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.is_empty())
    }

    /// All pods, in no order that means anything (but always the same).
    pub fn iter(&self) -> impl Iterator<Item = (&IpAddr, &PodEntry)> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    pub(crate) fn insert(&mut self, address: IpAddr, entry: PodEntry) {
        let part = &mut self.parts[part(&address)];
        if part.get(&address) != Some(&entry) {
            Arc::make_mut(part).insert(address, entry);
        }
    }

    /// Removes the address if `key` still has it.
    pub(crate) fn remove(&mut self, address: &IpAddr, key: &Key) {
        let part = &mut self.parts[part(address)];
        if part.get(address).is_some_and(|entry| entry.key == *key) {
            Arc::make_mut(part).remove(address);
        }
    }
}

impl FromIterator<(IpAddr, PodEntry)> for PodIndex {
    fn from_iter<T: IntoIterator<Item = (IpAddr, PodEntry)>>(pods: T) -> PodIndex {
        let mut index = PodIndex::default();
        for (address, entry) in pods {
            index.insert(address, entry);
        }
        index
    }
}
