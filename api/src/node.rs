//! What the API asks of the node that a pod runs on: [`NodeGateway`].

use async_trait::async_trait;
use orlop_core::{Key, Name};

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
}

/// A session inside a running container, as a client asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Runs a command.
    Exec {
        /// The container; never empty.
        container: Name,
        /// The command and its arguments.
        command: Vec<String>,
        /// Which streams are connected.
        streams: Streams,
    },
    /// Connects to what runs already.
    Attach {
        /// The container; never empty.
        container: Name,
        /// Which streams are connected.
        streams: Streams,
    },
    /// Forwards connections to ports of the pod.
    PortForward {
        /// The ports.
        ports: Vec<u16>,
    },
}

/// Which streams of a session are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// The way to node agents. What node agents implement for the API, in this process or across the network.
#[async_trait]
pub trait NodeGateway: Send + Sync + 'static {
    /// A container's log. `options.container` is never empty.
    ///
    /// # Errors
    /// In Kubernetes' words: the node is unknown or away, the container has not started.
    async fn logs(&self, pod: &PodAt, options: &LogOptions) -> Result<ByteStream, Status>;

    /// Begins a session; answers with the address of the stream server that carries it on, to which the API server
    /// passes the client's connection. A gateway without sessions refuses them all.
    ///
    /// # Errors
    /// As [`NodeGateway::logs`].
    async fn open(&self, pod: &PodAt, session: &Session) -> Result<String, Status> {
        let _ = session;
        Err(Status::bad_request(format!("node {:?} does not offer sessions in containers", pod.node)))
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
