//! Gangs: pods that are placed together or not at all (KEP-4671).
//!
//! A pod names its group in `spec.schedulingGroup.podGroupName`; the group, a `PodGroup` of `scheduling.k8s.io/v1alpha2`,
//! says in `spec.schedulingPolicy.gang.minCount` how many of it must run for any to be worth running. All members are
//! tried in one go, in one call of [`Scheduler::poll`]: if too few find a node, none keeps one. So two gangs never each
//! hold half of what either needs.
//!
//! Gangs evict nobody: room is made for single pods only.

use std::sync::Arc;

use orlop_core::{Attempt, Key, Name, Timestamp};

use super::tell::blamed;
use super::{Placed, Scheduler, placer_of, profile_of, unreserve};
use crate::decision::Decision;
use crate::facts::PodFacts;
use crate::framework::Verdict;
use crate::schedule::guarded;

/// Who holds back and refuses members of gangs.
pub(crate) const GANG_SCHEDULING: &str = "GangScheduling";

/// What came of one member.
enum Member {
    Placed(Placed),
    /// No node took it, or what came after the choice of one.
    Refused {
        facts: Arc<PodFacts>,
        by: Vec<Name>,
        message: String,
    },
    /// A plugin panicked over it.
    Faulty {
        facts: Arc<PodFacts>,
        message: String,
    },
}

impl Scheduler {
    /// The group of a pod whose profile schedules gangs.
    pub(super) fn group_of(&self, facts: &PodFacts) -> Option<Key> {
        facts.group_key().filter(|_| profile_of(&self.placers, facts).is_some_and(|profile| profile.gangs))
    }

    /// Tries a pod that is a member of a group, and where the group asks for it all other members too.
    pub(super) fn try_member(&mut self, group: &Key, facts: Arc<PodFacts>, now: Timestamp) -> Vec<Attempt> {
        let Some(known) = self.snapshot.group(group) else {
            self.queue.gate(&facts.key, Name::new_static(GANG_SCHEDULING));
            return Vec::new();
        };
        let Some(least) = known.min_count else { return self.try_pod(facts, now).into_iter().collect() };
        let running = self.snapshot.members_of(group);
        if running >= least {
            return self.try_pod(facts, now).into_iter().collect();
        }
        let mut members: Vec<(i64, Arc<PodFacts>)> = self
            .queue
            .members(group)
            .into_iter()
            .map(|pending| &pending.facts)
            .filter(|member| !self.assumed.contains_key(&member.key) && self.may_enter(member))
            .map(|member| (self.placers[0].profile().queue_sort.rank(member), member.clone()))
            .collect();
        if running + members.len() < least || !self.may_enter(&facts) {
            self.queue.gate(&facts.key, Name::new_static(GANG_SCHEDULING));
            return Vec::new();
        }
        members.sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
        let outcomes: Vec<Member> = members
            .into_iter()
            .map(|(_, member)| {
                self.queue.take(&member.key);
                self.place_member(member)
            })
            .collect();
        let placed = outcomes.iter().filter(|member| matches!(member, Member::Placed(_))).count();
        if running + placed >= least {
            self.go_on(outcomes, now)
        } else {
            self.take_back(group, outcomes, running, least, now)
        }
    }

    /// Whether nothing holds a pod back but its gang.
    fn may_enter(&self, facts: &PodFacts) -> bool {
        profile_of(&self.placers, facts).is_some_and(|profile| {
            let lets_in = |plugin: &dyn crate::framework::PreEnqueue| {
                guarded(plugin.name(), || plugin.pre_enqueue(facts)).is_ok_and(|verdict| verdict.fits())
            };
            profile.pre_enqueue.iter().all(|plugin| lets_in(&**plugin))
        })
    }

