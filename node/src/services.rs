//! What a container's environment tells of Services.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use orlop_core::body::Stored;
use orlop_core::kinds::Service;
use orlop_core::{Change, Item, Key, Name};
use smol_str::format_smolstr;

/// The Service through which pods of every namespace find the API.
const API: (&str, &str) = ("default", "kubernetes");

/// The cluster's Services. One is read when the first container of its namespace is made, and never on a node that has
/// no pods there.
#[derive(Default)]
pub(crate) struct Services(BTreeMap<Key, Known>);

struct Known {
    object: Stored,
    variables: OnceLock<Vec<(Name, Name)>>,
}

impl Known {
    fn variables(&self) -> &[(Name, Name)] {
        self.variables.get_or_init(|| {
            // One that cannot be read has no address that could be told.
            Item::<Service>::decode(&self.object).map(|service| variables(&service)).unwrap_or_default()
        })
    }
}

impl Services {
    pub(crate) fn apply(&mut self, change: &Change) {
        match &change.object {
            Some(object) => {
                let known = Known { object: object.clone(), variables: OnceLock::new() };
                self.0.insert(change.key.clone(), known);
            }
            None => drop(self.0.remove(&change.key)),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The variables for a container of this namespace, by Service: those of the API always, with `links` those of
    /// the namespace's own Services, too (`enableServiceLinks`).
    pub(crate) fn environment(&self, namespace: &Name, links: bool) -> Vec<(Name, Name)> {
        let api = Key::new(API.0, API.1);
        let own = self
            .0
            .range(Key::new(namespace.clone(), "")..)
            .take_while(|(key, _)| key.namespace == *namespace);
        let own = own.filter(|(key, _)| links && **key != api).map(|(_, known)| known);
        self.0.get(&api).into_iter().chain(own).flat_map(|known| known.variables().iter().cloned()).collect()
    }
}

/// A Service's variables: those of Kubernetes, and those that Docker's links once had. None without a cluster address.
fn variables(service: &Service) -> Vec<(Name, Name)> {
    let address = &service.spec.cluster_ip;
    let Some(first) = service.spec.ports.first().filter(|_| !matches!(address.as_str(), "" | "None")) else {
        return Vec::new();
    };
    let upper = |name: &str| name.replace('-', "_").to_uppercase();
    let prefix = upper(&service.metadata.name);
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_string() };
    let number = |port: i32| format_smolstr!("{port}");
    let mut all = vec![
        (format_smolstr!("{prefix}_SERVICE_HOST"), address.clone()),
        (format_smolstr!("{prefix}_SERVICE_PORT"), number(first.port)),
    ];
    let named = service.spec.ports.iter().filter(|port| !port.name.is_empty());
    all.extend(
        named.map(|port| (format_smolstr!("{prefix}_SERVICE_PORT_{}", upper(&port.name)), number(port.port))),
    );
    for (i, port) in service.spec.ports.iter().enumerate() {
        let protocol = if port.protocol.is_empty() { "TCP" } else { port.protocol.as_str() };
        let (low, high) = (protocol.to_lowercase(), protocol.to_uppercase());
        let url = format_smolstr!("{low}://{host}:{}", port.port);
        if i == 0 {
            all.push((format_smolstr!("{prefix}_PORT"), url.clone()));
        }
        let link = format!("{prefix}_PORT_{}_{high}", port.port);
        all.push((format_smolstr!("{link}_PROTO"), low.as_str().into()));
        all.push((format_smolstr!("{link}_PORT"), number(port.port)));
        all.push((format_smolstr!("{link}_ADDR"), address.clone()));
        all.push((link.into(), url));
    }
    all
}
