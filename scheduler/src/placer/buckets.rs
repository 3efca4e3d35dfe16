//! Nodes by what they have in common, in each bucket ordered by the rest: [`Buckets`].

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::ring::{PlaceBits, Places};

/// What the nodes of a bucket have in common: along each axis a value.
pub(super) type Axes = SmallVec<[i64; 4]>;

/// Nodes that only what each scores by itself tells apart.
pub(super) struct Bucket {
    pub(super) axes: Axes,
    pub(super) len: usize,
    /// The places of nodes by score, the highest first.
    levels: Vec<(i64, Places)>,
}

impl Bucket {
    /// The highest score; only of a bucket that is not empty.
    pub(super) fn top(&self) -> i64 {
        self.levels.first().map_or(i64::MIN, |(score, _)| *score)
    }

    /// Of those with the highest score the first from `place` on.
    pub(super) fn next_from(&self, place: u32) -> Option<u32> {
        self.levels.first()?.1.next_from(place)
    }

    /// The highest score that more nodes have than `gone` says are to be left out.
    pub(super) fn top_without(&self, gone: impl Fn(i64) -> u32) -> Option<i64> {
        let left = self.levels.iter().find(|(score, places)| places.len() > gone(*score) as usize);
        left.map(|(score, _)| *score)
    }

    /// Of those with this score, and not in `out`, the first from `place` on.
    pub(super) fn next_of(&self, score: i64, place: u32, out: &PlaceBits) -> Option<u32> {
        let at = self.levels.partition_point(|(s, _)| *s > score);
        let (_, places) = self.levels.get(at).filter(|(s, _)| *s == score)?;
        places.next_from_without(place, out)
    }
}

/// Some buckets, by axes.
#[derive(Default)]
pub(super) struct Buckets {
    rows: Vec<Bucket>,
    ids: FxHashMap<Axes, u32>,
    /// How many places there are at most.
    bound: usize,
    /// How many buckets have no node.
    empty: usize,
}

impl Buckets {
    pub(super) fn new(bound: usize) -> Buckets {
        Buckets { bound, ..Buckets::default() }
    }

    pub(super) fn rows(&self) -> &[Bucket] {
        &self.rows
    }

    /// Whether so many are empty that they should be laid out anew.
    pub(super) fn is_sparse(&self) -> bool {
        self.rows.len() > 1_024 && self.empty * 2 > self.rows.len()
    }

    pub(super) fn get(&self, id: u32) -> &Bucket {
        &self.rows[id as usize]
    }

    /// The bucket of these axes.
    pub(super) fn of(&mut self, axes: &Axes) -> u32 {
        // Most often they are few, and comparing is quicker than hashing.
        if self.rows.len() <= 16 {
            if let Some(id) = self.rows.iter().position(|row| row.axes == *axes) {
                return id as u32;
            }
        } else if let Some(id) = self.ids.get(axes) {
            return *id;
        }
        let id = self.rows.len() as u32;
        self.ids.insert(axes.clone(), id);
        self.rows.push(Bucket { axes: axes.clone(), len: 0, levels: Vec::new() });
        self.empty += 1;
        id
    }

    pub(super) fn insert(&mut self, id: u32, score: i64, place: u32) {
        let bucket = &mut self.rows[id as usize];
        self.empty -= usize::from(bucket.len == 0);
        bucket.len += 1;
        let at = bucket.levels.partition_point(|(s, _)| *s > score);
        if bucket.levels.get(at).is_none_or(|(s, _)| *s != score) {
            bucket.levels.insert(at, (score, Places::new()));
        }
        bucket.levels[at].1.insert(place, self.bound);
    }

    pub(super) fn remove(&mut self, id: u32, score: i64, place: u32) {
        let bucket = &mut self.rows[id as usize];
        bucket.len -= 1;
        self.empty += usize::from(bucket.len == 0);
        let at = bucket.levels.partition_point(|(s, _)| *s > score);
        let places = &mut bucket.levels[at].1;
        places.remove(place);
        if places.is_empty() {
            bucket.levels.remove(at);
        }
    }
}
