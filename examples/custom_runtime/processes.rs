//! The runtime.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, future, stream};
use orlop::base::runtime::*;
use orlop::base::{Clock, Timestamp};
use tokio::sync::{Mutex, broadcast, watch};
use tokio::task::JoinSet;

use super::container::{Container, Live, exit};

const IMAGE: &str = "host";

/// Runs containers as processes. Dropping it kills what it runs.
pub(crate) struct Processes {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<SandboxId, SandboxStatus>,
    containers: BTreeMap<ContainerId, Arc<Container>>,
    /// Looks after the processes.
    tasks: JoinSet<()>,
}

fn host() -> ImageInfo {
    ImageInfo { id: IMAGE.into(), names: vec![IMAGE.into()], size_bytes: 0 }
}

impl Processes {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Processes {
        Processes { state: Mutex::default(), events: broadcast::Sender::new(1024), clock }
    }

    async fn container(&self, id: &ContainerId) -> Result<Arc<Container>, RuntimeError> {
        let found = self.state.lock().await.containers.get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    async fn kill_all(&self, sandbox: &SandboxId) {
        let containers: Vec<_> = self.state.lock().await.containers.values().cloned().collect();
        for container in containers.iter().filter(|container| container.sandbox == *sandbox) {
            container.killed(self.clock.now()).await;
        }
    }
}

#[async_trait::async_trait]
impl Runtime for Processes {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        Ok(RuntimeInfo { name: "process".into(), version: env!("CARGO_PKG_VERSION").into() })
    }

