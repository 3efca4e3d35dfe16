//! Requests wait here when there are too many: [`Gate`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use orlop_api::auth::{Attributes, Target};
use orlop_api::fairness::{Arrival, FlowControl, Queues, Ticket};
use orlop_api::{Status, User};
use orlop_core::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::query::Query;

/// As many requests are under way at once: Kubernetes' defaults, 400 that read and 200 that write.
const SEATS: usize = 600;
/// The objects are read anew this often.
const REREAD: Duration = Duration::from_secs(1);
/// A request waits at most this long: a quarter of what a request may take.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// A list of so many objects takes a seat more, and never more seats than this.
const OBJECTS_A_SEAT: u64 = 100;
const WIDTH_MAX: u64 = 10;

/// Lets requests pass, or makes them wait, by the cluster's FlowSchemas and PriorityLevelConfigurations.
#[derive(Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

struct State {
    queues: Queues,
    control: Arc<FlowControl>,
    /// When the objects were read.
    read: Option<Timestamp>,
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
}

impl Default for State {
    fn default() -> State {
        State { queues: Queues::new(SEATS), control: Arc::default(), read: None, waiting: BTreeMap::new() }
    }
}

impl State {
    fn wake(&mut self, started: Vec<Ticket>) {
        for ticket in started {
            if let Some(waker) = self.waiting.remove(&ticket) {
                // Who does not wait any longer gives the seat back as it is dropped.
                let _ = waker.send(());
            }
        }
    }
}

/// A seat. Dropping it lets the next request pass.
pub(crate) struct Seat {
    gate: Arc<Mutex<State>>,
    ticket: Ticket,
    clock: Arc<dyn Clock>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let now = self.clock.now();
        // It runs, or it waits still.
        let started = match state.waiting.remove(&self.ticket) {
            Some(_) => state.queues.cancel(self.ticket, now),
            None => state.queues.finish(self.ticket, now),
        };
        state.wake(started);
    }
}

/// How many seats a request takes.
fn width(asked: &Attributes, query: &Query) -> usize {
    let lists =
        asked.verb == "list" && matches!(&asked.target, Target::Resource { key, .. } if key.name.is_empty());
    let limit = query.get("limit").and_then(|limit| limit.parse::<u64>().ok()).filter(|limit| *limit > 0);
    let objects = limit.filter(|_| lists).unwrap_or(1);
    usize::try_from(objects.div_ceil(OBJECTS_A_SEAT).clamp(1, WIDTH_MAX)).unwrap_or(1)
}

impl Gate {
    /// Waits for a seat. `None`: the request needs none.
    ///
    /// # Errors
    /// 429 where there are too many requests.
    pub(crate) async fn enter(
        &self,
        backend: &dyn Backend,
        clock: &Arc<dyn Clock>,
        user: &User,
        asked: &Attributes,
        query: &Query,
    ) -> Result<Option<Seat>, Status> {
        let now = clock.now();
        let (seat, turn) = {
            let mut state = self.0.lock();
            if state.read.is_none_or(|read| now.since(read) >= REREAD) {
                state.read = Some(now);
                state.control = Arc::new(backend.flow_control());
                let limits = state.control.limits(SEATS);
                let started = state.queues.configure(limits, now);
                state.wake(started);
            }
            let Some(flow) = state.control.classify(user, asked) else { return Ok(None) };
            if state.control.is_exempt(&flow.level) {
                return Ok(None);
            }
            let named = (flow.schema.as_str(), flow.distinguisher.as_str());
            let (ticket, turn) = match state.queues.arrive(&flow.level, &named, width(asked, query), now) {
                Arrival::Run(ticket) => (ticket, None),
                Arrival::Wait(ticket) => {
                    let (waker, turn) = oneshot::channel();
                    state.waiting.insert(ticket, waker);
                    (ticket, Some(turn))
                }
                Arrival::Rejected => return Err(too_many()),
            };
            (Seat { gate: self.0.clone(), ticket, clock: clock.clone() }, turn)
        };
        let Some(turn) = turn else { return Ok(Some(seat)) };
        match select(turn, clock.sleep_until(now + WAIT_MAX)).await {
            Either::Left((Ok(()), _)) => Ok(Some(seat)),
            _ => Err(too_many()),
        }
    }
}

fn too_many() -> Status {
    Status::too_many_requests("Too many requests, please try again later.", 1, Vec::new())
}
