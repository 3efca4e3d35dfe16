//! Which container's log is meant, and where its pod runs.

use orlop_core::store::Entry;
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
    let name = text(&pod, &["metadata", "name"]);
    let names = |list: &str| -> Vec<&str> {
        items(&pod, &["spec", list]).iter().map(|c| text(c, &["name"])).collect()
    };
    let (containers, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let container = match (options.container.as_str(), &containers[..]) {
        ("", [only]) => *only,
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
            return Err(Status::bad_request(message));
        }
        (given, all) if all.contains(&given) || init.contains(&given) || ephemeral.contains(&given) => given,
        (given, _) => {
            return Err(Status::bad_request(format!("container {given} is not valid for pod {name}")));
        }
    };
    let node = text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Ok(None);
    }
    let at = PodAt {
        key: orlop_core::Key::new(namespace, name),
        uid: entry.object.body.header().uid.clone(),
        node: node.into(),
    };
    Ok(Some((at, LogOptions { container: container.into(), ..options.clone() })))
}
