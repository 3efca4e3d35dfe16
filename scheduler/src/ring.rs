//! Who is first among equals: nodes on a ring, and sets of places on it.
//!
//! A node stands where a hash of its name puts it. A pod starts at a hash of the seed and its UID and takes the next of
//! the nodes that are equally good: the same node whatever order they came in, and found without looking at them all.

use std::hash::Hasher;

use crate::snapshot::{NodeId, Snapshot};

/// Where a node of this name stands.
pub(crate) fn point_of(name: &str) -> u64 {
    spread(0, name)
}

/// Where a pod starts.
pub(crate) fn start_of(seed: u64, uid: &str) -> u64 {
    spread(seed, uid)
}

fn spread(seed: u64, text: &str) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write_u64(seed);
    hasher.write(text.as_bytes());
    // FxHash leaves the low bits weak; a finaliser spreads them.
    let mut x = hasher.finish();
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// All nodes of a snapshot in the order in which they stand.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    nodes: Vec<NodeId>,
    points: Vec<u64>,
    /// By slot of the snapshot.
    places: Vec<u32>,
}

impl Ring {
    pub(crate) fn of(cluster: &Snapshot) -> Ring {
        // The nodes come by name, and the sort is stable: where two points are one, the name decides.
        let mut by_point: Vec<(u64, NodeId)> =
            cluster.nodes().map(|node| (point_of(node.name()), node.id())).collect();
        by_point.sort_by_key(|(point, _)| *point);
        let mut places = vec![0; cluster.columns().pod_counts().len()];
        for (place, (_, node)) in by_point.iter().enumerate() {
            places[node.index()] = place as u32;
        }
        let (points, nodes) = by_point.into_iter().unzip();
        Ring { nodes, points, places }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub(crate) fn place(&self, node: NodeId) -> u32 {
        self.places[node.index()]
    }

    pub(crate) fn node(&self, place: u32) -> NodeId {
        self.nodes[place as usize]
    }

    /// The first place at or after a point; the ring's first after the last.
    pub(crate) fn first_from(&self, point: u64) -> u32 {
        let place = self.points.partition_point(|at| *at < point);
        if place == self.points.len() { 0 } else { place as u32 }
    }

    /// How many steps it is from one place forward to another.
    pub(crate) fn steps(&self, from: u32, to: u32) -> u32 {
        if to >= from { to - from } else { to + self.nodes.len() as u32 - from }
    }
}

/// Up to this many places are kept as a list.
const FEW: usize = 48;

/// A set of places on a ring.
#[derive(Debug)]
pub(crate) struct Places {
    len: usize,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Sorted.
    Few(Vec<u32>),
    /// A bit for each place, and a bit for each word that is not zero.
    Many(Vec<u64>, Vec<u64>),
}

impl Places {
    pub(crate) fn new() -> Places {
        Places { len: 0, form: Form::Few(Vec::new()) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts in a place that is not there, of a ring of `bound`.
    pub(crate) fn insert(&mut self, place: u32, bound: usize) {
        self.len += 1;
        match &mut self.form {
            Form::Few(list) if list.len() < FEW => {
                let at = list.partition_point(|p| *p < place);
                list.insert(at, place);
            }
            Form::Few(list) => {
                let mut words = vec![0; bound.div_ceil(64)];
                let mut summary = vec![0; words.len().div_ceil(64)];
                for place in list.iter().chain([&place]) {
                    set(&mut words, &mut summary, *place);
                }
                self.form = Form::Many(words, summary);
            }
            Form::Many(words, summary) => set(words, summary, place),
        }
    }

    /// Takes out a place that is there.
    pub(crate) fn remove(&mut self, place: u32) {
        self.len -= 1;
        match &mut self.form {
            Form::Few(list) => {
                let at = list.partition_point(|p| *p < place);
                list.remove(at);
            }
            Form::Many(words, summary) => {
                let at = place as usize / 64;
                words[at] &= !(1 << (place % 64));
                if words[at] == 0 {
                    summary[at / 64] &= !(1 << (at % 64));
                }
            }
        }
    }

    /// The first at or after `place`, or the first of all.
    pub(crate) fn next_from(&self, place: u32) -> Option<u32> {
        match &self.form {
            Form::Few(list) => {
                let at = list.partition_point(|p| *p < place);
                list.get(at).or_else(|| list.first()).copied()
            }
            Form::Many(words, summary) => {
                scan(words, summary, place as usize).or_else(|| scan(words, summary, 0))
            }
        }
    }

    /// The same, but none that is in `out`.
    pub(crate) fn next_from_without(&self, place: u32, out: &PlaceBits) -> Option<u32> {
        match &self.form {
            Form::Few(list) => {
                let at = list.partition_point(|p| *p < place);
                list[at..].iter().chain(&list[..at]).find(|place| !out.contains(**place)).copied()
            }
            Form::Many(words, _) => {
                let from = place as usize;
                let rest = |at: usize| words[at] & !out.0.get(at).copied().unwrap_or(0);
                let first = |at: usize, word: u64| (at * 64) as u32 + word.trailing_zeros();
                let here = from / 64;
                let behind = words.get(here).map_or(0, |_| rest(here) & (u64::MAX << (from % 64)));
                if behind != 0 {
                    return Some(first(here, behind));
                }
                let around = (here + 1..words.len()).chain(0..words.len().min(here + 1));
                around.map(|at| (at, rest(at))).find(|(_, word)| *word != 0).map(|(at, word)| first(at, word))
            }
        }
    }
}

/// Some places, as bits.
#[derive(Debug, Default)]
pub(crate) struct PlaceBits(Vec<u64>);

impl PlaceBits {
    pub(crate) fn set(&mut self, place: u32, there: bool) {
        let at = place as usize / 64;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let bit = 1 << (place % 64);
        if there { self.0[at] |= bit } else { self.0[at] &= !bit }
    }

    pub(crate) fn contains(&self, place: u32) -> bool {
        self.0.get(place as usize / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}

fn set(words: &mut [u64], summary: &mut [u64], place: u32) {
    let at = place as usize / 64;
    words[at] |= 1 << (place % 64);
    summary[at / 64] |= 1 << (at % 64);
}

/// The first bit at or after `from`.
fn scan(words: &[u64], summary: &[u64], from: usize) -> Option<u32> {
    let at = from / 64;
    let here = words.get(at)? & (u64::MAX << (from % 64));
    if here != 0 {
        return Some((at * 64) as u32 + here.trailing_zeros());
    }
    let next = at + 1;
    let mut group = next / 64;
    let mut rest = summary.get(group)? & (u64::MAX << (next % 64));
    while rest == 0 {
        group += 1;
        rest = *summary.get(group)?;
    }
    let word = group * 64 + rest.trailing_zeros() as usize;
    Some((word * 64) as u32 + words[word].trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn places_are_a_set() {
        let bound = 10_000u32;
        let (mut places, mut model) = (Places::new(), BTreeSet::new());
        let mut out = PlaceBits::default();
        (0..bound).filter(|place| place % 3 != 0).for_each(|place| out.set(place, true));
        let mut x = 1u64;
        for round in 0..20_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (x >> 33) as u32 % bound;
            // Grows at first, and shrinks to nothing in the end.
            if round < 10_000 && model.insert(place) {
                places.insert(place, bound as usize);
            } else if let Some(gone) = model.range(place..).next().or(model.first()).copied() {
                model.remove(&gone);
                places.remove(gone);
            }
            let next = model.range(place..).next().or(model.first()).copied();
            assert_eq!(places.next_from(place), next);
            // All but every third are left out.
            let stays = |place: &&u32| !out.contains(**place);
            let next = model.range(place..).chain(model.range(..place)).find(stays).copied();
            assert_eq!(places.next_from_without(place, &out), next);
            assert_eq!(places.is_empty(), model.is_empty());
        }
        assert!(places.is_empty());
    }
}
