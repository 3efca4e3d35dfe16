//! What every cluster has from the start.

use orlop_core::store::Store;
use orlop_core::{Key, Kind, Name};
use orlop_netplan::ipam::ServiceRange;
use serde_json::{Value, json};

use super::LocalApi;
use crate::admission::system_priorities;
use crate::api::Api;
use crate::request::{Body, Options, PatchType, Request, ResourceId, User, Verb};
use crate::status::Status;

const NAMESPACE: Kind = Kind::cluster("", "v1", "Namespace", "namespaces");
const SERVICE: Kind = Kind::namespaced("", "v1", "Service", "services");
const ENDPOINTS: Kind = Kind::namespaced("", "v1", "Endpoints", "endpoints");
const SLICE: Kind = Kind::namespaced("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices");
const SERVICE_CIDR: Kind = Kind::cluster("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs");
const PRIORITY_CLASS: Kind = Kind::cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses");

/// The API server itself.
pub(super) fn itself() -> User {
    User {
        name: Name::new_static("system:apiserver"),
        groups: vec![Name::new_static("system:masters")],
        ..User::default()
    }
}

impl<S: Store> LocalApi<S> {
    /// Creates what every cluster has: namespaces, the `kubernetes` Service and what it leads to, the default range of
    /// Service addresses, the system's priority classes, the default roles, the default flow
    /// schemas and priority levels, the registrations of its API groups. What is there already stays as it is, so that a
    /// cluster that starts again changes nothing.
    ///
    /// # Errors
    /// When the store is away or an object is refused.
    pub async fn bootstrap(&self) -> Result<(), Status> {
        let unused = super::services::unused(&self.served(), &*self.store().view());
        for txn in unused {
            // Whoever was quicker uses it.
            let _ = self.store().commit(txn).await;
        }
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            self.ensure(&NAMESPACE, object("v1", "Namespace", "", name, json!({}))).await?;
        }
        let cidrs: Vec<String> = self.config().service_ranges.iter().map(ToString::to_string).collect();
        let range = object(
            "networking.k8s.io/v1",
            "ServiceCIDR",
            "",
            "kubernetes",
            json!({"spec": {"cidrs": cidrs}}),
        );
        if self.ensure(&SERVICE_CIDR, range).await? {
            self.range_is_ready().await?;
        }
        for (name, value) in system_priorities() {
            let what = match name {
                "system-node-critical" => {
                    "Used for system critical pods that must not be moved from their current node."
                }
                _ => {
                    "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."
                }
            };
            let rest = json!({"value": value, "description": what});
            let class = object("scheduling.k8s.io/v1", "PriorityClass", "", name, rest);
            self.ensure(&PRIORITY_CLASS, class).await?;
        }
        self.register().await?;
        for (kind, object) in crate::rbac::bootstrap().into_iter().chain(crate::fairness::bootstrap()) {
            self.ensure(&kind, object).await?;
        }
        self.kubernetes_service().await
    }

    async fn range_is_ready(&self) -> Result<(), Status> {
        let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": self.now().to_string(),
            "message": "Kubernetes default Service CIDR is ready"});
        let status = json!({"status": {"conditions": [condition]}});
        let patch = object("networking.k8s.io/v1", "ServiceCIDR", "", "kubernetes", status);
        let mut request = self.request(Verb::Patch(PatchType::Apply), &SERVICE_CIDR, patch);
        request.key = Key::cluster("kubernetes");
        request.subresource = Name::new_static("status");
        request.options.field_manager = Name::new_static("kubernetes-service-cidr-controller");
        request.options.force = true;
        self.call(request).await.map(drop)
    }

    /// The Service by which pods reach the API, and the API server as its endpoint.
    async fn kubernetes_service(&self) -> Result<(), Status> {
        let server = self.config().server.clone();
        let Some(range) = self.config().service_ranges.first() else { return Ok(()) };
        let labels = json!({"component": "apiserver", "provider": "kubernetes"});
        let spec = json!({
            "clusterIP": ServiceRange::new(*range).first().to_string(),
            "ports": [{"name": "https", "port": 443, "targetPort": server.port, "protocol": "TCP"}],
        });
        let mut service = object("v1", "Service", "default", "kubernetes", json!({"spec": spec}));
        service["metadata"]["labels"] = labels;
        self.ensure(&SERVICE, service).await?;
        let Some(ip) = server.ip else { return Ok(()) };
        let ports = json!([{"name": "https", "port": server.port, "protocol": "TCP"}]);
        let subsets = json!({"subsets": [{"addresses": [{"ip": ip.to_string()}], "ports": ports}]});
        let mut endpoints = object("v1", "Endpoints", "default", "kubernetes", subsets);
        endpoints["metadata"]["labels"] = json!({"endpointslice.kubernetes.io/skip-mirror": "true"});
        self.ensure(&ENDPOINTS, endpoints).await?;
        let slice = json!({
            "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
            "endpoints": [{"addresses": [ip.to_string()], "conditions": {"ready": true}}],
            "ports": ports,
        });
        let mut slice = object("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes", slice);
        slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "kubernetes"});
        self.ensure(&SLICE, slice).await.map(drop)
    }

    fn request(&self, verb: Verb, kind: &Kind, body: Value) -> Request {
        Request {
            user: itself(),
            verb,
            resource: ResourceId::from(kind),
            key: Key::default(),
            subresource: Name::default(),
            options: Options { field_manager: Name::new_static("kube-apiserver"), ..Options::default() },
            body: Some(Body::Value(body)),
        }
    }

    /// Creates an object unless there is one of its name. Answers whether it did.
    async fn ensure(&self, kind: &Kind, object: Value) -> Result<bool, Status> {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text("namespace"), text("name"));
        let scheme = self.served().scheme.clone();
        let there = scheme
            .storage_key(kind, &Key::new(namespace.as_str(), name.as_str()))
            .is_some_and(|key| self.store().view().get(&key).is_some());
        if there {
            return Ok(false);
        }
        let mut request = self.request(Verb::Create, kind, object);
        request.key = Key::new(namespace, "");
        match self.call(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.reason == "AlreadyExists" => Ok(false),
            Err(status) => Err(status),
        }
    }
}

fn object(api_version: &str, kind: &str, namespace: &str, name: &str, rest: Value) -> Value {
    let mut meta = json!({"name": name});
    if !namespace.is_empty() {
        meta["namespace"] = namespace.into();
    }
    let mut out = json!({"kind": kind, "apiVersion": api_version, "metadata": meta});
    if let (Some(out), Value::Object(rest)) = (out.as_object_mut(), rest) {
        out.extend(rest);
    }
    out
}
