//! The API's way to the nodes of this process: logs, sessions and connections come straight from their runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orlop_api::node::{NodeGateway, PodAt, Session};
use orlop_api::{ByteStream, LogOptions, Status};
use orlop_core::runtime::{Connection, ExecSession, RunState, Runtime, RuntimeError, SandboxStatus};
use orlop_core::{Clock, Name};

/// The runtimes of this process's nodes.
pub(super) struct Runtimes {
    pub(super) by_node: BTreeMap<Name, Arc<dyn Runtime>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Runtimes {
    fn of(&self, pod: &PodAt) -> Result<&dyn Runtime, Status> {
        self.by_node
            .get(&pod.node)
            .map(|runtime| runtime.as_ref())
            .ok_or_else(|| Status::internal(&format!("no node agent is known for node \"{}\"", pod.node)))
    }
}

#[async_trait]
impl NodeGateway for Runtimes {
    async fn logs(&self, pod: &PodAt, options: &LogOptions) -> Result<ByteStream, Status> {
        crate::logs::logs(self.of(pod)?, pod, options, self.clock.now()).await
    }

    async fn open(&self, pod: &PodAt, container: &Name, session: &Session) -> Result<ExecSession, Status> {
        let runtime = self.of(pod)?;
        let sandboxes = sandboxes(runtime, pod).await?;
        let running = sandboxes
            .iter()
            .flat_map(|sandbox| &sandbox.containers)
            .find(|status| status.name == *container && matches!(status.state, RunState::Running(_)));
        // The words of the kubelet, also for what has ended.
        let Some(running) = running else {
            return Err(Status::plain(format!("container not found (\"{container}\")")));
        };
        let opened = match session {
            Session::Exec(spec) => runtime.exec(&running.id, spec).await,
            Session::Attach(spec) => runtime.attach(&running.id, spec).await,
        };
        opened.map_err(|error| failed(&error))
    }

    async fn connect(&self, pod: &PodAt, port: u16) -> Result<Connection, Status> {
        let runtime = self.of(pod)?;
        let sandboxes = sandboxes(runtime, pod).await?;
        let Some(sandbox) = sandboxes.iter().find(|sandbox| sandbox.ready) else {
            return Err(Status::plain(format!("pod not found (\"{}_{}\")", pod.key.name, pod.key.namespace)));
        };
        runtime.connect(&sandbox.id, port).await.map_err(|error| failed(&error))
    }
}

/// A pod's sandboxes, the latest first.
async fn sandboxes(runtime: &dyn Runtime, pod: &PodAt) -> Result<Vec<SandboxStatus>, Status> {
    let mut all = runtime.list().await.map_err(|error| failed(&error))?;
    all.retain(|sandbox| sandbox.uid == pod.uid);
    all.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.attempt));
    Ok(all)
}

fn failed(error: &RuntimeError) -> Status {
    match error {
        RuntimeError::Unsupported(_) | RuntimeError::InvalidSpec(_) => Status::bad_request(error.to_string()),
        other => Status::plain(other.to_string()),
    }
}
