//! Changing the sizes of ReplicaSets.

use super::pass::{Act, Pass, Set, Stop, active, oldest_first, total};
use super::revision;

impl<'a> Pass<'a> {
    /// Whether the Deployment's size changed since the ReplicaSets were scaled.
    pub(super) fn is_scaling(&mut self) -> Result<bool, Stop> {
        let (new, old) = self.sets_in_order(false)?;
        let wanted = self.wanted();
        let mut all = old.iter().chain(&new).filter(|set| set.replicas > 0);
        Ok(all.any(|set| revision::desired(&set.annotations).is_some_and(|desired| desired != wanted)))
    }

    /// Scales without replacing anything.
    pub(super) fn scale_all(&mut self) -> Result<(), Stop> {
        let (new, mut old) = self.sets_in_order(false)?;
        self.scale(new.as_ref(), &mut old);
        if self.deployment.spec.paused {
            self.clean_up(&old);
        }
        self.sync_status(&old, new.as_ref());
        Ok(())
    }

    pub(super) fn scale(&mut self, new: Option<&Set<'a>>, old: &mut [Set<'a>]) {
        let wanted = self.wanted();
        if new.is_none() && old.is_empty() {
            return;
        }
        oldest_first(old);
        old.reverse();
        let mut all = active(old);
        all.extend(new.filter(|set| set.replicas > 0).cloned());
        let lone = match all.as_slice() {
            [] => new.or(old.first()).cloned(),
            [one] => Some(one.clone()),
            _ => None,
        };
        if let Some(lone) = lone {
            self.resize_and_tell(&lone, wanted);
            return;
        }
        let saturated = new.is_some_and(|set| {
            set.replicas == wanted
                && revision::desired(&set.annotations) == Some(wanted)
                && set.status.available_replicas == wanted
        });
        if saturated {
            for set in active(old) {
                self.resize_and_tell(&set, 0);
            }
        } else if self.is_rolling() {
            self.scale_in_proportion(all);
        }
    }

    /// Shares what is to be added or removed among all ReplicaSets by their size.
    pub(super) fn scale_in_proportion(&mut self, mut all: Vec<Set<'a>>) {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { wanted + self.max_surge() } else { 0 };
        let to_add = allowed - total(&all);
        if to_add > 0 {
            all.sort_by(|a, b| b.replicas.cmp(&a.replicas).then_with(|| b.age_key().cmp(&a.age_key())));
        } else if to_add < 0 {
            all.sort_by(|a, b| b.replicas.cmp(&a.replicas).then_with(|| a.age_key().cmp(&b.age_key())));
        }
        let mut added = 0;
        let mut sizes = Vec::with_capacity(all.len());
        for set in &all {
            let share = if to_add == added {
                0
            } else if to_add > 0 {
                self.fraction(set).min(to_add - added)
            } else {
                self.fraction(set).max(to_add - added)
            };
            sizes.push(set.replicas + share);
            added += share;
        }
        for (i, set) in all.iter().enumerate() {
            if i == 0 && to_add != 0 {
                sizes[0] = (sizes[0] + to_add - added).max(0);
            }
            self.resize_and_tell_or_annotate(set, sizes[i]);
        }
    }

    /// How much a ReplicaSet grows if it keeps its share of the Deployment.
    pub(super) fn fraction(&self, set: &Set<'_>) -> i32 {
        if self.wanted() == 0 {
            return -set.replicas;
        }
        let most = self.wanted() + self.max_surge();
        let before = match revision::most(&set.annotations) {
            None | Some(0) => self.status.replicas,
            Some(before) => before,
        };
        if before == 0 {
            return 0;
        }
        let size = f64::from(set.replicas.wrapping_mul(most)) / f64::from(before);
        size.round() as i32 - set.replicas
    }

    pub(super) fn resize_and_tell(&mut self, set: &Set<'a>, size: i32) -> Option<Set<'a>> {
        (set.replicas != size).then(|| self.resize_and_tell_or_annotate(set, size)).flatten()
    }

    /// The ReplicaSet as it is afterwards, if anything changed.
    pub(super) fn resize_and_tell_or_annotate(&mut self, set: &Set<'a>, size: i32) -> Option<Set<'a>> {
        let mut after = set.clone();
        let noted =
            revision::note_sizes(&mut after.annotations, self.wanted(), self.wanted() + self.max_surge());
        let resized = set.replicas != size;
        if !resized && !noted {
            return None;
        }
        after.replicas = size;
        self.acts.push(Act::Update {
            name: set.name.clone(),
            uid: set.uid.clone(),
            replicas: size,
            annotations: after.annotations.clone(),
            min_ready_seconds: None,
            resized,
        });
        if resized {
            let way = if set.replicas < size { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {} to {size}", set.name, set.replicas);
            self.notes.push((false, "ScalingReplicaSet", message));
        }
        Some(after)
    }
}
