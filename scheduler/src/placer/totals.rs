//! Which bucket has the best node: what all priorities say of each, normalised over those that are feasible.

use crate::framework::{MAX_SCORE, Scale};
use crate::plugins::pod_topology_spread::weight;
use crate::ring::Ring;

use super::buckets::{Bucket, Buckets};
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

#[derive(Clone, Copy)]
struct Row {
    bucket: u32,
    total: i64,
    raw: i64,
    ignored: bool,
}

/// The place of the best node; of equal ones the first from `start` on.
pub(super) fn choose(
    buckets: &Buckets,
    scaled: &[Scaled],
    lanes: &Lanes,
    ring: &Ring,
    start: u32,
    scratch: &mut Scratch,
) -> Option<u32> {
    scratch.rows.clear();
    let is_first = lanes.means_itself
        && lanes.all.iter().filter(|lane| matches!(lane.rule, Rule::Near)).all(|lane| lane.sum == 0);
    for (id, bucket) in (0u32..).zip(buckets.rows()).filter(|(_, bucket)| bucket.len > 0) {
        if lanes.all.iter().all(|lane| fits(lane, bucket, is_first)) {
            scratch.rows.push(Row { bucket: id, total: bucket.top(), raw: 0, ignored: false });
        }
    }
    match &scratch.rows[..] {
        [] => return None,
        [one] => return buckets.get(one.bucket).next_from(start),
        _ => {}
    }
    for (axis, scaled) in scaled.iter().enumerate() {
        scale(buckets, axis, scaled, &mut scratch.rows);
    }
    if lanes.all.iter().any(|lane| matches!(lane.rule, Rule::Wish)) {
        wishes(buckets, lanes, &mut scratch.rows);
    }
    if lanes.all.iter().any(|lane| matches!(lane.rule, Rule::SoftSpread { .. })) {
        spread(buckets, lanes, scratch);
    }
    let best = scratch.rows.iter().map(|row| row.total).max()?;
    let equals = scratch.rows.iter().filter(|row| row.total == best);
    let places = equals.filter_map(|row| buckets.get(row.bucket).next_from(start));
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

fn scale(buckets: &Buckets, axis: usize, scaled: &Scaled, rows: &mut [Row]) {
    let raw = |row: &Row| buckets.get(row.bucket).axes[axis];
    let highest = rows.iter().map(raw).max().unwrap_or(0);
    let reverse = scaled.scale == Scale::Highest { reverse: true };
    for row in rows {
        let score = if highest == 0 { 0 } else { MAX_SCORE * raw(row) / highest };
        let score = if reverse { MAX_SCORE - score } else { score };
        row.total = row.total.saturating_add(score.saturating_mul(scaled.weight));
    }
}

fn wishes(buckets: &Buckets, lanes: &Lanes, rows: &mut [Row]) {
    for row in &mut *rows {
        let axes = &buckets.get(row.bucket).axes;
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

fn spread(buckets: &Buckets, lanes: &Lanes, scratch: &mut Scratch) {
    let soft = || lanes.all.iter().filter(|lane| matches!(lane.rule, Rule::SoftSpread { .. }));
    let Scratch { rows, marks, round } = scratch;
    for row in &mut *rows {
        let axes = &buckets.get(row.bucket).axes;
        row.ignored = lanes.all_labels && soft().any(|lane| lane.amount(axes[lane.axis]).is_none());
        row.raw = 0;
    }
    let mut sums: smallvec::SmallVec<[f64; 64]> = smallvec::smallvec![0.0; rows.len()];
    for lane in soft() {
        let counted = rows.iter().filter(|row| !row.ignored).map(|row| buckets.get(row.bucket));
        let domains = if lane.is_by_node() {
            counted.map(|bucket| bucket.len).sum()
        } else {
            distinct(counted.map(|bucket| bucket.axes[lane.axis]), marks, round)
        };
        let Rule::SoftSpread { max_skew } = lane.rule else { continue };
        let weight = weight(domains);
        for (row, sum) in rows.iter().zip(&mut sums) {
            if let Some(amount) = lane.amount(buckets.get(row.bucket).axes[lane.axis]) {
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
