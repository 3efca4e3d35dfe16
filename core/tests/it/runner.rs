//! The runner's guarantees, driven by a toy controller: a `Group` wants as many `Member`s as its spec says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use orlop_core::plan::{Failure, FailureReason};
use orlop_core::store::Revision;
use orlop_core::{
    Action, Attempt, Body, Change, Context, Controller, Cut, Entropy, Key, Kind, Meta, Note, Object, Outcome,
    Plan, Runner, Stored, Timestamp, Watches, World, Write,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Group {
    metadata: Meta,
    size: usize,
}

impl Object for Group {
    const KIND: Kind = Kind::namespaced("toy", "v1", "Group", "groups");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

#[derive(serde::Deserialize)]
struct Member {
    metadata: Meta,
}

impl Object for Member {
    const KIND: Kind = Kind::namespaced("toy", "v1", "Member", "members");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}

struct Grouping {
    looks: Arc<AtomicU32>,
}

impl Controller for Grouping {
    type Effect = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "grouping"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Group>().owned::<Member, Group>();
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan {
        self.looks.fetch_add(1, Ordering::Relaxed);
        let Some(group) = world.get::<Group>(key) else { return Plan::nothing() };
        assert!(group.size != 13, "thirteen is unlucky");
        let members: Vec<_> = world.owned_by::<Member>(&group.metadata.uid).collect();
        let mut plan = Plan::nothing();
        for _ in members.len()..group.size {
            plan = plan.and(Write::create(
                Member::KIND,
                json!({"metadata": {
                    "name": ctx.new_name(&group.metadata.name),
                    "namespace": group.metadata.namespace,
                    "ownerReferences": [orlop_core::OwnerReference::controller_of(&Group::KIND, &group.metadata)],
                }}),
            ));
        }
        for surplus in members.iter().skip(group.size) {
            plan = plan.and(Write::delete_seen(*surplus));
        }
        if plan.is_empty() { plan } else { plan.note(Note::normal(group, "Resized", "resized")) }
    }
}

/// A store of the smallest kind: a map, and a list of what the runner has not been told yet.
#[derive(Default)]
struct Toy {
    revision: u64,
    objects: BTreeMap<(String, Key), Stored>,
    untold: Vec<(u64, Change)>,
}

impl Toy {
    fn put(&mut self, kind: &Kind, mut object: Value) -> u64 {
        self.revision += 1;
        let key = Key::new(
            object["metadata"]["namespace"].as_str().unwrap_or_default(),
            object["metadata"]["name"].as_str().unwrap_or_default(),
        );
        object["metadata"]["uid"] = format!("{kind}-{key}").into();
        let body = Body::parse(object.to_string().into()).unwrap();
        let stored = Stored { body: Arc::new(body), revision: Revision(self.revision) };
        self.objects.insert((kind.plural.to_string(), key.clone()), stored.clone());
        self.untold.push((self.revision, Change { kind: kind.clone(), key, object: Some(stored) }));
        self.revision
    }

    fn perform(&mut self, write: &Write) -> u64 {
        match &write.action {
            Action::Create(object) => self.put(&write.kind, object.clone()),
            Action::Delete { .. } => {
                self.revision += 1;
                self.objects.remove(&(write.kind.plural.to_string(), write.key.clone()));
                self.untold.push((
                    self.revision,
                    Change { kind: write.kind.clone(), key: write.key.clone(), object: None },
                ));
                self.revision
            }
            other => panic!("the toy does not know {other:?}"),
        }
    }

    /// The next `n` changes, as one cut.
    fn cut(&mut self, n: usize) -> Cut {
        let told: Vec<_> = self.untold.drain(..n.min(self.untold.len())).collect();
        let revision =
            if self.untold.is_empty() { self.revision } else { told.last().map_or(0, |(r, _)| *r) };
        Cut {
            revision: Revision(revision),
            reset: Vec::new(),
            changes: told.into_iter().map(|(_, c)| c).collect(),
        }
    }

    fn members(&self) -> usize {
        self.objects.keys().filter(|(plural, _)| plural == "members").count()
    }
}

fn group(size: usize) -> Value {
    json!({"metadata": {"name": "g", "namespace": "default"}, "size": size})
}

fn runner() -> (Runner, Arc<AtomicU32>) {
    let looks = Arc::new(AtomicU32::new(0));
    let mut runner = Runner::new(&Entropy::seeded(1));
    runner.add(Grouping { looks: looks.clone() });
    (runner, looks)
}

fn done(runner: &mut Runner, now: Timestamp, attempt: &Attempt, revision: u64) {
    if !attempt.writes.is_empty() {
        assert!(runner.on_result(now, attempt.id, Outcome::done(Revision(revision))).is_empty());
    }
}

#[test]
fn a_key_waits_until_its_last_commit_is_seen() {
    let (mut runner, looks) = runner();
    let mut toy = Toy::default();
    let now = Timestamp::from_secs(1);
    toy.put(&Group::KIND, group(2));
    runner.on_cut(toy.cut(9));
    let attempt = runner.poll(now).pop().unwrap();
    assert_eq!((attempt.writes.len(), attempt.events.len()), (2, 1));
    let last = attempt.writes.iter().map(|w| toy.perform(w)).max().unwrap();
    done(&mut runner, now, &attempt, last);
    runner.on_cut(toy.cut(1));
    assert!(
        runner.poll(now).is_empty(),
        "one of two creations is seen: looking now would make a third member"
    );
    runner.on_cut(toy.cut(1));
    assert!(runner.poll(now).is_empty());
    assert_eq!((toy.members(), looks.load(Ordering::Relaxed)), (2, 2));
}

#[test]
fn a_failure_costs_a_back_off_and_an_event() {
    let (mut runner, looks) = runner();
    let mut toy = Toy::default();
    let mut now = Timestamp::from_secs(1);
    toy.put(&Group::KIND, group(1));
    runner.on_cut(toy.cut(9));
    for attempt_no in 1..=4u32 {
        let attempt = runner.poll(now).pop().expect("due");
        let failure = Failure { reason: FailureReason::Refused, message: "over quota".into() };
        let failed = Some((attempt.writes.first().cloned(), failure));
        let events = runner.on_result(now, attempt.id, Outcome { revision: Revision(0), failed });
        assert_eq!(events.len(), 1);
        assert_eq!(looks.load(Ordering::Relaxed), attempt_no);
        let wait = Duration::from_millis(5 << (attempt_no - 1));
        assert_eq!(runner.next_wake(), Some(now + wait));
        toy.put(&Group::KIND, group(1));
        runner.on_cut(toy.cut(9));
        assert!(runner.poll(now).is_empty(), "a change does not shorten the back-off");
        now = now + wait;
    }
}

#[test]
fn a_panic_hurts_nobody_else() {
    let (mut runner, _) = runner();
    let mut toy = Toy::default();
    let now = Timestamp::from_secs(1);
    let mut unlucky = group(13);
    unlucky["metadata"]["name"] = "unlucky".into();
    toy.put(&Group::KIND, unlucky);
    toy.put(&Group::KIND, group(1));
    runner.on_cut(toy.cut(9));
    let attempts = runner.poll(now);
    let created: Vec<_> = attempts.iter().flat_map(|a| a.writes.iter()).collect();
    assert_eq!(created.len(), 1);
    let told = attempts.iter().flat_map(|a| a.events.iter()).find_map(|event| match &event.action {
        Action::Create(event) if event["reason"] == "FailedReconcile" => event["message"].as_str(),
        _ => None,
    });
    assert_eq!(told, Some("grouping panicked: thirteen is unlucky"));
    assert_eq!(runner.stats().map(|(_, s)| s.panics).sum::<u64>(), 1);
}

#[test]
fn a_reset_removes_what_is_not_told_again() {
    let (mut runner, _) = runner();
    let mut toy = Toy::default();
    toy.put(&Group::KIND, group(0));
    runner.on_cut(toy.cut(9));
    assert_eq!(runner.world().all::<Group>().count(), 1);
    runner.on_cut(Cut { revision: Revision(7), reset: vec![Group::KIND], changes: Vec::new() });
    assert_eq!(runner.world().all::<Group>().count(), 0);
}

/// Notes every object that it hears of, of whatever kind.
struct Listener;

impl Controller for Listener {
    type Effect = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "listener"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.every(|kind, key, _, _| vec![Key::new(kind.plural.clone(), key.name.clone())]);
    }

    fn reconcile(&self, key: &Key, world: &World, _: &mut Context<'_>) -> Plan {
        let kinds: Vec<_> = world.kinds().map(|kind| format!("{}/{}", kind.plural, kind.version)).collect();
        let text = format!("{key} among {} awaits={}", kinds.join(" "), world.awaits());
        Plan::write(Write::create(Group::KIND, json!({"metadata": {"name": text}})))
    }
}

#[test]
fn every_kind_is_heard_of_once_it_is_followed_and_until_it_ends() {
    let mut runner = Runner::new(&Entropy::seeded(1));
    runner.add(Listener);
    runner.follow(Group::KIND);
    let mut toy = Toy::default();
    let now = Timestamp::from_secs(1);
    let heard = |runner: &mut Runner| -> Vec<String> {
        let attempts = runner.poll(now);
        let told = |attempt: &Attempt| {
            let Action::Create(object) = &attempt.writes[0].action else { unreachable!() };
            object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
        };
        let told = attempts.iter().map(told).collect();
        attempts.iter().for_each(|attempt| done(runner, now, attempt, 0));
        told
    };
    toy.put(&Group::KIND, group(1));
    toy.put(&Member::KIND, json!({"metadata": {"name": "m"}}));
    runner.on_cut(toy.cut(9));
    assert_eq!(heard(&mut runner), ["groups/g among groups/v1 awaits=false"], "members are not followed");

    runner.follow(Member::KIND);
    toy.put(&Group::KIND, group(2));
    runner.on_cut(toy.cut(9));
    assert_eq!(heard(&mut runner), ["groups/g among groups/v1 awaits=true"]);
    toy.put(&Member::KIND, json!({"metadata": {"name": "m"}}));
    runner.on_cut(Cut { reset: vec![Member::KIND], ..toy.cut(9) });
    assert_eq!(heard(&mut runner), ["members/m among groups/v1 members/v1 awaits=false"]);

    // Another version is another way to look at the same objects.
    let newer = Kind { version: "v2".into(), ..Member::KIND };
    runner.follow(newer.clone());
    assert_eq!(runner.kinds(), [Group::KIND, newer.clone()]);
    assert_eq!(runner.world().objects(&Member::KIND).count(), 1);
    assert!(!runner.world().awaits());

    runner.retire(&newer);
    assert_eq!(heard(&mut runner), ["members/m among groups/v1 members/v2 awaits=false"]);
    assert_eq!((runner.kinds(), runner.world().objects(&Member::KIND).count()), (&[Group::KIND][..], 0));
}

#[test]
fn what_a_view_cannot_read_is_counted_until_it_can() {
    let (mut runner, _) = runner();
    let mut toy = Toy::default();
    let mut odd = group(1);
    odd["size"] = "many".into();
    toy.put(&Group::KIND, odd);
    runner.on_cut(toy.cut(9));
    assert_eq!((runner.malformed(), runner.world().all::<Group>().count()), (1, 0));
    toy.put(&Group::KIND, group(1));
    runner.on_cut(toy.cut(9));
    assert_eq!((runner.malformed(), runner.world().all::<Group>().count()), (0, 1));
}

/// Asks to be looked at again now, whatever it sees.
struct Impatient;

impl Controller for Impatient {
    type Effect = std::convert::Infallible;

    fn name(&self) -> &'static str {
        "impatient"
    }

    fn watches(&self, watches: &mut Watches<'_>) {
        watches.each::<Group>();
    }

    fn reconcile(&self, _key: &Key, _world: &World, ctx: &mut Context<'_>) -> Plan {
        Plan::nothing().wake_at(ctx.now)
    }
}

