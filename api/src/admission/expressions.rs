//! What CEL expressions of policies and webhooks may name, and what they must say.

use std::sync::Arc;

use orlop_core::Key;
use serde_json::{Value, json};

use super::{Operation, Review};
use crate::auth::{Attributes, Decision};
use crate::cel::{self, Activation, Authority, Env, ObjectType, Opaque, Program, Type};
use crate::request::User;

/// One expression may cost as much when it runs.
pub(crate) const CALL_COST_MAX: u64 = 1_000_000;

/// What an expression may name besides the request and its objects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// The policy has parameters.
    pub(crate) params: bool,
    /// Who may do what may be asked.
    pub(crate) authorizer: bool,
    /// The policy's variables so far, with their types.
    pub(crate) variables: Option<Vec<(String, Type)>>,
    /// `Object{…}` and `JSONPatch{…}` may be made.
    pub(crate) constructs: bool,
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(name, ty)| ((*name).to_owned(), ty.clone())).collect();
    Type::Object(Arc::new(ObjectType { name: name.into(), fields }))
}

fn request_type() -> Type {
    let kind = object(
        "kubernetes.GroupVersionKind",
        &[("group", Type::String), ("version", Type::String), ("kind", Type::String)],
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &[("group", Type::String), ("version", Type::String), ("resource", Type::String)],
    );
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", Type::String),
            ("uid", Type::String),
            ("groups", Type::list(Type::String)),
            ("extra", Type::map(Type::String, Type::list(Type::String))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", Type::String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", Type::String),
            ("name", Type::String),
            ("namespace", Type::String),
            ("operation", Type::String),
            ("userInfo", user),
            ("dryRun", Type::Bool),
            ("options", Type::Dyn),
        ],
    )
}

fn namespace_type() -> Type {
    let texts = || Type::map(Type::String, Type::String);
    let meta = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", Type::String),
            ("generateName", Type::String),
            ("namespace", Type::String),
            ("labels", texts()),
            ("annotations", texts()),
            ("UID", Type::String),
            ("creationTimestamp", Type::Timestamp),
            ("deletionGracePeriodSeconds", Type::Int),
            ("deletionTimestamp", Type::Timestamp),
            ("generation", Type::Int),
            ("resourceVersion", Type::String),
            ("finalizers", Type::list(Type::String)),
        ],
    );
    let spec = object("kubernetes.NamespaceSpec", &[("finalizers", Type::list(Type::String))]);
    let status = object("kubernetes.NamespaceStatus", &[("phase", Type::String)]);
    object("kubernetes.Namespace", &[("metadata", meta), ("status", status), ("spec", spec)])
}

/// What expressions with these names see.
pub(crate) fn env(names: &Names) -> Env {
    let mut env = Env::default()
        .with("object", Type::Dyn)
        .with("oldObject", Type::Dyn)
        .with("request", request_type())
        .with("namespaceObject", namespace_type());
    if names.params {
        env = env.with("params", Type::Dyn);
    }
    if names.authorizer {
        env = env
            .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
            .with("authorizer.requestResource", Type::Opaque("kubernetes.authorization.ResourceCheck"));
    }
    if let Some(variables) = &names.variables {
        let fields = variables.iter().cloned().collect();
        let ty = ObjectType { name: "kubernetes.variables".into(), fields };
        env = env.with("variables", Type::Object(Arc::new(ty)));
    }
    env.constructs = names.constructs;
    env
}

/// What an expression must come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wanted {
    Anything,
    Bool,
    Text,
    TextOrNull,
    Object,
    Patches,
}

/// Compiles an expression that must come to something.
///
/// # Errors
/// Why it does not, as an author is told.
pub(crate) fn compile(source: &str, names: &Names, wanted: Wanted) -> Result<Program, String> {
    let program = cel::compile(source, &env(names)).map_err(|why| format!("compilation failed: {why}"))?;
    let found = program.result_type();
    let fits = match (wanted, found) {
        (_, Type::Dyn) | (Wanted::Anything, _) => true,
        (Wanted::Bool, Type::Bool) | (Wanted::Text | Wanted::TextOrNull, Type::String) => true,
        (Wanted::TextOrNull, Type::Null) => true,
        (Wanted::Object, Type::Opaque("Object")) => true,
        (Wanted::Patches, Type::List(of)) => matches!(**of, Type::Opaque("JSONPatch") | Type::Dyn),
        _ => false,
    };
    if fits {
        return Ok(program);
    }
    let wanted = match wanted {
        Wanted::Bool => "bool",
        Wanted::Text => "string",
        Wanted::TextOrNull => {
            return Err(format!("must evaluate to one of [string null_type] but got {found}"));
        }
        Wanted::Object => "Object",
        Wanted::Patches => "list(JSONPatch)",
        Wanted::Anything => "dyn",
    };
    Err(format!("must evaluate to {wanted} but got {found}"))
}

