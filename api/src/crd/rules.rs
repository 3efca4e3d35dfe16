//! Rules in CEL that a schema asks of its values (`x-kubernetes-validations`).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::field_path;
use super::ratchet::{self, Old};
use super::schema::{Additional, DEPTH_MAX, Node, Rule};
use crate::cel::{self, Activation, Decl, Env, Failure, Program, Type, Value, decl};
use crate::validation::{ErrorType, FieldError};

/// One rule may cost as much when it runs.
const CALL_COST_MAX: u64 = 1_000_000;
/// All rules together may cost as much for one object.
const OBJECT_COST_MAX: i64 = 10_000_000;
/// Longer messages are not shown.
const MESSAGE_MAX: usize = 5120;

/// What is wrong with a rule itself.
pub(super) enum Trouble {
    /// There is none.
    Missing(String),
    /// It does not compile, or is no condition.
    Wrong(String),
}

/// What a definition's author is told of a rule.
#[derive(Default)]
pub(super) struct Checked {
    /// For one value.
    pub(super) cost: u64,
    pub(super) message_cost: Option<u64>,
    /// How many values a request can hold.
    pub(super) most: u64,
    pub(super) trouble: Option<Trouble>,
    pub(super) message_trouble: Option<String>,
    pub(super) uses_old_self: bool,
}

fn env(ty: &Type, optional: bool) -> Env {
    let old = if optional { Type::optional(ty.clone()) } else { ty.clone() };
    Env::default().with("self", ty.clone()).with("oldSelf", old)
}

/// Checks the rules of one schema.
pub(super) fn check(schema: &Json, whole: bool) -> Vec<Checked> {
    let node = Node::read(schema);
    let decl = Decl::of(&node, whole);
    let ty = decl.as_ref().map_or(Type::Dyn, |d| d.ty.clone());
    let mut variables = BTreeMap::new();
    if let Some(decl) = &decl {
        variables.insert("self", decl);
        variables.insert("oldSelf", decl);
    }
    let most = decl.as_ref().map_or(u64::MAX, Decl::count_max);
    node.rules
        .iter()
        .map(|rule| {
            let mut out = Checked { most, ..Checked::default() };
            if rule.rule.trim().is_empty() {
                out.trouble = Some(Trouble::Missing("rule is not specified".into()));
                return out;
            }
            let env = env(&ty, rule.optional_old_self == Some(true));
            match cel::compile(&rule.rule, &env) {
                Err(why) => out.trouble = Some(Trouble::Wrong(format!("compilation failed: {why}"))),
                Ok(program) if !matches!(program.result_type(), Type::Bool | Type::Dyn) => {
                    out.trouble = Some(Trouble::Wrong("cel expression must evaluate to a bool".into()));
                }
                Ok(program) => {
                    out.uses_old_self = program.names("oldSelf");
                    out.cost = program.estimate(&variables);
                }
            }
            if out.trouble.is_none() && !rule.message_expression.is_empty() {
                match message(&rule.message_expression, &env) {
                    Ok(program) => out.message_cost = Some(program.estimate(&variables)),
                    Err(why) => out.message_trouble = Some(why),
                }
            }
            out
        })
        .collect()
}

fn message(source: &str, env: &Env) -> Result<Program, String> {
    let program =
        cel::compile(source, env).map_err(|why| format!("messageExpression compilation failed: {why}"))?;
    match program.result_type() {
        Type::String | Type::Dyn => Ok(program),
        _ => Err("messageExpression must evaluate to a string".into()),
    }
}

/// The rules of a schema and of its parts, ready to run.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    rules: Vec<Compiled>,
    whole: bool,
    ty: String,
    properties: BTreeMap<String, RuleSet>,
    items: Option<Box<RuleSet>>,
    additional: Option<Box<RuleSet>>,
    all_of: Vec<RuleSet>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    program: Result<Program, String>,
    message: Option<Program>,
    /// Where complaints are to stand, below the value.
    path: String,
    uses_old_self: bool,
}

impl RuleSet {
    /// Compiles all rules of an `openAPIV3Schema`.
    pub(crate) fn compile(schema: &Json) -> RuleSet {
        RuleSet::of(&Node::read(schema), schema, true, 0).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
            && self.properties.is_empty()
            && self.items.is_none()
            && self.additional.is_none()
            && self.all_of.is_empty()
    }

