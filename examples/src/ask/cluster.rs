//! A running cluster as the scheduler sees it, asked object by object.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop::base::kinds::Pod;
use orlop::base::{Body, Key, Kind, Object, Revision, Stored};
use orlop::scheduler::{Change, Snapshot, watched};
use serde_json::Value;

use crate::client::Client;

/// What was seen.
pub(super) struct Seen {
    /// What decisions depend on.
    pub(super) snapshot: Snapshot,
    /// Every pod.
    pub(super) pods: BTreeMap<Key, Pod>,
    /// The priorities by class; the global default under the empty name.
    pub(super) priorities: BTreeMap<String, i64>,
}

impl Seen {
    /// Looks at a cluster.
    ///
    /// # Errors
    /// Says why there is no answer, or which object cannot be read.
    pub(super) async fn of(client: &Client) -> Result<Seen, String> {
        let mut seen = Seen { snapshot: Snapshot::new(), pods: BTreeMap::new(), priorities: BTreeMap::new() };
        for kind in watched() {
            for object in client.list(&path(&kind)).await? {
                let (key, stored) = stored(&object)?;
                if kind.same_resource(&Pod::KIND) {
                    let pod = stored.decode::<Pod>().map_err(|error| format!("pod {key}: {error}"))?;
                    seen.pods.insert(key.clone(), pod);
                }
                let change =
                    orlop::base::Change { kind: kind.clone(), key: key.clone(), object: Some(stored) };
                let change =
                    Change::read(&change).map_err(|error| format!("{} {key}: {error}", kind.kind))?;
                change.into_iter().for_each(|change| seen.snapshot.apply(change));
            }
        }
        for class in client.list("/apis/scheduling.k8s.io/v1/priorityclasses").await? {
            let value = class["value"].as_i64().unwrap_or(0);
            if class["globalDefault"] == true {
                seen.priorities.insert(String::new(), value);
            }
            seen.priorities.insert(class["metadata"]["name"].as_str().unwrap_or_default().to_owned(), value);
        }
        Ok(seen)
    }
}

/// Where all objects of a kind are listed.
fn path(kind: &Kind) -> String {
    match kind.group.as_str() {
        "" => format!("/api/{}/{}", kind.version, kind.plural),
        group => format!("/apis/{group}/{}/{}", kind.version, kind.plural),
    }
}

fn stored(object: &Value) -> Result<(Key, Stored), String> {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let key = Key::new(text("namespace"), text("name"));
    let revision = Revision(text("resourceVersion").parse().unwrap_or(0));
    let bytes = serde_json::to_vec(object).map_err(|error| error.to_string())?;
    let body = Body::parse(bytes.into()).map_err(|error| format!("{key}: {error}"))?;
    Ok((key, Stored { body: Arc::new(body), revision }))
}
