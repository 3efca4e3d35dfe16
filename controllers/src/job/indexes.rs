//! Sets of completion indexes, written as intervals: `0-3,7`.

use std::fmt;

/// A set of indexes: intervals in order, both ends included, that neither meet nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads intervals, and keeps what is below `completions`. What does not read as a number is left out. The text is
    /// the Job controller's own: what is not in order is kept as it stands.
    pub fn parse(text: &str, completions: i32) -> Indexes {
        let mut intervals: Vec<(i32, i32)> = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let Ok(first) = first.parse::<i32>() else { continue };
            if first >= completions {
                break;
            }
            let Ok(last) = last.parse::<i32>() else { continue };
            let last = last.min(completions - 1);
            match intervals.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
                _ => intervals.push((first, last)),
            }
        }
        Indexes(intervals)
    }

    fn add(&mut self, first: i32, last: i32) {
        if first > last {
            return;
        }
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.0.partition_point(|(start, _)| *start <= last.saturating_add(1));
        let mut merged = (first, last);
        for (start, end) in &self.0[from..to.max(from)] {
            merged = (merged.0.min(*start), merged.1.max(*end));
        }
        self.0.splice(from..to.max(from), [merged]);
    }

    /// Puts one in.
    pub fn insert(&mut self, index: i32) {
        self.add(index, index);
    }

    /// Puts others in.
    pub fn extend(&mut self, others: &Indexes) {
        others.0.iter().for_each(|(first, last)| self.add(*first, *last));
    }

    /// Whether one is in.
    pub fn contains(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, end)| *end < index);
        self.0.get(at).is_some_and(|(start, _)| *start <= index)
    }

    /// How many are in.
    pub fn count(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Those that are in, in order.
    pub fn iter(&self) -> impl Iterator<Item = i32> {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// The first `count` that are not in, below `completions`.
    pub fn first_absent(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut absent = Vec::new();
        let mut next = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let room = count - absent.len();
            absent.extend((next..first.min(completions)).take(room));
            next = last.saturating_add(1);
        }
        absent
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match last - first {
                ..=0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Indexes {
        let mut set = Indexes::default();
        indexes.into_iter().for_each(|index| set.insert(index));
        set
    }
}