    fn of(node: &Node, schema: &Json, whole: bool, depth: usize) -> Option<RuleSet> {
        if depth > DEPTH_MAX {
            return None;
        }
        let below = |node: &Node, schema: &Json| RuleSet::of(node, schema, node.embedded, depth + 1);
        let mut set = RuleSet { whole, ty: node.ty.clone(), ..RuleSet::default() };
        for (name, property) in &node.properties {
            if let Some(rules) = below(property, &schema["properties"][name]) {
                set.properties.insert(name.clone(), rules);
            }
        }
        if let Some(items) = &node.items {
            set.items = below(items, &schema["items"]).map(Box::new);
        }
        if let Additional::Of(values) = &node.additional {
            set.additional = below(values, &schema["additionalProperties"]).map(Box::new);
        }
        if !node.rules.is_empty() {
            let ty = Decl::of(node, whole).map_or(Type::Dyn, |d| d.ty);
            set.rules = node.rules.iter().map(|rule| Compiled::new(rule, &ty, schema)).collect();
        }
        (!set.is_empty()).then_some(set)
    }

    /// What rules say of an object, given its former state.
    pub(crate) fn evaluate(&self, node: &Node, value: &Json, old: Old<'_>) -> Vec<FieldError> {
        self.evaluate_at(node, "", value, old)
    }

    /// [`RuleSet::evaluate`] for a value at a path.
    pub(crate) fn evaluate_at(&self, node: &Node, path: &str, value: &Json, old: Old<'_>) -> Vec<FieldError> {
        let mut run = Run { budget: OBJECT_COST_MAX, errors: Vec::new() };
        run.value(self, node, path, value, old, false);
        run.errors
    }
}

impl Compiled {
    fn new(rule: &Rule, ty: &Type, schema: &Json) -> Compiled {
        let env = env(ty, rule.optional_old_self == Some(true));
        let program = cel::compile(&rule.rule, &env).map_err(|why| format!("compilation failed: {why}"));
        let message = match rule.message_expression.trim() {
            "" => None,
            _ => message(&rule.message_expression, &env).ok(),
        };
        let path = match rule.field_path.as_str() {
            "" => String::new(),
            path => field_path::find(path, schema, true).map(|found| found.path).unwrap_or_default(),
        };
        let uses_old_self = program.as_ref().is_ok_and(|p| p.names("oldSelf"));
        Compiled { rule: rule.clone(), program, message, path, uses_old_self }
    }
}

struct Run {
    /// What is left; nothing more runs below zero.
    budget: i64,
    errors: Vec<FieldError>,
}

fn shown(path: &str) -> String {
    if path.is_empty() { "<nil>".into() } else { path.into() }
}

fn below(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.into(),
        (path, "") => path.into(),
        (path, name) if name.starts_with('[') => format!("{path}{name}"),
        (path, name) => format!("{path}.{name}"),
    }
}

