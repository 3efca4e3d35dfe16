//! Every pod acts for a service account, and finds the account's token in its containers.

use orlop_core::{Key, Kind};
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::status::Status;
use crate::tree::{items, object, text};

const ACCOUNT: Kind = Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts");
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: i64 = 3607;

pub(super) fn admit(review: &mut Review<'_>) -> Result<(), Status> {
    if !review.is("", "pods") || review.operation != Operation::Create {
        return Ok(());
    }
    if review.object.pointer("/metadata/annotations").is_some_and(|a| a.get(MIRROR).is_some()) {
        return mirror(review);
    }
    let mut name = text(review.object, &["spec", "serviceAccountName"]).to_owned();
    if name.is_empty() {
        name = match text(review.object, &["spec", "serviceAccount"]) {
            "" => "default".into(),
            older => older.to_owned(),
        };
        object(review.object, "spec").insert("serviceAccountName".into(), name.as_str().into());
    }
    // The older spelling follows the newer one.
    object(review.object, "spec").insert("serviceAccount".into(), name.as_str().into());
    let key = Key { namespace: review.key.namespace.clone(), name: name.as_str().into() };
    let Some(account) = review.get(&ACCOUNT, &key) else {
        return Err(review.forbidden(&format!(
            "error looking up service account {key}: serviceaccount \"{name}\" not found"
        )));
    };
    let account = account.to_value();
    if text(&account, &["metadata", "annotations", ENFORCE]) == "true" {
        mountable(review, &account)?;
    }
    if items(review.object, &["spec", "imagePullSecrets"]).is_empty() {
        let secrets = items(&account, &["imagePullSecrets"]).to_vec();
        if !secrets.is_empty() {
            object(review.object, "spec").insert("imagePullSecrets".into(), secrets.into());
        }
    }
    let automount = [
        review.object.pointer("/spec/automountServiceAccountToken"),
        account.get("automountServiceAccountToken"),
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_bool)
    .unwrap_or(true);
    if automount {
        mount_token(review);
    }
    Ok(())
}

/// Pods that mirror a node's own files have no account.
fn mirror(review: &Review<'_>) -> Result<(), Status> {
    if !text(review.object, &["spec", "serviceAccountName"]).is_empty() {
        return Err(review.forbidden("a mirror pod may not reference service accounts"));
    }
    let volumes = items(review.object, &["spec", "volumes"]);
    if volumes.iter().any(|v| v.get("secret").is_some()) {
        return Err(review.forbidden("a mirror pod may not reference secrets"));
    }
    Ok(())
}

/// An account may allow only the secrets that it lists.
fn mountable(review: &Review<'_>, account: &Value) -> Result<(), Status> {
    let name = text(account, &["metadata", "name"]);
    let listed =
        |list: &str, secret: &str| items(account, &[list]).iter().any(|s| text(s, &["name"]) == secret);
    for volume in items(review.object, &["spec", "volumes"]) {
        let Some(secret) = volume.get("secret") else { continue };
        let secret = text(secret, &["secretName"]);
        if !listed("secrets", secret) {
            return Err(review.forbidden(&format!(
                "volume with secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret"
            )));
        }
    }
    for (list, what) in [("initContainers", "init container"), ("containers", "container")] {
        for container in items(review.object, &["spec", list]) {
            for env in items(container, &["env"]) {
                let secret = text(env, &["valueFrom", "secretKeyRef", "name"]);
                if !secret.is_empty() && !listed("secrets", secret) {
                    return Err(review.forbidden(&format!(
                        "{what} {} with envVar {} referencing secret.secretName=\"{secret}\" is not allowed because service account {name} does not reference that secret",
                        text(container, &["name"]),
                        text(env, &["name"])
                    )));
                }
            }
        }
    }
    for secret in items(review.object, &["spec", "imagePullSecrets"]) {
        let secret = text(secret, &["name"]);
        if !listed("imagePullSecrets", secret) {
            return Err(review.forbidden(&format!(
                "imagePullSecrets[0].name=\"{secret}\" is not allowed because service account {name} does not reference that imagePullSecret"
            )));
        }
    }
    Ok(())
}

/// Mounts a token, the cluster's certificate and the namespace where containers look for them.
fn mount_token(review: &mut Review<'_>) {
    let volume = format!("kube-api-access-{}", review.entropy.suffix(5));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = object(review.object, "spec").get_mut(list) else { continue };
        for container in containers {
            let mut mounts = items(container, &["volumeMounts"]).to_vec();
            if mounts.iter().any(|m| text(m, &["mountPath"]) == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}));
            if let Some(map) = container.as_object_mut() {
                map.insert("volumeMounts".into(), mounts.into());
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]);
    let mut volumes = items(review.object, &["spec", "volumes"]).to_vec();
    volumes.push(json!({"name": volume, "projected": {"sources": sources, "defaultMode": 420}}));
    object(review.object, "spec").insert("volumes".into(), volumes.into());
}
