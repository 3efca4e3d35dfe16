//! Which bucket has the best node: what all priorities say of each, normalised over those that are feasible.

use crate::framework::{MAX_SCORE, Scale};
use crate::plugins::pod_topology_spread::weight;
use crate::ring::Ring;

use super::buckets::{Bucket, Buckets};
use super::class::{Class, Moved};
use super::ground::Ground;
use super::lanes::{Lane, Lanes, Rule};

/// A priority whose scores are an axis.
pub(super) struct Scaled {
    pub(super) weight: i64,
    pub(super) scale: Scale,
}

/// What is written down while choosing; kept so that nothing is allocated.
#[derive(Default)]
pub(super) struct Scratch {
    rows: Vec<Row>,
    /// By value of a label: when it was last seen.
    marks: Vec<u32>,
    round: u32,
}

/// A bucket that has nodes for the class.
#[derive(Clone, Copy)]
struct Row {
    bucket: u32,
    /// Whether the bucket is of the nodes that have moved.
    moved: bool,
    len: usize,
    /// The highest score in it.
    top: i64,
    total: i64,
    raw: i64,
    ignored: bool,
}

/// The buckets of a class: its ground's, and of nodes that have moved.
struct Both<'a> {
    ground: &'a Buckets,
    moved: &'a Moved,
}

impl<'a> Both<'a> {
    fn get(&self, row: &Row) -> &'a Bucket {
        if row.moved { self.moved.buckets.get(row.bucket) } else { self.ground.get(row.bucket) }
    }

    /// Where the row's bucket is along an axis.
    fn at(&self, row: &Row, axis: usize) -> i64 {
        self.get(row).axes[axis]
    }

    /// All buckets with nodes.
    fn rows(&self, rows: &mut Vec<Row>, lets_in: impl Fn(&Bucket) -> bool) {
        let row =
            |bucket, moved, len, top| Row { bucket, moved, len, top, total: top, raw: 0, ignored: false };
        let untouched = self.moved.is_empty();
        for (id, bucket) in (0u32..).zip(self.ground.rows()).filter(|(_, bucket)| bucket.len > 0) {
            let gone = if untouched { 0 } else { self.moved.gone_from(id) as usize };
            if bucket.len == gone || !lets_in(bucket) {
                continue;
            }
            let top = match gone {
                0 => bucket.top(),
                _ => bucket.top_without(|score| self.moved.gone(id, score)).unwrap_or(i64::MIN),
            };
            rows.push(row(id, false, bucket.len - gone, top));
        }
        let moved = (0u32..).zip(self.moved.buckets.rows());
        for (id, bucket) in moved.filter(|(_, bucket)| bucket.len > 0 && lets_in(bucket)) {
            rows.push(row(id, true, bucket.len, bucket.top()));
        }
    }

    /// Of a row's best nodes the first from `start` on.
    fn next_from(&self, row: &Row, start: u32) -> Option<u32> {
        let bucket = self.get(row);
        if row.moved || row.len == bucket.len {
            return bucket.next_from(start);
        }
        bucket.next_of(row.top, start, &self.moved.out)
    }
}

/// The place of the best node; of equal ones the first from `start` on.
pub(super) fn choose(
    ground: &Ground,
    class: &Class,
    ring: &Ring,
    start: u32,
    scratch: &mut Scratch,
) -> Option<u32> {
    let both = Both { ground: &ground.buckets, moved: &class.moved };
    let lanes = &class.lanes;
    scratch.rows.clear();
    let is_first = lanes.means_itself
        && lanes.all.iter().filter(|lane| matches!(lane.rule, Rule::Near)).all(|lane| lane.sum == 0);
    both.rows(&mut scratch.rows, |bucket| lanes.all.iter().all(|lane| fits(lane, bucket, is_first)));
    match &scratch.rows[..] {
        [] => return None,
        [one] => return both.next_from(one, start),
        _ => {}
    }
    for (axis, scaled) in (lanes.starts.len()..).zip(&ground.scaled) {
        scale(&both, axis, scaled, &mut scratch.rows);
    }
    if lanes.all.iter().any(|lane| matches!(lane.rule, Rule::Wish)) {
        wishes(&both, lanes, &mut scratch.rows);
    }
    if lanes.all.iter().any(|lane| matches!(lane.rule, Rule::SoftSpread { .. })) {
        spread(&both, lanes, scratch);
    }
    let best = scratch.rows.iter().map(|row| row.total).max()?;
    let equals = scratch.rows.iter().filter(|row| row.total == best);
    let places = equals.filter_map(|row| both.next_from(row, start));
    places.min_by_key(|place| ring.steps(start, *place))
}

