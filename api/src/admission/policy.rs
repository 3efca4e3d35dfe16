//! ValidatingAdmissionPolicies: what they and their bindings say of a write.

use std::sync::Arc;

use orlop_core::{Key, Kind, Stored};
use serde_json::Value;

use super::expressions::{self, CALL_COST_MAX, Names, Wanted};
use super::{Review, matching};
use crate::auth::{Attributes, Decision};
use crate::cel::{self, Activation, Failure, Program, Type};
use crate::kept::Kept;
use crate::request::User;
use crate::status::{Cause, Status};

const GROUP: &str = "admissionregistration.k8s.io";
/// Longer messages of an expression are not shown.
const MESSAGE_MAX: usize = 5120;

/// Policies and configurations of webhooks that have been read and compiled, with what binds them.
#[derive(Default)]
pub(crate) struct Compiled {
    policies: Kept<Policy>,
    bindings: Kept<Value>,
    pub(super) webhooks: Kept<super::webhook::Configuration>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").finish_non_exhaustive()
    }
}

/// The policies of a kind that are about a write, with their bindings.
pub(super) fn about(review: &Review<'_>, kind: &str, plural: &str) -> Vec<(Arc<Policy>, Vec<Arc<Value>>)> {
    // Nobody can lock themselves out of changing policies.
    if review.kind.group == GROUP && review.kind.plural.contains("admissionpolic") {
        return Vec::new();
    }
    let of = |kind: String, plural: String| Kind {
        group: GROUP.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: plural.into(),
        scope: orlop_core::Scope::Cluster,
    };
    let policies = review.entries(&of(kind.to_owned(), plural.to_owned()));
    if policies.is_empty() {
        return Vec::new();
    }
    let compiled = review.compiled;
    let bindings: Vec<Arc<Value>> = review
        .entries(&of(format!("{kind}Binding"), format!("{}ybindings", plural.trim_end_matches("ies"))))
        .iter()
        .map(|entry| compiled.bindings.get(entry, |entry| entry.object.to_value()))
        .collect();
    let mut out = Vec::new();
    for entry in &policies {
        let policy = compiled.policies.get(entry, |entry| Policy::read(&entry.object));
        if !matching::constrained(review, &policy.spec["matchConstraints"]) {
            continue;
        }
        let own: Vec<Arc<Value>> = bindings
            .iter()
            .filter(|b| b["spec"]["policyName"] == policy.name.as_str())
            .filter(|b| {
                b["spec"]["matchResources"].is_null()
                    || matching::constrained(review, &b["spec"]["matchResources"])
            })
            .cloned()
            .collect();
        if !own.is_empty() {
            out.push((policy, own));
        }
    }
    out
}

/// A policy, ready to run.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) spec: Value,
    conditions: Vec<Expression>,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
    pub(super) mutations: Vec<(String, Expression)>,
}

/// An expression and what became of it.
pub(super) struct Expression {
    pub(super) source: String,
    program: Result<Program, String>,
}

struct Validation {
    condition: Expression,
    message: String,
    says: Option<Expression>,
    reason: String,
}

impl Expression {
    fn new(source: &Value, names: &Names, wanted: Wanted) -> Expression {
        let source = source.as_str().unwrap_or_default().to_owned();
        let program = expressions::compile(&source, names, wanted);
        Expression { source, program }
    }

    pub(super) fn run(&self, values: &Activation<'_>) -> Result<cel::Value, String> {
        let program = self.program.as_ref().map_err(Clone::clone)?;
        match program.evaluate(values, CALL_COST_MAX) {
            Ok((value, _)) => Ok(value),
            Err(failure @ (Failure::Error(_) | Failure::TooExpensive)) => Err(failure.to_string()),
        }
    }
}

