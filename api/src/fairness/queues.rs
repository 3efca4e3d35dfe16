//! Seats, and the queues before them: [`Queues`].

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};

use orlop_core::{Name, Timestamp};
use rustc_hash::FxHasher;

/// What a request is taken to cost before it is known, in seat-microseconds.
const GUESS: u64 = 3_000;

/// How many seats a level has, and how its requests wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LevelLimits {
    /// The seats that are its own.
    pub nominal: usize,
    /// So many of these others may use while it does not.
    pub lendable: usize,
    /// So many of others it may use; `None`: as many as are free.
    pub borrowable: Option<usize>,
    /// How requests wait; `None`: they do not.
    pub queuing: Option<Queuing>,
}

impl LevelLimits {
    /// The seats that are never lent.
    fn kept(&self) -> usize {
        self.nominal.saturating_sub(self.lendable)
    }
}

/// How requests of a level wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queuing {
    /// The number of queues.
    pub queues: usize,
    /// A flow uses so many of them (shuffle sharding: two flows rarely share all).
    pub hand: usize,
    /// As many requests wait in one queue.
    pub length: usize,
}

/// A request that runs or waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It runs. [`Queues::finish`] gives its seats back.
    Run(Ticket),
    /// It waits until a call answers with its ticket. [`Queues::cancel`] takes it out.
    Wait(Ticket),
    /// Its queue is full, or its level has none.
    Rejected,
}

/// Who runs and who waits. Pure: the same calls give the same answers.
///
/// # Guarantees
/// - A level that has not lent its seats always gets those that are its own; together, the levels never use more seats
///   than there are, unless one request alone needs more.
/// - Flows of a level get equal shares of its seats, whichever of them sends more: each queue has a virtual clock that
///   advances by what its requests cost, and the one that is behind goes first.
/// - A request that waits runs as soon as there are seats and its queue is the one that is behind.
#[derive(Debug, Default)]
pub struct Queues {
    seats: usize,
    levels: BTreeMap<Name, Level>,
    running: BTreeMap<Ticket, Running>,
    next: u64,
}

#[derive(Debug, Default)]
struct Level {
    limits: LevelLimits,
    used: usize,
    /// The virtual start of the request that was dispatched last.
    virtual_time: u64,
    queues: Vec<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Ticket, usize)>,
    /// When, in virtual time, its next request begins.
    virtual_start: u64,
}

#[derive(Debug)]
struct Running {
    level: Name,
    queue: Option<usize>,
    width: usize,
    since: Timestamp,
}

impl Queues {
    /// Nothing runs yet; there are no levels.
    pub fn new(seats: usize) -> Queues {
        Queues { seats, ..Queues::default() }
    }

    /// Sets the levels. Of one that is gone, what runs or waits is served to the end. Answers with those that run now.
    pub fn configure(&mut self, levels: Vec<(Name, LevelLimits)>, now: Timestamp) -> Vec<Ticket> {
        for (name, level) in &mut self.levels {
            if !levels.iter().any(|(kept, _)| kept == name) {
                // Its own seats go; what waits runs on what others leave.
                level.limits.nominal = 0;
                level.limits.lendable = 0;
            }
        }
        for (name, limits) in levels {
            let level = self.levels.entry(name).or_default();
            let wanted = limits.queuing.as_ref().map_or(0, |queuing| queuing.queues);
            // Queues beyond the new number go once they are empty.
            if level.queues.len() < wanted {
                level.queues.resize_with(wanted, Queue::default);
            }
            level.limits = limits;
        }
        self.dispatch(now)
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.levels.values().flat_map(|level| &level.queues).map(|queue| queue.waiting.len()).sum()
    }

    /// How many seats are taken.
    pub fn used(&self) -> usize {
        self.levels.values().map(|level| level.used).sum()
    }

    /// A request of a flow that takes `width` seats. A level that is not known limits nothing.
    pub fn arrive(&mut self, level: &Name, flow: &impl Hash, width: usize, now: Timestamp) -> Arrival {
        self.next += 1;
        let ticket = Ticket(self.next);
        // What needs more seats than its level has takes all of them.
        let most = self.levels.get(level).map_or(usize::MAX, |level| level.limits.nominal.max(1));
        let width = width.clamp(1, most);
        if !self.levels.contains_key(level) {
            self.running.insert(ticket, Running { level: level.clone(), queue: None, width, since: now });
            return Arrival::Run(ticket);
        }
        let room = self.has_room(level, width);
        let Some(own) = self.levels.get_mut(level) else { return Arrival::Rejected };
        let Some(queuing) = own.limits.queuing.clone() else {
            if !room {
                return Arrival::Rejected;
            }
            own.used += width;
            self.running.insert(ticket, Running { level: level.clone(), queue: None, width, since: now });
            return Arrival::Run(ticket);
        };
        let chosen = hand(flow, &queuing)
            .min_by_key(|queue| own.queues[*queue].waiting.iter().map(|(_, width)| width).sum::<usize>())
            .unwrap_or_default();
        let queue = &mut own.queues[chosen];
        if queue.waiting.is_empty() {
            // Time that was not used is not saved up.
            queue.virtual_start = queue.virtual_start.max(own.virtual_time);
        }
        if queue.waiting.len() >= queuing.length.max(1) {
            return Arrival::Rejected;
        }
        queue.waiting.push_back((ticket, width));
        let started = self.dispatch(now);
        if started.contains(&ticket) { Arrival::Run(ticket) } else { Arrival::Wait(ticket) }
    }