fn fits(lane: &Lane, bucket: &Bucket, is_first: bool) -> bool {
    let amount = || lane.amount(bucket.axes[lane.axis]);
    match lane.rule {
        Rule::Near => amount().is_some_and(|n| n > 0 || is_first),
        Rule::Apart => amount().is_none_or(|n| n <= 0),
        Rule::HardSpread { .. } => amount().is_some_and(|n| n <= lane.limit()),
        Rule::Wish | Rule::SoftSpread { .. } => true,
    }
}

fn scale(both: &Both<'_>, axis: usize, scaled: &Scaled, rows: &mut [Row]) {
    let raw = |row: &Row| both.at(row, axis);
    let highest = rows.iter().map(raw).max().unwrap_or(0);
    let reverse = scaled.scale == Scale::Highest { reverse: true };
    for row in rows {
        let score = if highest == 0 { 0 } else { MAX_SCORE * raw(row) / highest };
        let score = if reverse { MAX_SCORE - score } else { score };
        row.total = row.total.saturating_add(score.saturating_mul(scaled.weight));
    }
}

fn wishes(both: &Both<'_>, lanes: &Lanes, rows: &mut [Row]) {
    for row in &mut *rows {
        let axes = &both.get(row).axes;
        let wishes = lanes.all.iter().filter(|lane| matches!(lane.rule, Rule::Wish));
        row.raw = wishes.map(|lane| lane.amount(axes[lane.axis]).unwrap_or(0)).sum();
    }
    let lowest = rows.iter().map(|row| row.raw).min().unwrap_or(0);
    let highest = rows.iter().map(|row| row.raw).max().unwrap_or(0);
    if highest == lowest {
        return;
    }
    for row in rows {
        let share = (row.raw - lowest) as f64 / (highest - lowest) as f64;
        let score = (MAX_SCORE as f64 * share) as i64;
        row.total = row.total.saturating_add(score.saturating_mul(lanes.wish_weight));
    }
}

fn spread(both: &Both<'_>, lanes: &Lanes, scratch: &mut Scratch) {
    let soft = || lanes.all.iter().filter(|lane| matches!(lane.rule, Rule::SoftSpread { .. }));
    let Scratch { rows, marks, round } = scratch;
    for row in &mut *rows {
        let axes = &both.get(row).axes;
        row.ignored = lanes.all_labels && soft().any(|lane| lane.amount(axes[lane.axis]).is_none());
        row.raw = 0;
    }
    let mut sums: smallvec::SmallVec<[f64; 64]> = smallvec::smallvec![0.0; rows.len()];
    for lane in soft() {
        let counted = rows.iter().filter(|row| !row.ignored);
        let domains = if lane.is_by_node() {
            counted.map(|row| row.len).sum()
        } else {
            distinct(counted.map(|row| both.at(row, lane.axis)), marks, round)
        };
        let Rule::SoftSpread { max_skew } = lane.rule else { continue };
        let weight = weight(domains);
        for (row, sum) in rows.iter().zip(&mut sums) {
            if let Some(amount) = lane.amount(both.at(row, lane.axis)) {
                *sum += amount as f64 * weight + (max_skew - 1) as f64;
            }
        }
    }
    for (row, sum) in rows.iter_mut().zip(&sums) {
        row.raw = if row.ignored { 0 } else { sum.round() as i64 };
    }
    let counted = || rows.iter().filter(|row| !row.ignored).map(|row| row.raw);
    let (lowest, highest) = (counted().min().unwrap_or(0), counted().max().unwrap_or(0));
    for row in rows {
        let score = if row.ignored {
            0
        } else if highest == 0 {
            MAX_SCORE
        } else {
            MAX_SCORE * (highest + lowest - row.raw) / highest
        };
        row.total = row.total.saturating_add(score.saturating_mul(lanes.spread_weight));
    }
}

/// How many different values there are.
fn distinct(values: impl Iterator<Item = i64>, marks: &mut Vec<u32>, round: &mut u32) -> usize {
    if *round == u32::MAX {
        marks.fill(0);
        *round = 0;
    }
    *round += 1;
    let mut n = 0;
    for value in values {
        let at = value as usize;
        if at >= marks.len() {
            marks.resize(at + 1, 0);
        }
        if marks[at] != *round {
            marks[at] = *round;
            n += 1;
        }
    }
    n
}
