//! When events are written: behind what they tell of, in order, and none is forgotten.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use orlop::drive::{Beside, drive, drive_until};
use orlop::part::{Done, Job, Part};
use orlop::stats::Watched;
use orlop_api::api::{Cuts, WatchStream};
use orlop_api::request::{Body, Payload, Response};
use orlop_api::{Api, Link, Request, Status, User};
use orlop_core::kinds::{ConfigMap, Namespace};
use orlop_core::recorder::EVENT;
use orlop_core::{Cut, Failure, Kind, ManualClock, Object, Revision, Timestamp, Write};
use parking_lot::Mutex;
use serde_json::json;

/// Nothing that waits for its turn may be more than this, in events.
const BOUND: usize = 12_288 + 5_000;

/// The write of this job never ends.
const STUCK: u64 = 99_999;

/// Does what it was told to, a batch with each look.
struct Teller {
    batches: VecDeque<Vec<Job>>,
    api: Written,
    told: usize,
}

/// An API that only notes the names of what is created.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<String>>>);

impl Written {
    fn count(&self, of: fn(&&String) -> bool) -> usize {
        self.0.lock().iter().filter(of).count()
    }
}

fn is_event(name: &&String) -> bool {
    !name.starts_with("map")
}

#[async_trait]
impl Api for Written {
    async fn call(&self, request: Request) -> Result<Response, Status> {
        let Some(Body::Value(object)) = request.body else { panic!("all that is asked for has a body") };
        if object["metadata"]["name"] == format!("map-{STUCK:05}") {
            std::future::pending::<()>().await;
        }
        let mut written = self.0.lock();
        written.push(object["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        Ok(Response {
            code: 201,
            warnings: Vec::new(),
            audit: Vec::new(),
            payload: Payload::Status(Status::default()),
            committed: Some(Revision(written.len() as u64)),
        })
    }

    async fn watch(&self, _request: Request) -> Result<WatchStream, Status> {
        Ok(futures_util::stream::pending().boxed())
    }

    async fn follow(&self, _user: &User, _kinds: &[Kind]) -> Result<Cuts, Status> {
        Ok(futures_util::stream::pending().boxed())
    }
}

impl Part for Teller {
    fn name(&self) -> &str {
        "teller"
    }

    fn kinds(&self) -> Vec<Kind> {
        vec![Namespace::KIND]
    }

    fn on_cut(&mut self, _cut: Cut) {}

    fn poll(&mut self, _now: Timestamp) -> Vec<Job> {
        let written = self.api.count(is_event);
        assert!(self.told - written <= BOUND, "{} are told and {written} written", self.told);
        let jobs = self.batches.pop_front().unwrap_or_default();
        self.told += jobs.iter().map(|job| job.events.len()).sum::<usize>();
        jobs
    }

    fn on_done(&mut self, _now: Timestamp, done: Done) -> Vec<Write> {
        assert!(done.outcome.failed.is_none(), "{:?}", done.outcome.failed);
        self.told += 1;
        vec![event(&format!("done-{:05}", done.id))]
    }

    fn on_lost_event(&mut self, _now: Timestamp, _event: &Write, failure: &Failure) -> Option<Write> {
        panic!("an event is lost: {failure}")
    }

    fn next_wake(&self) -> Option<Timestamp> {
        None
    }
}

fn event(name: &str) -> Write {
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default", "apiVersion": "v1"});
    let event = json!({
        "metadata": {"name": name, "namespace": "default"}, "involvedObject": about,
        "reason": "Told", "message": name, "type": "Normal", "source": {"component": "teller"},
    });
    Write::create(EVENT, event)
}

fn job(id: u64, events: usize) -> Job {
    let map = json!({"metadata": {"name": format!("map-{id:05}"), "namespace": "default"}});
    Job {
        id: Some(id),
        writes: vec![Write::create(ConfigMap::KIND, map)],
        events: (0..events).map(|n| event(&format!("job-{id:05}-{n}"))).collect(),
        ..Job::default()
    }
}

/// A job of two writes.
fn two_writes() -> Job {
    let (first, second) = (job(90_001, 1), job(90_002, 0));
    Job { writes: [first.writes, second.writes].concat(), ..first }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)))
}

fn part(batches: Vec<Vec<Job>>) -> (Written, Box<dyn Part>, Link) {
    let api = Written::default();
    let link = Link { api: Arc::new(api.clone()), user: User::default(), manager: "teller".into() };
    (api.clone(), Box::new(Teller { batches: batches.into(), api, told: 0 }), link)
}

/// Lets a loop have so many turns; answers whether it has ended.
fn turns(loop_: Pin<&mut impl Future<Output = ()>>, most: usize) -> bool {
    let mut loop_ = loop_;
    (0..most).any(|_| loop_.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready())
}

#[test]
fn what_is_done_goes_first() {
    let (api, part, link) =
        part((0..20).map(|batch| (0..30).map(|n| job(batch * 30 + n, 1)).collect()).collect());
    let mut running = Box::pin(drive(part, link, clock(), Watched::default()));
    assert!(!turns(running.as_mut(), 200));
    // A job's own events come before what is told of its end, and jobs one after the other.
    let maps = (0..600).map(|id| format!("map-{id:05}"));
    let events = (0..600).flat_map(|id| [format!("job-{id:05}-0"), format!("done-{id:05}")]);
    assert_eq!(*api.0.lock(), maps.chain(events).collect::<Vec<_>>());
}

/// Who tells more than can be written must wait with what is to be done next.
#[test]
fn what_waits_is_bounded() {
    let (api, part, link) = part((0..5).map(|id| vec![job(id, 5_000)]).collect());
    let mut running = Box::pin(drive(part, link, clock(), Watched::default()));
    assert!(!turns(running.as_mut(), 400));
    assert_eq!(api.count(is_event), 25_005);
    let written = api.0.lock();
    let own = written.iter().filter(|name| name.starts_with("job"));
    let expected = (0..5).flat_map(|id| (0..5_000).map(move |n| format!("job-{id:05}-{n}")));
    assert!(own.eq(&expected.collect::<Vec<_>>()));
}

/// A write that takes its time kept all events back for as long.
#[test]
fn no_event_waits_for_long() {
    let (api, part, link) = part(vec![vec![job(STUCK, 0)], vec![job(1, 1)]]);
    let clock = clock();
    let mut running = Box::pin(drive(part, link, clock.clone(), Watched::default()));
    assert!(!turns(running.as_mut(), 50));
    assert_eq!((api.count(|name| !is_event(name)), api.count(is_event)), (1, 0));
    clock.advance(Duration::from_secs(1));
    assert!(!turns(running.as_mut(), 50));
    assert_eq!(api.count(is_event), 2);
}

/// What is under way is done and told, jobs of several writes too; nothing new is begun.
#[test]
fn an_orderly_end_forgets_nothing() {
    let jobs = |batch: u64| (0..300).map(move |n| job(batch * 300 + n, 1));
    let (api, part, link) = part((0..3).map(|batch| jobs(batch).chain([two_writes()]).collect()).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let stopped = std::future::poll_fn(move |_| match stopped.load(Ordering::Relaxed) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    let beside: Beside = Arc::new(|writing| writing);
    let mut running = Box::pin(drive_until(part, link, clock(), Watched::default(), (beside, stopped)));
    // The first batch is decided, and not yet carried out.
    assert!(!turns(running.as_mut(), 1));
    assert_eq!(api.0.lock().len(), 0);
    stop.store(true, Ordering::Relaxed);
    assert!(turns(running.as_mut(), 20));
    assert_eq!((api.count(|name| !is_event(name)), api.count(is_event)), (302, 602));
}
