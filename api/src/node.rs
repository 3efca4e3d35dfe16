//! What the API asks of the node that a pod runs on: [`NodeGateway`].

use async_trait::async_trait;
use orlop_core::runtime::{AttachSpec, Connection, ExecSession, ExecSpec};
use orlop_core::{Key, Name};
use serde_json::Value;

use crate::request::{ByteStream, LogOptions};
use crate::status::Status;

/// A pod and where it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodAt {
    /// Namespace and name.
    pub key: Key,
    /// The UID: another pod of the same name is another pod.
    pub uid: Name,
    /// The node.
    pub node: Name,
    /// The pod's status, from which a node tells which run of a container is meant.
    pub status: Value,
}

/// A session inside a running container, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Runs a command.
    Exec(ExecSpec),
    /// Connects to what runs already.
    Attach(AttachSpec),
}

/// The way to node agents. What node agents implement for the API, in this process or across the network.
#[async_trait]
pub trait NodeGateway: Send + Sync + 'static {
    /// A container's log. `options.container` is never empty.
    ///
    /// # Errors
    /// In Kubernetes' words: the node is unknown or away, the container has not started.
    async fn logs(&self, pod: &PodAt, options: &LogOptions) -> Result<ByteStream, Status>;

    /// Begins a session in one of a pod's containers. A gateway without sessions refuses them all.
    ///
    /// # Errors
    /// As [`NodeGateway::logs`]: the container is not there, or does not run.
    async fn open(&self, pod: &PodAt, container: &Name, session: &Session) -> Result<ExecSession, Status> {
        let _ = (container, session);
        Err(Status::bad_request(format!("node {:?} does not offer sessions in containers", pod.node)))
    }

    /// Connects to a TCP port of a pod, as from within it. A gateway without forwarding refuses them all.
    ///
    /// # Errors
    /// As [`NodeGateway::logs`]: the pod does not run, or nobody listens on the port.
    async fn connect(&self, pod: &PodAt, port: u16) -> Result<Connection, Status> {
        Err(Status::bad_request(format!("node {:?} does not offer connections to port {port}", pod.node)))
    }
}

/// A cluster without node agents.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNodes;

#[async_trait]
impl NodeGateway for NoNodes {
    async fn logs(&self, pod: &PodAt, _options: &LogOptions) -> Result<ByteStream, Status> {
        Err(Status::internal(&format!("no node agent is known for node \"{}\"", pod.node)))
    }
}