    async fn pull_image(&self, pull: &ImagePull) -> Result<ImageInfo, RuntimeError> {
        let message = "there is one image, `host`: this machine".to_owned();
        self.image(&pull.image).await?.ok_or(RuntimeError::ImagePull { image: pull.image.clone(), message })
    }

    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok((image == IMAGE).then(host))
    }

    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(vec![host()])
    }

    async fn remove_image(&self, _image: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::Unsupported("removing the machine that it runs on"))
    }

    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxId, RuntimeError> {
        let id = SandboxId(format!("{}.{}", spec.uid, spec.attempt).into());
        let mut state = self.state.lock().await;
        if state.sandboxes.contains_key(&id) {
            return Err(RuntimeError::AlreadyExists(format!("sandbox {id}")));
        }
        let sandbox = SandboxStatus {
            id: id.clone(),
            uid: spec.uid.clone(),
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            addresses: spec.addresses.clone(),
            ready: true,
            created: self.clock.now(),
            containers: Vec::new(),
        };
        state.sandboxes.insert(id.clone(), sandbox);
        Ok(id)
    }

    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        if let Some(sandbox) = self.state.lock().await.sandboxes.get_mut(sandbox) {
            sandbox.ready = false;
        }
        self.kill_all(sandbox).await;
        Ok(())
    }

    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError> {
        self.stop_sandbox(sandbox).await?;
        let mut state = self.state.lock().await;
        state.containers.retain(|_, container| container.sandbox != *sandbox);
        state.sandboxes.remove(sandbox);
        Ok(())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError> {
        let mut state = self.state.lock().await;
        let Some(within) = state.sandboxes.get(sandbox).filter(|sandbox| sandbox.ready) else {
            return Err(RuntimeError::NotFound(format!("sandbox {sandbox}")));
        };
        let id = ContainerId(format!("{sandbox}.{}.{}", spec.name, spec.attempt).into());
        if spec.image != IMAGE {
            return Err(RuntimeError::ImageAbsent(spec.image.clone()));
        }
        if spec.command.is_empty() && spec.args.is_empty() {
            return Err(RuntimeError::InvalidSpec("no command: the image `host` has none of its own".into()));
        }
        if state.containers.contains_key(&id) {
            return Err(RuntimeError::AlreadyExists(format!("container {id}")));
        }
        let live = Live { state: RunState::Created, lines: Vec::new(), end_by: None };
        let container = Container {
            id: id.clone(),
            sandbox: sandbox.clone(),
            uid: within.uid.clone(),
            spec: spec.clone(),
            live: watch::Sender::new(live),
        };
        state.containers.insert(id.clone(), Arc::new(container));
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<Timestamp, RuntimeError> {
        let container = self.container(id).await?;
        let mut state = self.state.lock().await;
        if container.live.borrow().state != RunState::Created {
            return Err(RuntimeError::StartFailed(format!(
                "container {id} has been started or ended already"
            )));
        }
        let at = self.clock.now();
        let words = [container.spec.command.as_slice(), &container.spec.args].concat();
        let mut command = container.command(&words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let child = command.spawn().map_err(|error| {
            let exit = Exit { reason: ExitReason::StartError, ..exit(128, None, None, at) };
            container.live.send_modify(|live| live.state = RunState::Exited(exit));
            RuntimeError::StartFailed(format!("{}: {error}", words[0]))
        })?;
        container.live.send_modify(|live| live.state = RunState::Running(at));
        let uid = container.uid.clone();
        let _ = self.events.send(RuntimeEvent::Started { uid, container: id.clone(), at });
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(container.supervise(child, at, self.clock.clone(), self.events.clone()));
        Ok(at)
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        if let Ok(container) = self.container(id).await {
            let now = self.clock.now();
            container.end_by(now + grace, now);
        }
        Ok(())
    }

    async fn kill_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.stop_container(id, Duration::ZERO).await
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        if let Ok(container) = self.container(id).await {
            container.killed(self.clock.now()).await;
            self.state.lock().await.containers.remove(id);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let state = self.state.lock().await;
        let mut all = state.sandboxes.clone();
        for container in state.containers.values() {
            let Some(sandbox) = all.get_mut(&container.sandbox) else { continue };
            sandbox.containers.push(ContainerStatus {
                id: container.id.clone(),
                name: container.spec.name.clone(),
                attempt: container.spec.attempt,
                image: container.spec.image.clone(),
                image_id: IMAGE.into(),
                state: container.live.borrow().state.clone(),
            });
        }
        for sandbox in all.values_mut() {
            sandbox.containers.sort_by_key(|container| (container.name.clone(), container.attempt));
        }
        Ok(all.into_values().collect())
    }

    async fn probe(&self, id: &ContainerId, probe: &Probe) -> Result<ProbeAnswer, RuntimeError> {
        let container = self.container(id).await?;
        if !matches!(container.live.borrow().state, RunState::Running(_)) {
            return Err(RuntimeError::NotRunning(format!("container {id} does not run")));
        }
        let Check::Exec(words) = &probe.check else {
            return Err(RuntimeError::Unsupported("probes over the network"));
        };
        let in_time = self.clock.sleep_until(self.clock.now() + probe.timeout);
        let mut command = container.command(words);
        tokio::select! {
            output = command.output() => Ok(match output {
                Ok(output) if output.status.success() => ProbeAnswer::Success,
                Ok(output) => ProbeAnswer::Failure(String::from_utf8_lossy(&output.stdout).into_owned()),
                Err(error) => ProbeAnswer::Failure(error.to_string()),
            }),
            () = in_time => Ok(ProbeAnswer::Failure(format!("no answer within {:?}", probe.timeout))),
        }
    }

    async fn logs(&self, id: &ContainerId, options: &LogOptions) -> Result<Logs, RuntimeError> {
        let container = self.container(id).await?;
        let first = match options.tail {
            Some(tail) => container.live.borrow().lines.len().saturating_sub(tail),
            None => 0,
        };
        let (live, since, follow) = (container.live.subscribe(), options.since, options.follow);
        let lines = stream::unfold((live, first), move |(mut live, next)| async move {
            let line = {
                // Removed while it was followed: then there is nothing more to say.
                let more = |live: &Live| live.lines.len() > next || live.exited() || !follow;
                live.wait_for(more).await.ok()?.lines.get(next)?.clone()
            };
            Some((line, (live, next + 1)))
        });
        let lines = lines.filter(move |line| future::ready(since.is_none_or(|since| line.at >= since)));
        let cut = lines.scan(options.limit_bytes.unwrap_or(usize::MAX), |left, mut line| {
            line.text.truncate(*left);
            *left -= line.text.len();
            future::ready((!line.text.is_empty()).then_some(Ok(line)))
        });
        Ok(cut.boxed())
    }

    async fn exec(&self, _id: &ContainerId, _spec: &ExecSpec) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::Unsupported("commands in containers"))
    }

    fn events(&self) -> RuntimeEvents {
        let next = |mut events: broadcast::Receiver<RuntimeEvent>| async move {
            match events.recv().await {
                Ok(event) => Some((event, events)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((RuntimeEvent::Lost, events)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        };
        stream::unfold(self.events.subscribe(), next).boxed()
    }
}
