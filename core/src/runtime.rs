//! Who runs containers: [`Runtime`].
//!
//! A node agent decides, a runtime does. What an agent asks for is data ([`Call`]) as well as a method, so that a
//! simulator answers the same calls on a virtual clock that a daemon answers over a socket.

mod call;
mod spec;
mod state;
mod streams;

use std::time::Duration;

use async_trait::async_trait;

pub use call::{Call, Reply};
pub use spec::{
    ContainerId, ContainerSpec, DnsConfig, ImagePull, Mount, MountSource, Port, Protocol, PullAuth,
    SandboxId, SandboxSpec, bind_port,
};
pub use state::{
    Check, ContainerStatus, Exit, ExitReason, ImageInfo, Probe, ProbeAnswer, ProbePurpose, RunState,
    RuntimeEvent, RuntimeInfo, SandboxStatus, Usage,
};
pub use streams::{
    AttachSpec, Connection, ConnectionInput, ExecFrame, ExecInput, ExecOutput, ExecSession, ExecSpec,
    LogLine, LogOptions, LogSource, Logs, RuntimeEvents,
};

use crate::object::Name;

/// Why a runtime did not do what it was asked for. A variant exists because the agent acts differently on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox or container: it is gone, so there is nothing left to stop or remove.
    #[error("{0} does not exist")]
    NotFound(String),
    /// It exists already: list, and adopt what is there.
    #[error("{0} exists already")]
    AlreadyExists(String),
    /// The image's name cannot be read: waiting does not help.
    #[error("couldn't parse image reference {0:?}")]
    InvalidImageName(String),
    /// The registry has no such image, or cannot be reached: wait, try again.
    #[error("failed to pull image {image:?}: {message}")]
    ImagePull {
        /// The image.
        image: Name,
        /// What the registry said.
        message: String,
    },
    /// The registry wants credentials, or others.
    #[error("failed to pull image {image:?}: unauthorized: {message}")]
    Unauthorized {
        /// The image.
        image: Name,
        /// What the registry said.
        message: String,
    },
    /// The image is not on the machine: it must be pulled before a container is created.
    #[error("image {0:?} is not present on the machine")]
    ImageAbsent(Name),
    /// The specification cannot be carried out as it stands.
    #[error("{0}")]
    InvalidSpec(String),
    /// The container was created, but its process could not be started: a missing program, a port in use.
    #[error("{0}")]
    StartFailed(String),
    /// What was asked for does not fit the container's state, such as a probe of one that does not run.
    #[error("{0}")]
    NotRunning(String),
    /// This runtime cannot do that at all.
    #[error("this runtime does not support {0}")]
    Unsupported(&'static str),
    /// The runtime cannot be reached, or is overloaded; whether the call happened is not known. Try again.
    #[error("container runtime unavailable: {0}")]
    Unavailable(String),
}

/// Runs containers on one node.
///
/// Containers live in *sandboxes*: one for each pod, which holds what its containers share (address, ports, host
/// name). Identifiers are the runtime's own; what finds things again after an agent's restart are the pod UID,
/// container name and attempt that every specification carries and [`Runtime::list`] gives back.
///
/// # Guarantees
/// Checked for every implementation by the suite in `conformance::runtime` (feature `conformance`):
/// - a container of one sandbox, name and attempt is created at most once: a second call answers
///   [`RuntimeError::AlreadyExists`];
/// - [`Runtime::start_container`] answers once the process runs; every container that ran exits exactly once, and
///   its [`Exit`] stays readable through [`Runtime::list`] until the container is removed;
/// - [`Runtime::stop_container`] answers as soon as the container has been told, and the container has exited by the
///   end of the grace; stopping, killing or removing what has ended or is gone succeeds;
/// - removing a sandbox kills and removes its containers;
/// - a command in a running container is given its input, up to its end, and ends with its own code; what does not run
///   runs no commands. A runtime without commands says [`RuntimeError::Unsupported`], and likewise for attaching and
///   for connections to ports;
/// - events are hints: they may be lost when the reader is slow, which [`RuntimeEvent::Lost`] says. The truth is what
///   `list` answers.
///
/// # Cancellation
/// A call that is dropped may or may not have happened.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// What this runtime is. Also the test of whether it can be reached.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// Fetches an image. Whether that is needed at all is the caller's decision.
    async fn pull_image(&self, pull: &ImagePull) -> Result<ImageInfo, RuntimeError>;

    /// An image that is present on the machine.
    async fn image(&self, image: &str) -> Result<Option<ImageInfo>, RuntimeError>;

    /// All images that are present on the machine, in the order of their first names.
    async fn images(&self) -> Result<Vec<ImageInfo>, RuntimeError>;

    /// Removes an image; one that is not there is no error.
    async fn remove_image(&self, image: &str) -> Result<(), RuntimeError>;

    /// Makes the sandbox of a pod.
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxId, RuntimeError>;

    /// Kills what runs in the sandbox and gives its addresses and ports back. The ended containers and their logs stay
    /// until the sandbox is removed.
    async fn stop_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError>;

    /// Stops the sandbox and forgets it with its containers.
    async fn remove_sandbox(&self, sandbox: &SandboxId) -> Result<(), RuntimeError>;

    /// Makes a container from an image that is present, without starting it.
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        spec: &ContainerSpec,
    ) -> Result<ContainerId, RuntimeError>;

    /// Starts a created container. Answers, once its process runs, when that began.
    async fn start_container(&self, container: &ContainerId) -> Result<crate::Timestamp, RuntimeError>;

    /// Tells a container to end, and kills it if it has not ended after `grace`. Answers at once; a shorter grace
    /// replaces an earlier one.
    async fn stop_container(&self, container: &ContainerId, grace: Duration) -> Result<(), RuntimeError>;

    /// Ends a container now.
    async fn kill_container(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// Forgets a container and its logs, killing it first if it runs.
    async fn remove_container(&self, container: &ContainerId) -> Result<(), RuntimeError>;

    /// Every sandbox with its containers, ended ones too: what an agent finds after its restart.
    async fn list(&self) -> Result<Vec<SandboxStatus>, RuntimeError>;

    /// Asks a running container for its health. An answer that does not come in time is a [`ProbeAnswer::Failure`].
    async fn probe(&self, container: &ContainerId, probe: &Probe) -> Result<ProbeAnswer, RuntimeError>;

    /// What a container has printed, oldest first.
    async fn logs(&self, container: &ContainerId, options: &LogOptions) -> Result<Logs, RuntimeError>;

    /// Runs a command in a running container.
    async fn exec(&self, container: &ContainerId, spec: &ExecSpec) -> Result<ExecSession, RuntimeError>;

    /// Connects to a running container's own program: what it prints from now on, and its input.
    async fn attach(
        &self,
        _container: &ContainerId,
        _spec: &AttachSpec,
    ) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::Unsupported("attaching to containers"))
    }

    /// Connects to a TCP port of a sandbox, as from within it.
    async fn connect(&self, _sandbox: &SandboxId, _port: u16) -> Result<Connection, RuntimeError> {
        Err(RuntimeError::Unsupported("connections to ports"))
    }

    /// What a container uses at present; `None` where this runtime does not measure.
    async fn usage(&self, _container: &ContainerId) -> Result<Option<Usage>, RuntimeError> {
        Ok(None)
    }

    /// What happens from now on.
    fn events(&self) -> RuntimeEvents;
}
