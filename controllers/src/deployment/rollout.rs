//! Moving pods from old ReplicaSets to the new one.

use super::pass::{Act, Pass, Set, Stop, active, oldest_first, total};
use super::revision;

impl<'a> Pass<'a> {
    /// Replaces pods a few at a time.
    pub(super) fn roll(&mut self) -> Result<(), Stop> {
        let (new, old) = self.sets_in_order(true)?;
        let Some(new) = new else { return Ok(()) };
        let all = total(&old) + new.replicas;
        let size = if new.replicas > self.wanted() { self.wanted() } else { self.new_size(all, &new) };
        let grown = self.resize_and_tell(&new, size).is_some();
        if !grown && !self.shrink_old(&old, &new) {
            self.clean_up_if_complete(&old);
        }
        self.sync_rollout_status(&old, Some(&new));
        Ok(())
    }

    /// Takes pods from old ReplicaSets, the unhealthy ones first, and answers whether it took any.
    pub(super) fn shrink_old(&mut self, old: &[Set<'a>], new: &Set<'a>) -> bool {
        let mut shrinking = active(old);
        if shrinking.is_empty() {
            return false;
        }
        let min_available = self.wanted() - self.max_unavailable();
        let all = total(old) + new.replicas;
        let most = all - min_available - (new.replicas - new.status.available_replicas);
        if most <= 0 {
            return false;
        }
        oldest_first(&mut shrinking);
        let mut cleaned = 0;
        for set in &mut shrinking {
            if cleaned >= most {
                break;
            }
            let unhealthy = set.replicas - set.status.available_replicas;
            if set.replicas == 0 || unhealthy == 0 {
                continue;
            }
            let take = unhealthy.min(most - cleaned);
            if take < 0 {
                // More are available than should be there: the world is still moving.
                return false;
            }
            if let Some(after) = self.resize_and_tell(set, set.replicas - take) {
                *set = after;
            }
            cleaned += take;
        }
        let available: i32 = shrinking.iter().chain([new]).map(|set| set.status.available_replicas).sum();
        let spare = available - min_available;
        let mut taken = 0;
        for set in &shrinking {
            if taken >= spare {
                break;
            }
            let take = set.replicas.min(spare - taken);
            if take > 0 {
                self.resize_and_tell(set, set.replicas - take);
                taken += take;
            }
        }
        cleaned + taken.max(0) > 0
    }

    /// Removes all old pods, then makes the new ones.
    pub(super) fn recreate(&mut self) -> Result<(), Stop> {
        let (mut new, mut old) = self.sets_in_order(false)?;
        let mut shrunk = false;
        for set in active(&old) {
            shrunk |= self.resize_and_tell(&set, 0).is_some();
        }
        if shrunk || self.old_pods_run(new.as_ref(), &old) {
            self.sync_rollout_status(&old, new.as_ref());
            return Ok(());
        }
        if new.is_none() {
            (new, old) = self.sets_in_order(true)?;
        }
        if let Some(new) = &new {
            self.resize_and_tell(new, self.wanted());
        }
        self.clean_up_if_complete(&old);
        self.sync_rollout_status(&old, new.as_ref());
        Ok(())
    }

    pub(super) fn old_pods_run(&self, new: Option<&Set<'_>>, old: &[Set<'_>]) -> bool {
        if old.iter().map(|set| set.status.replicas).sum::<i32>() > 0 {
            return true;
        }
        let of_new = |uid: &str| new.is_some_and(|set| set.uid == uid);
        let mut pods = self.old_pods.iter().filter(|(uid, _)| !of_new(uid)).flat_map(|(_, pods)| pods);
        pods.any(|pod| !orlop_core::rules::pod::is_terminal(pod))
    }

    pub(super) fn clean_up_if_complete(&mut self, old: &[Set<'a>]) {
        if self.status.is_complete(&self.deployment.spec, self.deployment.metadata.generation) {
            self.clean_up(old);
        }
    }

    /// Deletes the oldest revisions beyond the limit.
    pub(super) fn clean_up(&mut self, old: &[Set<'a>]) {
        let Some(limit) = self.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let mut sets: Vec<&Set<'a>> = old.iter().filter(|set| !set.deleting).collect();
        let surplus = sets.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        sets.sort_by_key(|set| (revision::revision(&set.annotations), set.created, set.name.clone()));
        for set in &sets[..surplus] {
            let settled = set.generation <= set.status.observed_generation;
            if set.status.replicas == 0 && set.replicas == 0 && settled {
                self.acts.push(Act::Delete { name: set.name.clone(), uid: set.uid.clone() });
            }
        }
    }
}
