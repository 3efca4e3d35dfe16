//! The state machine as a runtime: [`MockRuntime`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
#[cfg(feature = "serve")]
use orlop_core::runtime::Connection;
use orlop_core::runtime::{
    AttachSpec, Call, ContainerId, ContainerSpec, ExecFrame, ExecInput, ExecOutput, ExecSession, ExecSpec,
    ImageInfo, ImagePull, LogLine, LogOptions, LogSource, Logs, Probe, ProbeAnswer, Reply, Runtime,
    RuntimeError, RuntimeEvent, RuntimeEvents, RuntimeInfo, SandboxId, SandboxSpec, SandboxStatus,
};
use orlop_core::{Clock, Timestamp};
use parking_lot::Mutex;

use crate::container::LogPlace;
use crate::fault::Fault;
use crate::machine::{MockMachine, Output, Ticket};
use crate::policy::Policy;

/// A [`MockMachine`] behind the [`Runtime`] trait, on any clock.
///
/// It has no task of its own: whoever waits for something moves it on. Clones are the same runtime.
#[derive(Clone)]
pub struct MockRuntime {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    pub(crate) clock: Arc<dyn Clock>,
    #[cfg(feature = "serve")]
    pub(crate) server: crate::serve::Server,
}

struct Inner {
    machine: MockMachine,
    replies: BTreeMap<Ticket, Result<Reply, RuntimeError>>,
    /// Calls whose replies nobody waits for any more.
    abandoned: BTreeSet<Ticket>,
    readers: Vec<Weak<Mutex<Reader>>>,
    waiting: Vec<Waker>,
}

/// What one reader of events has not yet read.
#[derive(Default)]
struct Reader {
    events: VecDeque<RuntimeEvent>,
}

/// A clock's sleep.
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How far a reader may fall behind.
const EVENTS_MAX: usize = 4096;

impl MockRuntime {
    /// A runtime whose containers serve nothing.
    pub fn new(policy: Policy, clock: Arc<dyn Clock>) -> MockRuntime {
        let inner = Inner {
            machine: MockMachine::new(policy),
            replies: BTreeMap::new(),
            abandoned: BTreeSet::new(),
            readers: Vec::new(),
            waiting: Vec::new(),
        };
        MockRuntime {
            shared: Arc::new(Shared {
                inner: Mutex::new(inner),
                clock,
                #[cfg(feature = "serve")]
                server: crate::serve::Server::unbound(),
            }),
        }
    }

    /// A runtime whose running containers answer on their declared ports, at the address that their sandbox binds.
    /// Must be used within a tokio runtime.
    #[cfg(feature = "serve")]
    pub fn serving(policy: Policy, clock: Arc<dyn Clock>) -> MockRuntime {
        let mut runtime = MockRuntime::new(policy, clock);
        let shared = Arc::get_mut(&mut runtime.shared).expect("a new runtime has one handle");
        shared.server = crate::serve::Server::bound();
        runtime
    }

    /// Lets something go wrong.
    pub fn inject(&self, fault: Fault) {
        self.shared.with(|machine, now| machine.inject(now, fault));
        #[cfg(feature = "serve")]
        {
            // What dies without an event stops listening all the same.
            let running = self
                .shared
                .with(|machine, _| machine.running().map(|(id, ..)| id.clone()).collect::<Vec<_>>());
            self.shared.server.keep_only(&running);
        }
    }

    async fn call(&self, call: Call) -> Result<Reply, RuntimeError> {
        let shared = &self.shared;
        let ticket = shared.with(|machine, now| machine.call(now, call));
        let mut caller = Caller { shared, ticket, answered: false };
        let reply = shared.until(|inner, _| inner.replies.remove(&ticket).ok_or(None)).await;
        caller.answered = true;
        reply
    }

    async fn done(&self, call: Call) -> Result<(), RuntimeError> {
        self.call(call).await.map(drop)
    }
}

/// Somebody who waits for a reply, or does not any more.
struct Caller<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    answered: bool,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut inner = self.shared.inner.lock();
            if inner.replies.remove(&self.ticket).is_none() {
                inner.abandoned.insert(self.ticket);
            }
        }
    }
}

fn confused<T>(reply: Reply) -> Result<T, RuntimeError> {
    // The machine answers each call in its own kind.
    unreachable!("a reply of another kind: {reply:?}")
}

