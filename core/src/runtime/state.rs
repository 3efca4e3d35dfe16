//! What a runtime tells of what it runs.

use std::time::Duration;

use crate::object::Name;
use crate::runtime::spec::{ContainerId, SandboxId};
use crate::time::Timestamp;

/// What a runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// The scheme of container IDs in a pod's status: `mock`, `docker`.
    pub name: Name,
    /// The runtime's version.
    pub version: Name,
}

/// An image on the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageInfo {
    /// The identifier by content.
    pub id: Name,
    /// The names under which it is known.
    pub names: Vec<Name>,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A sandbox and what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxStatus {
    /// The sandbox.
    pub id: SandboxId,
    /// The pod's UID.
    pub uid: Name,
    /// The pod's namespace.
    pub namespace: Name,
    /// The pod's name.
    pub name: Name,
    /// Counts the sandboxes that this pod has had.
    pub attempt: u32,
    /// The addresses that it was given.
    pub addresses: Vec<std::net::IpAddr>,
    /// Whether containers can run in it: it was neither stopped nor has it died.
    pub ready: bool,
    /// When it was made.
    pub created: Timestamp,
    /// Its containers, by name and attempt.
    pub containers: Vec<ContainerStatus>,
}

/// A container's state.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStatus {
    /// The container.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: Name,
    /// Its attempt.
    pub attempt: u32,
    /// The image as the pod named it.
    pub image: Name,
    /// The image's identifier.
    pub image_id: Name,
    /// What it is doing.
    pub state: RunState,
}

/// What a container is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum RunState {
    /// Created, not yet started, or starting.
    Created,
    /// Running since then.
    Running(Timestamp),
    /// Ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// In one word.
    pub reason: ExitReason,
    /// Its last words.
    pub message: String,
    /// When it began to run; `None` if it never did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
}

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// By itself, with code 0.
    Completed,
    /// Otherwise.
    Error,
    /// It used more memory than allowed.
    OomKilled,
    /// It could not be started.
    StartError,
}

impl ExitReason {
    /// The word in a pod's status.
    pub const fn as_str(self) -> &'static str {
        match self {
            ExitReason::Completed => "Completed",
            ExitReason::Error => "Error",
            ExitReason::OomKilled => "OOMKilled",
            ExitReason::StartError => "StartError",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum RuntimeEvent {
    /// A container runs.
    Started {
        /// The pod's UID.
        uid: Name,
        /// The container.
        container: ContainerId,
        /// Since when.
        at: Timestamp,
    },
    /// A container has ended.
    Exited {
        /// The pod's UID.
        uid: Name,
        /// The container.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// A sandbox has died, without having been asked to.
    SandboxLost {
        /// The pod's UID.
        uid: Name,
        /// The sandbox.
        sandbox: SandboxId,
    },
    /// An image has arrived.
    ImagePulled(ImageInfo),
    /// Events were lost: list.
    Lost,
}

/// A question about a container's health, or a hook of its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What the answer is for: simulated runtimes answer by script.
    pub purpose: ProbePurpose,
    /// What is asked.
    pub check: Check,
    /// How long to wait for the answer.
    pub timeout: Duration,
}

/// What a probe's answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbePurpose {
    /// Whether the program has started.
    Startup,
    /// Whether it is to get requests.
    Readiness,
    /// Whether it must be restarted.
    Liveness,
    /// A hook after the start or before the stop.
    Hook,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// A command that must end with code 0.
    Exec(Vec<Name>),
    /// An HTTP request that must be answered with 200 to 399.
    Http {
        /// The host to ask; empty: the pod.
        host: Name,
        /// The port.
        port: u16,
        /// Whether by TLS, without looking at the certificate.
        tls: bool,
        /// The path, with its query.
        path: Name,
        /// Further headers.
        headers: Vec<(Name, Name)>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// The host to ask; empty: the pod.
        host: Name,
        /// The port.
        port: u16,
    },
    /// A gRPC health check that must answer `SERVING`.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked about; may be empty.
        service: Name,
    },
}

/// The answer to a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// In good health.
    Success,
    /// Not in good health, and what was seen.
    Failure(String),
}

/// What a container uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time since its start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Bytes of memory that cannot be reclaimed.
    pub memory_bytes: u64,
}
