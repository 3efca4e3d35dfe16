//! What is found by what it was made for, and forgotten when there is no room: [`Kept`].

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Rows by hash; the older half is forgotten when they take more room than there is.
pub(super) struct Kept<T> {
    rows: Vec<Option<Row<T>>>,
    free: Vec<usize>,
    by_hash: FxHashMap<u64, SmallVec<[usize; 1]>>,
    held: usize,
    room: usize,
    asked: u64,
}

struct Row<T> {
    /// Absent while it is taken.
    value: Option<T>,
    hash: u64,
    size: usize,
    /// When it was last asked for.
    used: u64,
}

impl<T> Kept<T> {
    /// Nothing yet; `room` is in the unit of [`Kept::insert`]'s `size`.
    pub(super) fn new(room: usize) -> Kept<T> {
        Kept { rows: Vec::new(), free: Vec::new(), by_hash: FxHashMap::default(), held: 0, room, asked: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    pub(super) fn clear(&mut self) {
        *self = Kept::new(self.room);
    }

    /// The row of this hash for which `is` holds.
    pub(super) fn find(&mut self, hash: u64, is: impl Fn(&T) -> bool) -> Option<usize> {
        let ids = self.by_hash.get(&hash)?;
        let id = ids.iter().copied().find(|id| self.get(*id).is_some_and(&is))?;
        self.touch(id);
        Some(id)
    }

    pub(super) fn get(&self, id: usize) -> Option<&T> {
        self.rows.get(id)?.as_ref()?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut T> {
        self.rows.get_mut(id)?.as_mut()?.value.as_mut()
    }

    /// Takes a row's value, to be given back.
    pub(super) fn take(&mut self, id: usize) -> Option<T> {
        self.rows.get_mut(id)?.as_mut()?.value.take()
    }

    pub(super) fn give_back(&mut self, id: usize, size: usize, value: T) {
        if let Some(Some(row)) = self.rows.get_mut(id) {
            self.held = self.held - row.size + size;
            row.size = size;
            row.value = Some(value);
        }
    }

    /// It is in use.
    pub(super) fn touch(&mut self, id: usize) {
        self.asked += 1;
        if let Some(Some(row)) = self.rows.get_mut(id) {
            row.used = self.asked;
        }
    }

    pub(super) fn insert(&mut self, hash: u64, size: usize, value: T) -> usize {
        self.make_room(size);
        self.held += size;
        self.asked += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            self.rows.len() - 1
        });
        self.rows[id] = Some(Row { value: Some(value), hash, size, used: self.asked });
        self.by_hash.entry(hash).or_default().push(id);
        id
    }

    pub(super) fn remove(&mut self, id: usize) {
        let Some(row) = self.rows.get_mut(id).and_then(Option::take) else { return };
        self.held -= row.size;
        self.free.push(id);
        if let Some(alike) = self.by_hash.get_mut(&row.hash) {
            alike.retain(|other| *other != id);
            if alike.is_empty() {
                self.by_hash.remove(&row.hash);
            }
        }
    }

    fn make_room(&mut self, size: usize) {
        if self.held + size <= self.room {
            return;
        }
        let rows = (0..).zip(&self.rows);
        let mut ages: Vec<(u64, usize)> =
            rows.filter_map(|(id, row)| Some((row.as_ref()?.used, id))).collect();
        ages.sort_unstable();
        for (_, id) in ages.iter().take(ages.len().div_ceil(2)) {
            self.remove(*id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_half_makes_room() {
        let mut kept: Kept<&str> = Kept::new(10);
        let (a, b) = (kept.insert(1, 4, "a"), kept.insert(1, 4, "b"));
        assert_eq!(kept.find(1, |it| *it == "a"), Some(a));
        // Not asked for since it came, "b" goes.
        let c = kept.insert(2, 4, "c");
        assert_eq!((kept.find(1, |it| *it == "b"), kept.find(2, |_| true), c), (None, Some(c), b));
        assert_eq!((kept.find(1, |_| true), kept.len()), (Some(a), 2));
        kept.remove(a);
        assert_eq!((kept.find(1, |_| true), kept.len()), (None, 1));
        kept.clear();
        assert_eq!((kept.find(2, |_| true), kept.len()), (None, 0));
    }
}
