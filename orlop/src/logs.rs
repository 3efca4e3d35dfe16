//! A container's log as the API serves it.

use futures_util::StreamExt;
use orlop_api::node::PodAt;
use orlop_api::{ByteStream, LogOptions, Status};
use orlop_core::Timestamp;
use orlop_core::kinds::PodStatus;
use orlop_core::runtime::{self, Runtime, RuntimeError};
use orlop_node::Run;
use serde::Deserialize;

/// Reads the log of one of a pod's containers from the runtime that runs it.
///
/// # Errors
/// In the kubelet's words: the container is not there, or has not been started yet.
pub(crate) async fn logs(
    runtime: &dyn Runtime,
    pod: &PodAt,
    options: &LogOptions,
    now: Timestamp,
) -> Result<ByteStream, Status> {
    let refused = |what: String| Status::bad_request(what);
    let container = &options.container;
    let status = Option::<PodStatus>::deserialize(&pod.status)
        .map_err(|error| Status::internal(&error.to_string()))?
        .unwrap_or_default();
    let run = Run::of(&pod.key.name, &status, container, options.previous).map_err(refused)?;
    let sandboxes = runtime.list().await.map_err(|error| failed(&error))?;
    let runs = sandboxes
        .iter()
        .filter(|sandbox| sandbox.uid == pod.uid)
        .flat_map(|sandbox| &sandbox.containers)
        .filter(|run| run.name == *container && !matches!(run.state, runtime::RunState::Created));
    // The status may outlive what it tells of.
    let Some(instance) = run.among(runs) else {
        let place = format!("container \"{container}\" in pod \"{}\"", pod.key.name);
        return Err(refused(match options.previous {
            true => format!("previous terminated {place} not found"),
            false => format!("unable to retrieve container logs for {place}"),
        }));
    };
    let since_time = match &options.since_time {
        Some(text) => Some(text.parse::<Timestamp>().map_err(|error| refused(error.to_string()))?),
        None => None,
    };
    let ago = options.since_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let wanted = runtime::LogOptions {
        follow: options.follow && !options.previous,
        since: since_time.or_else(|| ago.map(|seconds| now - std::time::Duration::from_secs(seconds))),
        tail: options.tail_lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        limit_bytes: options.limit_bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
    };
    let lines = runtime.logs(&instance.id, &wanted).await.map_err(|error| failed(&error))?;
    let timestamps = options.timestamps;
    Ok(ByteStream::new(lines.map(move |line| match line {
        Ok(line) if timestamps => {
            let mut text = line.at.to_nano_string().into_bytes();
            text.push(b' ');
            text.extend_from_slice(&line.text);
            Ok(text.into())
        }
        Ok(line) => Ok(line.text),
        Err(error) => Err(failed(&error)),
    })))
}

fn failed(error: &RuntimeError) -> Status {
    Status::internal(&error.to_string())
}