    /// A request is through. Answers with those that run now.
    pub fn finish(&mut self, ticket: Ticket, now: Timestamp) -> Vec<Ticket> {
        let Some(done) = self.running.remove(&ticket) else { return Vec::new() };
        let Some(level) = self.levels.get_mut(&done.level) else { return Vec::new() };
        level.used = level.used.saturating_sub(done.width);
        if let Some(queue) = done.queue.and_then(|queue| level.queues.get_mut(queue)) {
            // What it has cost, in the place of the guess.
            let took = u64::try_from(now.since(done.since).as_micros()).unwrap_or(u64::MAX);
            let (width, start) = (done.width as u64, queue.virtual_start);
            queue.virtual_start =
                start.saturating_sub(GUESS * width).saturating_add(took.saturating_mul(width));
        }
        self.dispatch(now)
    }

    /// A request does not wait any longer. Answers with those that run now: it may have stood in their way.
    pub fn cancel(&mut self, ticket: Ticket, now: Timestamp) -> Vec<Ticket> {
        for queue in self.levels.values_mut().flat_map(|level| &mut level.queues) {
            queue.waiting.retain(|(waiting, _)| *waiting != ticket);
        }
        self.dispatch(now)
    }

    /// Whether a level may take so many more seats. What a level does not lend is always there for it, so that whoever
    /// takes more must leave to each other level what that uses, or what is never lent.
    fn has_room(&self, name: &Name, width: usize) -> bool {
        let Some(level) = self.levels.get(name) else { return true };
        let after = level.used + width;
        if after <= level.limits.kept() {
            return true;
        }
        if level.limits.borrowable.is_some_and(|most| after > level.limits.nominal + most) {
            return false;
        }
        let others = self.levels.iter().filter(|(other, _)| *other != name);
        let taken: usize = others.clone().map(|(_, other)| other.used).sum();
        let kept: usize = others.map(|(_, other)| other.used.max(other.limits.kept())).sum();
        // Even a level without seats of its own is served by a server that has nothing else to do.
        after + kept <= self.seats || level.used + taken == 0
    }

    /// Starts what can run, level by level, in each the queue that is behind.
    fn dispatch(&mut self, now: Timestamp) -> Vec<Ticket> {
        let mut started = Vec::new();
        let waiting =
            self.levels.iter().filter(|(_, level)| level.queues.iter().any(|q| !q.waiting.is_empty()));
        let names: Vec<Name> = waiting.map(|(name, _)| name.clone()).collect();
        for name in names {
            while let Some((queue, width)) = self.next_of(&name) {
                if !self.has_room(&name, width) {
                    break;
                }
                let Some(level) = self.levels.get_mut(&name) else { break };
                let behind = &mut level.queues[queue];
                let Some((ticket, width)) = behind.waiting.pop_front() else { break };
                level.virtual_time = level.virtual_time.max(behind.virtual_start);
                behind.virtual_start = behind.virtual_start.saturating_add(GUESS * width as u64);
                level.used += width;
                self.running
                    .insert(ticket, Running { level: name.clone(), queue: Some(queue), width, since: now });
                started.push(ticket);
            }
        }
        started
    }

    /// The queue that is behind, and the width of its first request.
    fn next_of(&self, name: &Name) -> Option<(usize, usize)> {
        let level = self.levels.get(name)?;
        let waiting = level.queues.iter().enumerate().filter(|(_, queue)| !queue.waiting.is_empty());
        let (index, queue) = waiting.min_by_key(|(_, queue)| queue.virtual_start)?;
        queue.waiting.front().map(|(_, width)| (index, *width))
    }
}

