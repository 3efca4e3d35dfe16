//! The methods of [`Runtime`] as data.

use std::time::Duration;

use crate::object::Name;
use crate::runtime::{
    ContainerId, ContainerSpec, ImageInfo, ImagePull, Probe, ProbeAnswer, Runtime, RuntimeError, RuntimeInfo,
    SandboxId, SandboxSpec, SandboxStatus,
};
use crate::time::Timestamp;

/// One call of a [`Runtime`], as an agent that does no I/O decides on it.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    /// [`Runtime::info`]
    Info,
    /// [`Runtime::pull_image`]
    PullImage(ImagePull),
    /// [`Runtime::image`]
    Image(Name),
    /// [`Runtime::images`]
    Images,
    /// [`Runtime::remove_image`]
    RemoveImage(Name),
    /// [`Runtime::create_sandbox`]
    CreateSandbox(Box<SandboxSpec>),
    /// [`Runtime::stop_sandbox`]
    StopSandbox(SandboxId),
    /// [`Runtime::remove_sandbox`]
    RemoveSandbox(SandboxId),
    /// [`Runtime::create_container`]
    CreateContainer(SandboxId, Box<ContainerSpec>),
    /// [`Runtime::start_container`]
    StartContainer(ContainerId),
    /// [`Runtime::stop_container`]
    StopContainer(ContainerId, Duration),
    /// [`Runtime::kill_container`]
    KillContainer(ContainerId),
    /// [`Runtime::remove_container`]
    RemoveContainer(ContainerId),
    /// [`Runtime::list`]
    List,
    /// [`Runtime::probe`]
    Probe(ContainerId, Probe),
}

/// What a [`Call`] answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To calls without a result.
    Done,
    /// To [`Call::Info`].
    Info(RuntimeInfo),
    /// To [`Call::PullImage`] and [`Call::Image`].
    Image(Option<ImageInfo>),
    /// To [`Call::Images`].
    Images(Vec<ImageInfo>),
    /// To [`Call::CreateSandbox`].
    Sandbox(SandboxId),
    /// To [`Call::CreateContainer`].
    Container(ContainerId),
    /// To [`Call::StartContainer`]: since when it runs.
    Started(Timestamp),
    /// To [`Call::List`].
    List(Vec<SandboxStatus>),
    /// To [`Call::Probe`].
    Probe(ProbeAnswer),
}

impl Call {
    /// The method's name, for metrics and for faults that concern one kind of call.
    pub const fn name(&self) -> &'static str {
        match self {
            Call::Info => "info",
            Call::PullImage(_) => "pull_image",
            Call::Image(_) => "image",
            Call::Images => "images",
            Call::RemoveImage(_) => "remove_image",
            Call::CreateSandbox(_) => "create_sandbox",
            Call::StopSandbox(_) => "stop_sandbox",
            Call::RemoveSandbox(_) => "remove_sandbox",
            Call::CreateContainer(..) => "create_container",
            Call::StartContainer(_) => "start_container",
            Call::StopContainer(..) => "stop_container",
            Call::KillContainer(_) => "kill_container",
            Call::RemoveContainer(_) => "remove_container",
            Call::List => "list",
            Call::Probe(..) => "probe",
        }
    }

    /// Carries the call out.
    ///
    /// # Errors
    /// Those of the method.
    pub async fn perform(&self, runtime: &dyn Runtime) -> Result<Reply, RuntimeError> {
        let done = |()| Reply::Done;
        match self {
            Call::Info => runtime.info().await.map(Reply::Info),
            Call::PullImage(pull) => runtime.pull_image(pull).await.map(|image| Reply::Image(Some(image))),
            Call::Image(image) => runtime.image(image).await.map(Reply::Image),
            Call::Images => runtime.images().await.map(Reply::Images),
            Call::RemoveImage(image) => runtime.remove_image(image).await.map(done),
            Call::CreateSandbox(spec) => runtime.create_sandbox(spec).await.map(Reply::Sandbox),
            Call::StopSandbox(id) => runtime.stop_sandbox(id).await.map(done),
            Call::RemoveSandbox(id) => runtime.remove_sandbox(id).await.map(done),
            Call::CreateContainer(sandbox, spec) => {
                runtime.create_container(sandbox, spec).await.map(Reply::Container)
            }
            Call::StartContainer(id) => runtime.start_container(id).await.map(Reply::Started),
            Call::StopContainer(id, grace) => runtime.stop_container(id, *grace).await.map(done),
            Call::KillContainer(id) => runtime.kill_container(id).await.map(done),
            Call::RemoveContainer(id) => runtime.remove_container(id).await.map(done),
            Call::List => runtime.list().await.map(Reply::List),
            Call::Probe(id, probe) => runtime.probe(id, probe).await.map(Reply::Probe),
        }
    }
}
