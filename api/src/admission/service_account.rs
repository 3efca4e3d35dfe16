//! Every pod acts for a service account, and finds the account's token in its containers.

use orlop_core::codec::Step;
use orlop_core::{Key, Kind, Meta};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::local::likeness::Drawn;
use crate::status::Status;
use crate::tree::{items, object, push, text};

const ACCOUNT: Kind = Kind::namespaced("", "v1", "ServiceAccount", "serviceaccounts");
const MIRROR: &str = "kubernetes.io/config.mirror";
const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: i64 = 3607;
/// How the volume with the token is called, with so many letters more.
const VOLUME: &str = "kube-api-access-";
const LETTERS: usize = 5;

/// What is read of an account.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Account {
    metadata: Meta,
    image_pull_secrets: Vec<Value>,
    automount_service_account_token: Option<bool>,
}

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
    let Some(stored) = review.get(&ACCOUNT, &key) else {
        return Err(review.forbidden(&format!(
            "error looking up service account {key}: serviceaccount \"{name}\" not found"
        )));
    };
    let account = stored.body.known::<Account>().unwrap_or_default();
    if account.metadata.annotation(ENFORCE) == Some("true") {
        mountable(review, &stored.to_value())?;
    }
    if items(review.object, &["spec", "imagePullSecrets"]).is_empty()
        && !account.image_pull_secrets.is_empty()
    {
        let secrets = account.image_pull_secrets.clone();
        object(review.object, "spec").insert("imagePullSecrets".into(), secrets.into());
    }
    let asked = review.object.pointer("/spec/automountServiceAccountToken").and_then(Value::as_bool);
    let automount = asked.or(account.automount_service_account_token).unwrap_or(true);
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
    let volume = format!("{VOLUME}{}", review.entropy.suffix(LETTERS));
    // A volume that looks like this one might be called the same.
    let apart =
        !items(review.object, &["spec", "volumes"]).iter().any(|v| text(v, &["name"]).starts_with(VOLUME));
    let mut places = Vec::new();
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = object(review.object, "spec").get_mut(list) else { continue };
        for (i, container) in containers.iter_mut().enumerate() {
            let mounts = items(container, &["volumeMounts"]);
            if !container.is_object() || mounts.iter().any(|m| text(m, &["mountPath"]) == MOUNT_PATH) {
                continue;
            }
            let mount = ["spec", list].map(Step::Field).into_iter().chain([Step::Item(i)]);
            let mount =
                mount.chain([Step::Field("volumeMounts"), Step::Item(mounts.len()), Step::Field("name")]);
            places.push(mount.collect());
            push(
                container,
                "volumeMounts",
                json!({"name": volume, "readOnly": true, "mountPath": MOUNT_PATH}),
            );
        }
    }
    let used = !places.is_empty();
    if used {
        let at = Step::Item(items(review.object, &["spec", "volumes"]).len());
        places.push(vec![Step::Field("spec"), Step::Field("volumes"), at, Step::Field("name")]);
    }
    if apart {
        review.drawn.push(Drawn::Text { lead: VOLUME, letters: LETTERS, places });
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
    if let Some(spec) = review.object.get_mut("spec") {
        push(spec, "volumes", json!({"name": volume, "projected": {"sources": sources, "defaultMode": 420}}));
    }
}
