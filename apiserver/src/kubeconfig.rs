//! The file by which kubectl finds a cluster.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::pki::Identity;

/// How a client says who it is.
pub enum Credentials<'a> {
    /// By a client certificate.
    Certificate(&'a Identity),
    /// By a bearer token.
    Token(&'a str),
}

/// A kubeconfig with one cluster, one user and one context, all called `name`. An empty namespace is `default`.
///
/// It is JSON, which is YAML too, and which no special character in a name can break.
pub fn kubeconfig(
    name: &str,
    server: &str,
    authority: &str,
    user: &Credentials<'_>,
    namespace: &str,
) -> String {
    let user = match user {
        Credentials::Certificate(identity) => json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }),
        Credentials::Token(token) => json!({"token": token}),
    };
    let mut context = json!({"cluster": name, "user": name});
    if !namespace.is_empty() {
        context["namespace"] = namespace.into();
    }
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority),
        }}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": context}],
        "current-context": name,
    });
    format!("{config:#}\n")
}