/// The word for an operation.
pub(crate) fn operation(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "CREATE",
        Operation::Update => "UPDATE",
        Operation::Delete => "DELETE",
        Operation::Connect => "CONNECT",
    }
}

/// A write as an `AdmissionRequest` tells of it, without its objects.
pub(crate) fn request(review: &Review<'_>) -> Value {
    let (kind, key) = (review.kind, &review.key);
    let sort = review.object_kind();
    let gvk =
        json!({"group": sort.group.as_str(), "version": sort.version.as_str(), "kind": sort.kind.as_str()});
    let gvr = json!({"group": kind.group.as_str(), "version": kind.version.as_str(), "resource": kind.plural.as_str()});
    let user = review.user;
    let groups: Vec<&str> = user.groups.iter().map(|g| g.as_str()).collect();
    let mut info = json!({"username": user.name.as_str(), "groups": groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.as_str().into();
    }
    if !user.extra.is_empty() {
        let extra = user.extra.iter().map(|(key, values)| {
            (key.to_string(), values.iter().map(|v| v.as_str()).collect::<Vec<_>>().into())
        });
        info["extra"] = Value::Object(extra.collect());
    }
    let options = match review.operation {
        Operation::Create => Some("CreateOptions"),
        Operation::Update => Some("UpdateOptions"),
        Operation::Delete => Some("DeleteOptions"),
        // What a session is asked for with is its object.
        Operation::Connect => None,
    };
    let options = options.map(|kind| {
        let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if review.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    });
    let mut out = json!({"kind": gvk, "resource": gvr, "requestKind": gvk, "requestResource": gvr});
    if !review.subresource.is_empty() {
        out["subResource"] = review.subresource.into();
        out["requestSubResource"] = review.subresource.into();
    }
    if !key.name.is_empty() {
        out["name"] = name_of(review).into();
    }
    if !key.namespace.is_empty() {
        out["namespace"] = key.namespace.as_str().into();
    } else if kind.plural == "namespaces" && kind.group.is_empty() {
        out["namespace"] = name_of(review).into();
    }
    out["operation"] = operation(review.operation).into();
    out["userInfo"] = info;
    out["dryRun"] = review.dry_run.into();
    if let Some(options) = options {
        out["options"] = options;
    }
    out
}

/// The object's name; empty while the server has not made one.
fn name_of<'a>(review: &'a Review<'_>) -> &'a str {
    match review.object["metadata"]["name"].as_str() {
        // It is called as the object that it is about.
        _ if review.sort.is_some() => &review.key.name,
        Some(name) => name,
        None if review.object.is_null() => &review.key.name,
        None => "",
    }
}

/// The values that expressions about a write see.
pub(crate) fn activation<'a>(
    review: &Review<'_>,
    ask: &'a (dyn Fn(&User, &Attributes) -> Decision + 'a),
) -> Activation<'a> {
    let value = cel::Value::from_json;
    let mut request = request(review);
    // What has no value is empty to expressions.
    for field in ["subResource", "requestSubResource", "name", "namespace"] {
        if request[field].is_null() {
            request[field] = "".into();
        }
    }
    let namespace = namespace(review).unwrap_or_default();
    let authority = Authority { user: review.user.clone() };
    let question = authority.about(
        &review.kind.group,
        &review.kind.plural,
        review.subresource,
        Key { namespace: review.key.namespace.clone(), name: review.key.name.clone() },
    );
    Activation::default()
        .with("object", value(review.object))
        .with("oldObject", review.old.map_or(cel::Value::Null, value))
        .with("request", value(&request))
        .with("namespaceObject", value(&namespace))
        .with("authorizer", cel::Value::opaque(Opaque::Authorizer(authority)))
        .with("authorizer.requestResource", cel::Value::opaque(Opaque::Question(question)))
        .asking(ask)
}

/// The namespace that the object is in, or is.
pub(crate) fn namespace(review: &Review<'_>) -> Option<Value> {
    if review.key.namespace.is_empty() {
        let own = review.kind.plural == "namespaces" && review.kind.group.is_empty();
        return own.then(|| {
            if review.object.is_null() { review.old.cloned() } else { Some(review.object.clone()) }
        })?;
    }
    let kind = orlop_core::Kind::cluster("", "v1", "Namespace", "namespaces");
    review.get(&kind, &Key::new("", review.key.namespace.clone())).map(|stored| stored.to_value())
}