impl Policy {
    fn read(stored: &Stored) -> Policy {
        let tree = stored.to_value();
        let spec = tree["spec"].clone();
        let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
        let params = !spec["paramKind"].is_null();
        let mut names = Names { params, authorizer: true, ..Names::default() };
        let conditions = list("matchConditions")
            .iter()
            .map(|c| Expression::new(&c["expression"], &names, Wanted::Bool))
            .collect();
        names.variables = Some(Vec::new());
        let mut variables = Vec::new();
        for variable in list("variables") {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let expression = Expression::new(&variable["expression"], &names, Wanted::Anything);
            let ty = expression.program.as_ref().map_or(Type::Dyn, |p| p.result_type().clone());
            names.variables.get_or_insert_default().push((name.clone(), ty));
            variables.push((name, expression));
        }
        let unasked = Names { authorizer: false, ..names.clone() };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let validations = list("validations")
            .iter()
            .map(|v| Validation {
                condition: Expression::new(&v["expression"], &names, Wanted::Bool),
                message: text(&v["message"]),
                says: v["messageExpression"]
                    .as_str()
                    .is_some_and(|e| !e.trim().is_empty())
                    .then(|| Expression::new(&v["messageExpression"], &unasked, Wanted::Text)),
                reason: text(&v["reason"]),
            })
            .collect();
        let making = Names { constructs: true, ..names.clone() };
        let mutations = list("mutations")
            .iter()
            .map(|m| {
                let ty = text(&m["patchType"]);
                let (field, wanted) = match ty.as_str() {
                    "JSONPatch" => ("jsonPatch", Wanted::Patches),
                    _ => ("applyConfiguration", Wanted::Object),
                };
                (ty, Expression::new(&m[field]["expression"], &making, wanted))
            })
            .collect();
        Policy { name: text(&tree["metadata"]["name"]), spec, conditions, variables, validations, mutations }
    }

    fn fails_open(&self) -> bool {
        self.spec["failurePolicy"] == "Ignore"
    }

    /// Whether all conditions hold. An error counts only where no condition says no.
    pub(super) fn applies(&self, values: &Activation<'_>) -> Result<bool, String> {
        let mut failed = None;
        for condition in &self.conditions {
            match condition.run(values) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => return Ok(false),
                Err(why) => failed = Some(why),
            }
        }
        match failed {
            None => Ok(true),
            Some(_) if self.fails_open() => Ok(false),
            Some(why) => Err(why),
        }
    }

    /// Adds the values of the policy's variables, each of which may use those before it.
    pub(super) fn with_variables<'a>(&self, mut values: Activation<'a>) -> Activation<'a> {
        for (name, expression) in &self.variables {
            let value = expression.run(&values);
            values.set(&format!("variables.{name}"), value);
        }
        values
    }

    /// The parameters that a binding names, each of which the policy is asked with; `None` alone: without parameters.
    ///
    /// # Errors
    /// Why there are none although there must be.
    pub(super) fn params(&self, review: &Review<'_>, binding: &Value) -> Result<Vec<Option<Value>>, String> {
        let kind = &self.spec["paramKind"];
        let reference = &binding["spec"]["paramRef"];
        if kind.is_null() || reference.is_null() {
            return Ok(vec![None]);
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (version, name) = (text(&kind["apiVersion"]), text(&kind["kind"]));
        let (group, version) = orlop_core::scheme::split_api_version(&version);
        let Some(resource) = review.scheme.by_kind(group, version, &name) else {
            return Err(format!(
                "failed to find resource referenced by paramKind: '{group}/{version}, Kind={name}'"
            ));
        };
        let namespaced = resource.kind.scope == orlop_core::Scope::Namespaced;
        let namespace = match text(&reference["namespace"]) {
            own if !own.is_empty() && !namespaced => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
            }
            own if own.is_empty() && namespaced => review.key.namespace.to_string(),
            own => own,
        };
        if namespaced && namespace.is_empty() {
            return Err(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
                    .into(),
            );
        }
        let found: Vec<Value> = match text(&reference["name"]) {
            name if !name.is_empty() => review
                .get(&resource.kind, &Key::new(&namespace, &name))
                .iter()
                .map(Stored::to_value)
                .collect(),
            _ => {
                let Some(prefix) = review.scheme.storage_range(&resource.kind, &namespace) else {
                    return Err("params are not stored".into());
                };
                let all = review.view.range(&prefix, "", usize::MAX).into_iter().map(|e| e.object.to_value());
                all.filter(|object| matching::labelled(&reference["selector"], object)).collect()
            }
        };
        if found.is_empty() && reference["parameterNotFoundAction"] == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
        }
        Ok(found.into_iter().map(Some).collect())
    }

    /// Why the write should not be, if so.
    fn verdicts(&self, values: &Activation<'_>) -> Vec<Verdict> {
        let mut out = Vec::new();
        for validation in &self.validations {
            let reason = validation.reason.clone();
            match validation.condition.run(values) {
                Ok(cel::Value::Bool(true)) => {}
                Ok(_) => {
                    let said = validation.says.as_ref().and_then(|says| match says.run(values) {
                        Ok(cel::Value::String(text)) => Some(text.trim().to_owned()),
                        _ => None,
                    });
                    let said = said.filter(|t| !t.is_empty() && t.len() <= MESSAGE_MAX && !t.contains('\n'));
                    let text = said.unwrap_or_else(|| match validation.message.trim() {
                        "" => format!("failed expression: {}", validation.condition.source.trim()),
                        message => message.to_owned(),
                    });
                    out.push(Verdict { text, reason });
                }
                Err(_) if self.fails_open() => {}
                Err(why) => {
                    let text =
                        format!("expression '{}' resulted in error: {why}", validation.condition.source);
                    out.push(Verdict { text, reason });
                }
            }
        }
        out
    }
}