/// The queues of a flow, all different.
fn hand(flow: &impl Hash, queuing: &Queuing) -> impl Iterator<Item = usize> {
    let mut hasher = FxHasher::default();
    flow.hash(&mut hasher);
    let mut entropy = hasher.finish();
    let (queues, size) = (queuing.queues, queuing.hand.min(queuing.queues));
    let mut dealt: Vec<usize> = Vec::with_capacity(size);
    for already in 0..size {
        // One of those that are left, counted past those that are dealt.
        entropy = entropy.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ 0x5851_f42d_4c95_7f2d;
        let mut card = (entropy % (queues - already) as u64) as usize;
        let mut sorted = dealt.clone();
        sorted.sort_unstable();
        for taken in sorted {
            if card >= taken {
                card += 1;
            }
        }
        dealt.push(card);
    }
    dealt.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn limits(nominal: usize, lendable: usize) -> LevelLimits {
        let queuing = Some(Queuing { queues: 16, hand: 4, length: 50 });
        LevelLimits { nominal, lendable, borrowable: None, queuing }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_secs(1000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_hand_has_no_card_twice() {
        for flow in 0..200 {
            let queuing = Queuing { queues: 16, hand: 6, length: 1 };
            let mut cards: Vec<usize> = hand(&flow, &queuing).collect();
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6);
            assert!(cards.iter().all(|card| *card < 16));
        }
    }

    /// A thousand requests of one client, and a few of another: the few do not wait behind the thousand.
    #[test]
    fn a_mouse_is_not_trampled_by_an_elephant() {
        let level = Name::new_static("work");
        let mut queues = Queues::new(1);
        queues.configure(vec![(level.clone(), limits(1, 0))], at(0));
        let mut running = Vec::new();
        for _ in 0..150 {
            if let Arrival::Run(ticket) = queues.arrive(&level, &"elephant", 1, at(0)) {
                running.push(ticket);
            }
        }
        // Its hand does not lie within that of the elephant.
        let mice = ["mouse", "vole", "shrew"];
        let mouse = mice.iter().find_map(|mouse| match queues.arrive(&level, mouse, 1, at(0)) {
            Arrival::Wait(ticket) => Some(ticket),
            _ => None,
        });
        let mouse = mouse.expect("one of them waits");
        let mut served = 0;
        while !running.contains(&mouse) {
            served += 1;
            let ticket = running.remove(0);
            running.extend(queues.finish(ticket, at(served * 10)));
        }
        assert!(served <= 8, "{served} of the elephant's came first");
    }

    #[test]
    fn a_level_keeps_what_it_does_not_lend() {
        let (system, work) = (Name::new_static("system"), Name::new_static("work"));
        let mut queues = Queues::new(10);
        queues.configure(vec![(system.clone(), limits(5, 2)), (work.clone(), limits(5, 5))], at(0));
        let runs = |queues: &mut Queues, level: &Name, n: u64| {
            let arrive = |_: &u64| matches!(queues.arrive(level, &"flow", 1, at(0)), Arrival::Run(_));
            (0..n).filter(arrive).count()
        };
        // All that is free, but for what the system's level keeps.
        assert_eq!(runs(&mut queues, &work, 20), 7);
        assert_eq!(runs(&mut queues, &system, 20), 3);
        assert_eq!(queues.used(), 10);
    }

    #[test]
    fn without_queues_what_does_not_fit_is_sent_away() {
        let level = Name::new_static("catch-all");
        let mut queues = Queues::new(2);
        queues.configure(vec![(level.clone(), LevelLimits { nominal: 2, ..LevelLimits::default() })], at(0));
        let Arrival::Run(first) = queues.arrive(&level, &1, 1, at(0)) else { panic!("there is room") };
        assert!(matches!(queues.arrive(&level, &1, 1, at(0)), Arrival::Run(_)));
        assert_eq!(queues.arrive(&level, &1, 1, at(0)), Arrival::Rejected);
        assert!(queues.finish(first, at(1)).is_empty());
        assert!(matches!(queues.arrive(&level, &1, 1, at(2)), Arrival::Run(_)));
    }

    proptest! {
        /// Whatever comes and goes: seats are not given twice, nobody is started twice or forgotten, and once all
        /// have gone nothing is held.
        #[test]
        fn seats_and_tickets_add_up(
            steps in prop::collection::vec((0..3_usize, 0..6_u8, 1..4_usize, 0..3_u8), 1..200),
        ) {
            let names = ["a", "b", "c"].map(Name::new_static);
            let mut queues = Queues::new(12);
            let levels = names.iter().cloned().zip([limits(4, 0), limits(4, 2), limits(4, 4)]).collect();
            queues.configure(levels, at(0));
            let (mut running, mut waiting) = (Vec::new(), Vec::new());
            for (now, (level, flow, width, action)) in (1..).zip(steps) {
                match action {
                    0 if !running.is_empty() => {
                        let ticket = running.remove(usize::from(flow) % running.len());
                        let started = queues.finish(ticket, at(now));
                        for ticket in started {
                            let place = waiting.iter().position(|w| *w == ticket);
                            prop_assert!(place.is_some(), "who did not wait was started");
                            waiting.remove(place.unwrap_or_default());
                            running.push(ticket);
                        }
                    }
                    1 if !waiting.is_empty() => {
                        let ticket = waiting.remove(usize::from(flow) % waiting.len());
                        for ticket in queues.cancel(ticket, at(now)) {
                            waiting.retain(|w| *w != ticket);
                            running.push(ticket);
                        }
                    }
                    _ => match queues.arrive(&names[level], &flow, width, at(now)) {
                        Arrival::Run(ticket) => running.push(ticket),
                        Arrival::Wait(ticket) => waiting.push(ticket),
                        Arrival::Rejected => {}
                    },
                }
                prop_assert!(queues.used() <= 12);
                prop_assert_eq!(queues.waiting(), waiting.len());
            }
            let mut now = 1000;
            while let Some(ticket) = running.pop() {
                now += 1;
                for ticket in queues.finish(ticket, at(now)) {
                    waiting.retain(|w| *w != ticket);
                    running.push(ticket);
                }
            }
            prop_assert_eq!(queues.used(), 0);
            prop_assert_eq!(waiting.len(), 0);
        }
    }
}
