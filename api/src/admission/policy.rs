//! ValidatingAdmissionPolicies: what they and their bindings say of a write.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::{Key, Kind, Stored};
use serde_json::Value;

use super::expressions::{self, CALL_COST_MAX, Names, Wanted};
use super::{Review, matching};
use crate::auth::{Attributes, Decision};
use crate::cel::{self, Activation, Failure, Program, Type};
use crate::request::User;
use crate::status::{Cause, Status};

const GROUP: &str = "admissionregistration.k8s.io";
/// Longer messages of an expression are not shown.
const MESSAGE_MAX: usize = 5120;

/// A binding's tree, as it is kept with the binding.
#[derive(Debug)]
pub(super) struct Binding(Value);

/// The policies of a kind that have bindings, in order.
pub(super) fn all(review: &Review<'_>, kind: &str, plural: &str) -> Vec<Candidate> {
    // Nobody can lock themselves out of changing policies.
    if review.kind.group == GROUP && review.kind.plural.contains("admissionpolic") {
        return Vec::new();
    }
    // What a Scale makes of its object was asked about as the Scale.
    if review.subresource == "scale" && review.sort.is_none() {
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
    let bindings: Vec<Arc<Binding>> = review
        .entries(&of(format!("{kind}Binding"), format!("{}ybindings", plural.trim_end_matches("ies"))))
        .iter()
        .map(|entry| entry.object.body.kept(|| Binding(entry.object.to_value())))
        .collect();
    let mut out = Vec::new();
    for entry in &policies {
        let policy = entry.object.body.kept(|| Policy::read(&entry.object));
        let own = |b: &&Arc<Binding>| b.0["spec"]["policyName"] == policy.name.as_str();
        let bindings: Vec<Arc<Binding>> = bindings.iter().filter(own).cloned().collect();
        if !bindings.is_empty() {
            out.push(Candidate { policy, bindings });
        }
    }
    out
}

/// A policy with its bindings.
pub(super) struct Candidate {
    pub(super) policy: Arc<Policy>,
    bindings: Vec<Arc<Binding>>,
}

impl Candidate {
    /// The bindings by which the policy is about a write, as that is by now.
    pub(super) fn about(&self, review: &Review<'_>) -> Vec<&Value> {
        if !matching::constrained(review, &self.policy.spec["matchConstraints"]) {
            return Vec::new();
        }
        let bindings = self.bindings.iter().map(|b| &b.0).filter(|b| {
            b["spec"]["matchResources"].is_null()
                || matching::constrained(review, &b["spec"]["matchResources"])
        });
        bindings.collect()
    }
}

/// A policy, ready to run.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) spec: Value,
    conditions: Vec<Expression>,
    variables: Vec<(String, Expression)>,
    validations: Vec<Validation>,
    /// What goes into the audit log, by key.
    notes: Vec<(String, Expression)>,
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
        let notes = list("auditAnnotations")
            .iter()
            .map(|n| (text(&n["key"]), Expression::new(&n["valueExpression"], &names, Wanted::TextOrNull)))
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
        let name = text(&tree["metadata"]["name"]);
        Policy { name, spec, conditions, variables, validations, notes, mutations }
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

    /// Adds what the policy has to say to the audit log, each text once.
    fn note<'a>(&'a self, values: &Activation<'_>, out: &mut BTreeMap<&'a str, Vec<String>>) {
        for (key, expression) in &self.notes {
            let text = match expression.run(values) {
                Ok(cel::Value::String(text)) => text.trim().to_owned(),
                Ok(_) => continue,
                Err(_) if self.fails_open() => continue,
                Err(why) => format!("failed evaluating {:?}: {why}", expression.source),
            };
            let cut = text
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|end| *end <= NOTE_MAX)
                .last();
            let text = text[..cut.unwrap_or_default()].to_owned();
            let said = out.entry(key).or_default();
            if !text.is_empty() && !said.contains(&text) {
                said.push(text);
            }
        }
    }

    /// Why the write should not be, if so.
    fn verdicts(&self, values: &Activation<'_>) -> Vec<Verdict> {
        let mut out = Vec::new();
        for (index, validation) in self.validations.iter().enumerate() {
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
                    out.push(Verdict { text, reason, index });
                }
                Err(_) if self.fails_open() => {}
                Err(why) => {
                    let text =
                        format!("expression '{}' resulted in error: {why}", validation.condition.source);
                    out.push(Verdict { text, reason, index });
                }
            }
        }
        out
    }
}

struct Verdict {
    text: String,
    reason: String,
    /// Which of the policy's validations says so.
    index: usize,
}

/// The annotation of the audit log by which bindings with the action `Audit` note what failed.
const FAILURE: &str = "validation.policy.admission.k8s.io/validation_failure";
/// Longer values are cut off in the audit log.
const NOTE_MAX: usize = 10 * 1024;

/// Asks the policies.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    let found = all(review, "ValidatingAdmissionPolicy", "validatingadmissionpolicies");
    if found.is_empty() {
        return Ok(());
    }
    let mut noted: Vec<(String, String)> = Vec::new();
    let mut denied: Option<(String, String)> = None;
    let mut warned = Vec::new();
    let (authorizer, view) = (review.authorizer, review.view);
    let ask =
        |user: &User, attributes: &Attributes| -> Decision { authorizer.authorize(user, attributes, view) };
    for candidate in &found {
        let policy = &candidate.policy;
        let mut notes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for binding in candidate.about(review) {
            let at = binding["metadata"]["name"].as_str().unwrap_or_default();
            let verdicts = match policy.params(review, binding) {
                Ok(params) => {
                    let mut all = Vec::new();
                    for param in params {
                        let mut values = expressions::activation(review, &ask);
                        let param = param.as_ref().map_or(cel::Value::Null, cel::Value::from_json);
                        values.set("params", Ok(param));
                        match policy.applies(&values) {
                            Ok(true) => {
                                let values = policy.with_variables(values);
                                all.extend(policy.verdicts(&values));
                                policy.note(&values, &mut notes);
                            }
                            Ok(false) => {}
                            Err(text) => all.push(Verdict { text, reason: String::new(), index: 0 }),
                        }
                    }
                    all
                }
                Err(_) if policy.fails_open() => Vec::new(),
                Err(why) => {
                    let text = format!("failed to configure binding: {why}");
                    vec![Verdict { text, reason: String::new(), index: 0 }]
                }
            };
            let actions = binding["spec"]["validationActions"].as_array().map_or(&[][..], Vec::as_slice);
            for Verdict { text, reason, index } in verdicts {
                if actions.iter().any(|a| a == "Audit") {
                    let failure = serde_json::json!([{"message": text, "policy": policy.name, "binding": at,
                        "expressionIndex": index, "validationActions": actions}]);
                    noted.push((FAILURE.into(), failure.to_string()));
                }
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
        for (key, values) in notes {
            noted.push((format!("{}/{key}", policy.name), values.join(", ")));
        }
    }
    review.warnings.extend(warned);
    for (key, value) in &noted {
        review.audit(key, value);
    }
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