impl Run {
    /// `unchanged`: a part that this is in, and whose old state is known, has not changed.
    fn value(&mut self, set: &RuleSet, node: &Node, path: &str, value: &Json, old: Old<'_>, unchanged: bool) {
        if value.is_null() || self.budget < 0 {
            return;
        }
        let unchanged = if old.is_some() { ratchet::unchanged(old, value) } else { unchanged };
        if !set.rules.is_empty() {
            self.rules(set, node, path, value, old.filter(|old| !old.is_null()), unchanged);
        }
        match value {
            Json::Object(map) => {
                for (name, value) in map {
                    let (rules, schema, path) = match (node.properties.get(name), &node.additional) {
                        (Some(schema), _) => (set.properties.get(name), schema, below(path, name)),
                        (None, Additional::Of(schema)) => {
                            (set.additional.as_deref(), &**schema, format!("{path}[{name}]"))
                        }
                        _ => continue,
                    };
                    if let Some(rules) = rules {
                        self.value(rules, schema, &path, value, ratchet::field(old, name), unchanged);
                    }
                }
            }
            Json::Array(items) => {
                let (Some(rules), Some(schema)) = (&set.items, &node.items) else { return };
                for (at, item) in items.iter().enumerate() {
                    let was = ratchet::item(node, old, item);
                    self.value(rules, schema, &format!("{path}[{at}]"), item, was, unchanged);
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, set: &RuleSet, node: &Node, path: &str, value: &Json, old: Old<'_>, unchanged: bool) {
        let invalid = |why: &str| FieldError::invalid(shown(path), &set.ty.as_str().into(), why);
        let this = decl::to_value(node, value, set.whole);
        let former = old.map(|old| decl::to_value(node, old, set.whole));
        const SPENT: &str =
            "validation failed due to running out of cost budget, no further validation rules will be run";
        for compiled in &set.rules {
            let rule = &compiled.rule;
            if self.budget <= 0 {
                self.errors.push(invalid(SPENT));
                self.budget = -1;
                return;
            }
            let optional = rule.optional_old_self == Some(true);
            if compiled.uses_old_self && former.is_none() && !optional {
                continue;
            }
            let program = match &compiled.program {
                Ok(program) => program,
                Err(why) => {
                    self.errors.push(invalid(&format!("rule compile error: {why}")));
                    continue;
                }
            };
            let mut values = Activation::default().with("self", this.clone());
            match (&former, optional) {
                (former, true) => {
                    values = values.with("oldSelf", Value::Optional(former.clone().map(std::sync::Arc::new)));
                }
                (Some(former), false) => values = values.with("oldSelf", former.clone()),
                (None, false) => {}
            }
            let told = rule_text(rule);
            match program.evaluate(&values, CALL_COST_MAX) {
                Ok((result, cost)) => {
                    self.budget = self.budget.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
                    if self.budget < 0 {
                        self.errors.push(invalid(SPENT));
                        return;
                    }
                    if matches!(result, Value::Bool(true)) {
                        continue;
                    }
                }
                Err(Failure::TooExpensive) => {
                    let why = format!(
                        "'{}': no further validation rules will be run due to call cost exceeds limit for rule: {told}",
                        Failure::TooExpensive
                    );
                    self.errors.push(invalid(&why));
                    self.budget = -1;
                    return;
                }
                Err(Failure::Error(why)) if why.starts_with("no such overload") => {
                    self.errors.push(invalid(&format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {told}"
                    )));
                    continue;
                }
                Err(Failure::Error(why)) => {
                    self.errors.push(invalid(&format!("{why} evaluating rule: {told}")));
                    continue;
                }
            }
            if unchanged && !compiled.uses_old_self {
                continue;
            }
            let text = self.message(compiled, &values).unwrap_or_else(|| default_message(rule));
            let at = shown(&below(path, &compiled.path));
            self.errors.push(match rule.reason.as_deref() {
                Some("FieldValueForbidden") => {
                    FieldError::new(ErrorType::Forbidden, at, "Forbidden".into(), &text)
                }
                Some("FieldValueRequired") => {
                    FieldError::new(ErrorType::Required, at, "Required value".into(), &text)
                }
                Some("FieldValueDuplicate") => {
                    FieldError::new(ErrorType::Duplicate, at, format!("Duplicate value: {:?}", set.ty), "")
                }
                _ => FieldError::invalid(at, &set.ty.as_str().into(), &text),
            });
        }
    }

    /// What a rule says for itself in this case; nothing where it fails to, or says nothing that can be shown.
    fn message(&mut self, compiled: &Compiled, values: &Activation<'_>) -> Option<String> {
        let program = compiled.message.as_ref()?;
        let limit = CALL_COST_MAX.min(u64::try_from(self.budget).unwrap_or(0));
        let (value, cost) = program.evaluate(values, limit).ok()?;
        self.budget = self.budget.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
        let Value::String(text) = value else { return None };
        let text = text.trim();
        (!text.is_empty() && text.len() <= MESSAGE_MAX && !text.contains('\n')).then(|| text.to_owned())
    }
}

/// A rule as complaints quote it.
fn rule_text(rule: &Rule) -> String {
    if rule.message.is_empty() { format!("'{}'", rule.rule.trim()) } else { rule.message.trim().to_owned() }
}

fn default_message(rule: &Rule) -> String {
    match rule.message.trim() {
        "" => format!("failed rule: {}", rule.rule.trim()),
        message => message.to_owned(),
    }
}