    /// Finds a node for one member and claims it; it counts there for the members after it.
    fn place_member(&mut self, facts: Arc<PodFacts>) -> Member {
        self.stats.attempts += 1;
        let placer = placer_of(&mut self.placers, &facts).expect("a member's profile was found before");
        let decision = placer.place(&facts, &self.snapshot);
        if decision.fault.is_some() {
            return Member::Faulty { facts, message: decision.message() };
        }
        let Some(node) = decision.node.clone() else {
            let (by, message) = (blamed(&decision), without_eviction(decision).message());
            return Member::Refused { facts, by, message };
        };
        let profile = profile_of(&self.placers, &facts).expect("a member's profile was found before");
        let view = self.snapshot.node(&node).expect("a chosen node is there");
        for plugin in &profile.reserve {
            let outcome = match guarded(plugin.name(), || plugin.reserve(&facts, &view)) {
                Ok(Verdict::Fits) => continue,
                Ok(Verdict::Refuses(refusal)) => Ok((Name::from(plugin.name()), refusal.reasons.join(", "))),
                Err(fault) => Err(fault.to_string()),
            };
            unreserve(profile, &facts, &node);
            return match outcome {
                Ok((by, message)) => Member::Refused { facts, by: vec![by], message },
                Err(message) => Member::Faulty { facts, message },
            };
        }
        self.snapshot.put_pod(Arc::new(PodFacts { node: node.clone(), ..(*facts).clone() }));
        self.assumed.insert(facts.key.clone(), super::Assumed::new(&facts.uid));
        Member::Placed(Placed { facts, node })
    }

    /// Enough members have a node: they are bound, and the others wait like any pod.
    fn go_on(&mut self, outcomes: Vec<Member>, now: Timestamp) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for outcome in outcomes {
            attempts.extend(match outcome {
                Member::Placed(placed) => self.ask_permission(placed, None, now),
                Member::Refused { facts, by, message } => {
                    self.stats.unschedulable += 1;
                    self.put_back(&facts, by, message, now)
                }
                Member::Faulty { facts, message } => self.fault(&facts, message, now),
            });
        }
        attempts
    }

    /// Too few members have a node: none keeps one.
    fn take_back(
        &mut self,
        group: &Key,
        outcomes: Vec<Member>,
        running: usize,
        least: usize,
        now: Timestamp,
    ) -> Vec<Attempt> {
        let found = running + outcomes.iter().filter(|member| matches!(member, Member::Placed(_))).count();
        let mut why: Vec<Name> = vec![Name::new_static(GANG_SCHEDULING)];
        let mut first = None;
        for outcome in &outcomes {
            match outcome {
                Member::Refused { by, message, .. } => {
                    why.extend(by.iter().cloned());
                    first.get_or_insert_with(|| message.clone());
                }
                // It is tried again after a back-off, and the others with it.
                Member::Faulty { message, .. } => drop(first.get_or_insert_with(|| message.clone())),
                Member::Placed(_) => {}
            }
        }
        why.sort_unstable();
        why.dedup();
        let short =
            format!("pod group {group} needs {least} pods to be placed together, and {found} could be");
        let mut attempts = Vec::new();
        for outcome in outcomes {
            let (facts, message) = match outcome {
                Member::Faulty { facts, message } => {
                    attempts.extend(self.fault(&facts, message, now));
                    continue;
                }
                Member::Placed(placed) => {
                    self.take_back_quietly(&placed);
                    let first = first.clone().unwrap_or_default();
                    (placed.facts, format!("{short}; another pod of it: {first}"))
                }
                Member::Refused { facts, message, .. } => (facts, format!("{short}; {message}")),
            };
            self.stats.unschedulable += 1;
            attempts.extend(self.put_back(&facts, why.clone(), message, now));
        }
        attempts
    }

    fn put_back(
        &mut self,
        facts: &PodFacts,
        by: Vec<Name>,
        message: String,
        now: Timestamp,
    ) -> Option<Attempt> {
        self.queue.fail(&facts.key, by, now);
        self.tell_people(facts, "Unschedulable", message, None, Vec::new(), now)
    }

    /// Takes a placement back that nobody saw: there is no event in it for anyone.
    fn take_back_quietly(&mut self, placed: &Placed) {
        let Placed { facts, node } = placed;
        self.assumed.remove(&facts.key);
        if let Some(profile) = profile_of(&self.placers, facts) {
            unreserve(profile, facts, node);
        }
        self.snapshot.put_pod(facts.clone());
    }
}

/// The decision without what evicting pods would lead to, which gangs do not do.
fn without_eviction(decision: Decision) -> Decision {
    Decision { post_filter: None, ..decision }
}