struct Verdict {
    text: String,
    reason: String,
}

/// Asks the policies.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    let found = about(review, "ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    if found.is_empty() {
        return Ok(());
    }
    let mut denied: Option<(String, String)> = None;
    let mut warned = Vec::new();
    let (authorizer, view) = (review.authorizer, review.view);
    let ask =
        |user: &User, attributes: &Attributes| -> Decision { authorizer.authorize(user, attributes, view) };
    for (policy, bindings) in &found {
        for binding in bindings {
            let at = binding["metadata"]["name"].as_str().unwrap_or_default();
            let verdicts = match policy.params(review, binding) {
                Ok(params) => {
                    let mut all = Vec::new();
                    for param in params {
                        let mut values = expressions::activation(review, &ask);
                        let param = param.as_ref().map_or(cel::Value::Null, cel::Value::from_json);
                        values.set("params", Ok(param));
                        match policy.applies(&values) {
                            Ok(true) => all.extend(policy.verdicts(&policy.with_variables(values))),
                            Ok(false) => {}
                            Err(text) => all.push(Verdict { text, reason: String::new() }),
                        }
                    }
                    all
                }
                Err(_) if policy.fails_open() => Vec::new(),
                Err(why) => {
                    let text = format!("failed to configure binding: {why}");
                    vec![Verdict { text, reason: String::new() }]
                }
            };
            let actions = binding["spec"]["validationActions"].as_array().map_or(&[][..], Vec::as_slice);
            for Verdict { text, reason } in verdicts {
                if actions.iter().any(|a| a == "Warn") {
                    warned.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{at}': {text}",
                        policy.name
                    ));
                }
                if denied.is_none() && actions.iter().any(|a| a == "Deny") {
                    let message = format!(
                        "ValidatingAdmissionPolicy '{}' with binding '{at}' denied request: {text}",
                        policy.name
                    );
                    denied = Some((message, reason));
                }
            }
        }
    }
    review.warnings.extend(warned);
    match denied {
        None => Ok(()),
        Some((message, reason)) => Err(refusal(review, &message, &reason)),
    }
}

/// A refusal in a policy's name.
fn refusal(review: &Review<'_>, message: &str, reason: &str) -> Status {
    let mut status = review.forbidden(message);
    (status.reason, status.code) = match reason {
        "" => ("Invalid".into(), 422),
        "Unauthorized" => (reason.into(), 401),
        "Forbidden" => (reason.into(), 403),
        "RequestEntityTooLarge" => (reason.into(), 413),
        other => (other.into(), 422),
    };
    if let Some(details) = &mut status.details {
        details.causes.push(Cause { message: message.into(), ..Cause::default() });
    }
    status
}