impl Shared {
    /// Does something with the machine, and passes on what comes of it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut MockMachine, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut inner = self.inner.lock();
        let value = act(&mut inner.machine, now);
        inner.advance(self, now);
        inner.waiting.drain(..).for_each(Waker::wake);
        value
    }

    /// Lets everybody look again who waits.
    pub(crate) fn wake(&self) {
        self.inner.lock().waiting.drain(..).for_each(Waker::wake);
    }

    /// As [`Shared::until`], of the machine alone. `ready` also says whether others should look again.
    pub(crate) async fn until_machine<T>(
        &self,
        mut ready: impl FnMut(&mut MockMachine, Timestamp) -> (Result<T, Option<Timestamp>>, bool),
    ) -> T {
        self.until(|inner, now| {
            let (answer, news) = ready(&mut inner.machine, now);
            if news {
                inner.waiting.drain(..).for_each(Waker::wake);
            }
            answer
        })
        .await
    }

    /// Waits, and moves the machine on, until `ready` has something. Its error is a moment to look again at.
    async fn until<T>(
        &self,
        mut ready: impl FnMut(&mut Inner, Timestamp) -> Result<T, Option<Timestamp>>,
    ) -> T {
        let mut sleep: Option<(Timestamp, Sleep)> = None;
        poll_fn(move |cx: &mut Context<'_>| {
            loop {
                let now = self.clock.now();
                let wake = {
                    let mut inner = self.inner.lock();
                    if inner.advance(self, now) {
                        inner.waiting.drain(..).for_each(Waker::wake);
                    }
                    match ready(&mut inner, now) {
                        Ok(value) => return Poll::Ready(value),
                        Err(at) => {
                            if !inner.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                                inner.waiting.push(cx.waker().clone());
                            }
                            [at, inner.machine.next_wake()].into_iter().flatten().min()
                        }
                    }
                };
                let Some(at) = wake else { return Poll::Pending };
                if sleep.as_ref().is_none_or(|(asleep, _)| *asleep != at) {
                    sleep = Some((at, self.clock.sleep_until(at)));
                }
                match sleep.as_mut().map(|(_, sleep)| sleep.as_mut().poll(cx)) {
                    Some(Poll::Ready(())) => sleep = None,
                    _ => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl Inner {
    /// Answers whether there was anything new.
    fn advance(&mut self, shared: &Shared, now: Timestamp) -> bool {
        let outputs = self.machine.poll(now);
        let any = !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Reply(ticket, _) if self.abandoned.remove(&ticket) => {}
                Output::Reply(ticket, reply) => {
                    self.replies.insert(ticket, reply);
                }
                Output::Event(event) => {
                    shared.heed(&event);
                    self.readers.retain(|reader| {
                        let Some(reader) = reader.upgrade() else { return false };
                        let mut reader = reader.lock();
                        if reader.events.len() >= EVENTS_MAX {
                            reader.events.clear();
                            reader.events.push_back(RuntimeEvent::Lost);
                        }
                        reader.events.push_back(event.clone());
                        true
                    });
                }
            }
        }
        any
    }
}

impl Shared {
    #[cfg(not(feature = "serve"))]
    fn heed(&self, _event: &RuntimeEvent) {}

    /// What ends stops listening.
    #[cfg(feature = "serve")]
    fn heed(&self, event: &RuntimeEvent) {
        if let RuntimeEvent::Exited { container, exit, .. } = event {
            self.server.close(container, exit.signal.is_some());
        }
    }
}

#[async_trait]
impl Runtime for MockRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        match self.call(Call::Info).await? {
            Reply::Info(info) => Ok(info),
            other => confused(other),
        }
    }

    async fn pull_image(&self, pull: &ImagePull) -> Result<ImageInfo, RuntimeError> {
        match self.call(Call::PullImage(pull.clone())).await? {
            Reply::Image(Some(image)) => Ok(image),
            other => confused(other),
        }
    }

    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        match self.call(Call::Image(image.into())).await? {
            Reply::Image(image) => Ok(image),
            other => confused(other),
        }
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        match self.call(Call::Images).await? {
            Reply::Images(images) => Ok(images),
            other => confused(other),
        }
    }

    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError> {
        self.done(Call::RemoveImage(image.into())).await
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxId, RuntimeError> {
        match self.call(Call::CreateSandbox(Box::new(spec.clone()))).await? {
            Reply::Sandbox(id) => Ok(id),
            other => confused(other),
        }
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        self.done(Call::StopSandbox(sandbox.clone())).await
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        self.done(Call::RemoveSandbox(sandbox.clone())).await
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        match self.call(Call::CreateContainer(sandbox.clone(), Box::new(spec.clone()))).await? {
            Reply::Container(id) => Ok(id),
            other => confused(other),
        }
    }

    async fn start_container(&self, container: &ContainerId) -> Result<Timestamp, RuntimeError> {
        #[cfg(feature = "serve")]
        // A port that cannot be bound is known before anything runs.
        let listening = self.shared.server.open(&self.shared, container).await?;
        match self.call(Call::StartContainer(container.clone())).await? {
            Reply::Started(at) => {
                #[cfg(feature = "serve")]
                listening.keep();
                Ok(at)
            }
            other => confused(other),
        }
    }

    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        #[cfg(feature = "serve")]
        self.shared.server.retire(container);
        self.done(Call::StopContainer(container.clone(), grace)).await
    }

    async fn kill_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.done(Call::KillContainer(container.clone())).await
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError> {
        self.done(Call::RemoveContainer(container.clone())).await
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        match self.call(Call::List).await? {
            Reply::List(list) => Ok(list),
            other => confused(other),
        }
    }

    async fn probe(&self, container: &ContainerId, probe: &Probe) -> Result<ProbeAnswer, RuntimeError> {
        match self.call(Call::Probe(container.clone(), probe.clone())).await? {
            Reply::Probe(answer) => Ok(answer),
            other => confused(other),
        }
    }

    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<Logs, RuntimeError> {
        self.shared.with(|machine, now| machine.log_from(now, container, options, None).map(drop))?;
        let reader = LogReader {
            shared: self.shared.clone(),
            container: container.clone(),
            options: options.clone(),
            place: None,
            left: options.limit_bytes.unwrap_or(usize::MAX),
            lines: VecDeque::new(),
            over: false,
        };
        Ok(Box::pin(stream::unfold(reader, |mut reader| async move {
            let line = reader.next().await?;
            Some((Ok(line), reader))
        })))
    }

    async fn exec(&self, container: &ContainerId, spec: &ExecSpec) -> Result<ExecSession, RuntimeError> {
        let program = self.shared.with(|machine, now| machine.start_program(now, container, spec))?;
        Ok(crate::exec::open(&self.shared, container, program, spec.stdin))
    }

    async fn attach(&self, container: &ContainerId, spec: &AttachSpec) -> Result<ExecSession, RuntimeError> {
        let since = self.shared.with(|machine, now| machine.attached_since(now, container))?;
        let options = LogOptions { follow: true, since: Some(since), ..LogOptions::default() };
        let output = self.logs(container, &options).await?.map(|line| {
            line.map(|line| match line.source {
                LogSource::Stdout => ExecOutput::Stdout(line.text),
                LogSource::Stderr => ExecOutput::Stderr(line.text),
            })
        });
        let way = || Way { shared: self.shared.clone(), container: container.clone() };
        let input = spec.stdin.then(|| Box::new(way()) as Box<dyn ExecInput>);
        Ok(ExecSession { input, output: Box::pin(output) })
    }

    #[cfg(feature = "serve")]
    async fn connect(&self, sandbox: &SandboxId, port: u16) -> Result<Connection, RuntimeError> {
        crate::serve::connect(&self.shared, sandbox, port)
    }

    fn events(&self) -> RuntimeEvents {
        let reader = Arc::new(Mutex::new(Reader::default()));
        self.shared.inner.lock().readers.push(Arc::downgrade(&reader));
        let shared = self.shared.clone();
        let events: Pin<Box<dyn Stream<Item = RuntimeEvent> + Send>> =
            Box::pin(stream::unfold((shared, reader), |(shared, reader)| async move {
                let event = shared.until(|_, _| reader.lock().events.pop_front().ok_or(None)).await;
                Some((event, (shared, reader)))
            }));
        events
    }
}

