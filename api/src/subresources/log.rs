//! Which container is meant, and where its pod runs: for logs, and for sessions in containers.

use orlop_core::store::Entry;
use orlop_core::{Key, Name};
use serde_json::Value;

use crate::node::PodAt;
use crate::request::LogOptions;
use crate::status::Status;
use crate::tree::{items, text};

/// The pod's place and the options with the container filled in. `None`: the pod runs nowhere, and has no log.
pub(crate) fn locate(
    entry: &Entry,
    namespace: &str,
    options: &LogOptions,
) -> Result<Option<(PodAt, LogOptions)>, Status> {
    let pod: Value = entry.object.to_value();
    let container = container(&pod, &options.container)?;
    Ok(place(entry, &pod, namespace).map(|at| (at, LogOptions { container, ..options.clone() })))
}

/// The place of a pod and of the container in which a session is wanted.
pub(crate) fn locate_session(entry: &Entry, namespace: &str, wanted: &str) -> Result<(PodAt, Name), Status> {
    let pod: Value = entry.object.to_value();
    let container = container(&pod, wanted)?;
    Ok((hosted(entry, &pod, namespace)?, container))
}

/// The place of a pod whose ports are wanted.
pub(crate) fn locate_pod(entry: &Entry, namespace: &str) -> Result<PodAt, Status> {
    hosted(entry, &entry.object.to_value(), namespace)
}

fn hosted(entry: &Entry, pod: &Value, namespace: &str) -> Result<PodAt, Status> {
    place(entry, pod, namespace).ok_or_else(|| {
        let name = text(pod, &["metadata", "name"]);
        Status::bad_request(format!("pod {name} does not have a host assigned"))
    })
}

fn container(pod: &Value, wanted: &str) -> Result<Name, Status> {
    let name = text(pod, &["metadata", "name"]);
    let names = |list: &str| -> Vec<&str> {
        items(pod, &["spec", list]).iter().map(|c| text(c, &["name"])).collect()
    };
    let (containers, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    match (wanted, &containers[..]) {
        ("", [only]) => Ok((*only).into()),
        ("", all) => {
            let mut message = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            );
            for (what, names) in [("init", &init), ("ephemeral", &ephemeral)] {
                if !names.is_empty() {
                    message.push_str(&format!(" or one of the {what} containers: [{}]", names.join(" ")));
                }
            }
            Err(Status::bad_request(message))
        }
        (given, all) if all.contains(&given) || init.contains(&given) || ephemeral.contains(&given) => {
            Ok(given.into())
        }
        (given, _) => Err(Status::bad_request(format!("container {given} is not valid for pod {name}"))),
    }
}

fn place(entry: &Entry, pod: &Value, namespace: &str) -> Option<PodAt> {
    let node = text(pod, &["spec", "nodeName"]);
    (!node.is_empty()).then(|| PodAt {
        key: Key::new(namespace, text(pod, &["metadata", "name"])),
        uid: entry.object.body.header().uid.clone(),
        node: node.into(),
        status: pod["status"].clone(),
    })
}