/// A Deployment beyond its progress deadline asked to be looked at again at once. Its controller looked without end,
/// and a simulator's clock moved by a nanosecond each time.
#[test]
fn a_wake_that_has_passed_is_no_endless_look() {
    let mut runner = Runner::new(&Entropy::seeded(1));
    runner.add(Impatient);
    let mut toy = Toy::default();
    let now = Timestamp::from_secs(1);
    toy.put(&Group::KIND, group(0));
    runner.on_cut(toy.cut(9));
    assert!(runner.poll(now).is_empty());
    assert_eq!(runner.next_wake(), Some(now + Duration::from_secs(1)));
}

proptest! {
    /// However late the runner learns of its own writes, whatever else changes meanwhile, and wherever a plan breaks
    /// off: it never overshoots.
    #[test]
    fn never_acts_twice_on_one_view(
        sizes in prop::collection::vec(0usize..6, 1..8),
        delays in prop::collection::vec(0usize..4, 1..64),
        breaks in prop::collection::vec(prop::option::weighted(0.3, 0usize..4), 1..16),
    ) {
        let (mut runner, _) = runner();
        let mut toy = Toy::default();
        let mut delays = delays.into_iter().cycle();
        let mut breaks = breaks.into_iter().cycle();
        let mut now = Timestamp::from_secs(1);
        let mut wanted = 0;
        for size in sizes {
            toy.put(&Group::KIND, group(size));
            let most = toy.members().max(size).max(wanted);
            wanted = size;
            for _ in 0..40 {
                now = now + Duration::from_millis(1);
                runner.on_cut(toy.cut(delays.next().unwrap_or(1)));
                for attempt in runner.poll(now) {
                    let cut_off = breaks.next().flatten().unwrap_or(usize::MAX);
                    let last = attempt.writes.iter().take(cut_off).map(|w| toy.perform(w)).max().unwrap_or(0);
                    if cut_off < attempt.writes.len() {
                        let failure = Failure { reason: FailureReason::Unavailable, message: "away".into() };
                        let failed = Some((Some(attempt.writes[cut_off].clone()), failure));
                        runner.on_result(now, attempt.id, Outcome { revision: Revision(last), failed });
                    } else {
                        done(&mut runner, now, &attempt, last);
                    }
                }
                prop_assert!(toy.members() <= most);
            }
        }
        runner.on_cut(toy.cut(usize::MAX));
        for _ in 0..3 {
            now = now + Duration::from_secs(2000);
            for attempt in runner.poll(now) {
                let last = attempt.writes.iter().map(|w| toy.perform(w)).max().unwrap_or(0);
                done(&mut runner, now, &attempt, last);
            }
            runner.on_cut(toy.cut(usize::MAX));
        }
        prop_assert_eq!(toy.members(), wanted);
    }
}