/// The way into a container's own process. Its end is the end of that input, as under `stdinOnce`; a connection that
/// breaks ends nothing.
struct Way {
    shared: Arc<Shared>,
    container: ContainerId,
}

#[async_trait]
impl ExecInput for Way {
    async fn send(&mut self, frame: ExecFrame) -> Result<(), RuntimeError> {
        let Way { shared, container } = self;
        let mut rest = match frame {
            ExecFrame::Stdin(bytes) => bytes,
            ExecFrame::Close => {
                shared.with(|machine, now| machine.end_input(now, container));
                return Ok(());
            }
            // No program here asks how wide its terminal is.
            ExecFrame::Resize { .. } => return Ok(()),
        };
        while !rest.is_empty() {
            let taken = shared.with(|machine, now| machine.feed(now, container, &rest));
            let ended = || RuntimeError::NotRunning(format!("container {container} does not run"));
            rest = rest.slice(taken.ok_or_else(ended)?..);
            if !rest.is_empty() {
                let room =
                    |machine: &mut MockMachine| if machine.has_room(container) { Ok(()) } else { Err(None) };
                shared.until_machine(|machine, _| (room(machine), false)).await;
            }
        }
        Ok(())
    }
}

struct LogReader {
    shared: Arc<Shared>,
    container: ContainerId,
    options: LogOptions,
    place: Option<LogPlace>,
    left: usize,
    lines: VecDeque<(LogPlace, LogLine)>,
    over: bool,
}

impl LogReader {
    async fn next(&mut self) -> Option<LogLine> {
        if self.left == 0 {
            return None;
        }
        if self.lines.is_empty() && !self.over {
            let shared = self.shared.clone();
            let (container, options, place) = (&self.container, &self.options, &mut self.place);
            let (lines, over) = shared
                .until(|inner, now| {
                    // A container that is removed while its log is followed has nothing more to say.
                    let Ok(part) = inner.machine.log_from(now, container, options, *place) else {
                        return Ok((VecDeque::new(), true));
                    };
                    let over = part.ended || !options.follow;
                    if part.lines.is_empty() && !over {
                        // The tail is cut from what there is at first, not from what comes later.
                        place.get_or_insert(LogPlace::START);
                        return Err(part.next);
                    }
                    Ok((VecDeque::from(part.lines), over))
                })
                .await;
            self.lines = lines;
            self.over = over;
        }
        let (place, mut line) = self.lines.pop_front()?;
        self.place = Some(place);
        line.text.truncate(self.left);
        self.left -= line.text.len();
        Some(line)
    }
}
