//! Workloads and groups of pods (KEP-4671), as in `scheduling.k8s.io/v1alpha2`.

use std::collections::BTreeSet;

use orlop_core::rules::names::{dns_label, dns_subdomain};
use serde_json::Value;

use super::common::{immutable, named, named_if_set, path_segment};
use super::error::Errors;
use super::path::{Path, Read};

const SPEC: Path<'static> = Path::root("spec");
/// Most templates that a workload has.
const TEMPLATES_MAX: usize = 8;

pub(super) fn workload(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.has("controllerRef") {
        let (at, controller) = (SPEC.field("controllerRef"), &spec["controllerRef"]);
        named_if_set(e, &at, controller, "apiGroup", dns_subdomain);
        named(e, &at, controller, "kind", path_segment);
        named(e, &at, controller, "name", path_segment);
    }
    let (list, templates) = (SPEC.field("podGroupTemplates"), spec.list("podGroupTemplates"));
    if templates.is_empty() {
        return e.required(list, "must have at least one item");
    }
    if templates.len() > TEMPLATES_MAX {
        return e.too_many(list, templates.len(), TEMPLATES_MAX);
    }
    let mut names = BTreeSet::new();
    for (i, template) in templates.iter().enumerate() {
        let at = list.index(i);
        named(e, &at, template, "name", dns_label);
        if !names.insert(template.text("name")) {
            e.duplicate_text(at.field("name"), template.text("name"));
        }
        policy(e, &at.field("schedulingPolicy"), &template["schedulingPolicy"]);
    }
}

pub(super) fn workload_change(e: &mut Errors, old: &Value, new: &Value) {
    for field in ["controllerRef", "podGroupTemplates"] {
        immutable(e, SPEC.field(field), &old["spec"][field], &new["spec"][field]);
    }
}

pub(super) fn pod_group(e: &mut Errors, object: &Value) {
    let spec = &object["spec"];
    if spec.has("podGroupTemplateRef") {
        let at = SPEC.field("podGroupTemplateRef");
        let workload = &spec["podGroupTemplateRef"]["workload"];
        if workload.is_null() {
            e.invalid_text(at, "", "must specify one of: `workload`");
        } else {
            let at = at.field("workload");
            named(e, &at, workload, "workloadName", dns_subdomain);
            named(e, &at, workload, "podGroupTemplateName", dns_label);
        }
    }
    policy(e, &SPEC.field("schedulingPolicy"), &spec["schedulingPolicy"]);
}

pub(super) fn pod_group_change(e: &mut Errors, old: &Value, new: &Value) {
    for field in ["podGroupTemplateRef", "schedulingPolicy"] {
        immutable(e, SPEC.field(field), &old["spec"][field], &new["spec"][field]);
    }
}

/// One of two policies, and a gang is of one pod at least.
fn policy(e: &mut Errors, at: &Path<'_>, policy: &Value) {
    match (policy.has("basic"), policy.has("gang")) {
        (false, false) => e.invalid_text(*at, "", "must specify one of: `basic`, `gang`"),
        (true, true) => {
            e.invalid_text(*at, "{`basic`, `gang`}", "must specify exactly one of: `basic`, `gang`")
        }
        (true, false) => {}
        (false, true) => match policy["gang"].int("minCount") {
            0 => e.required(at.field("gang").field("minCount"), ""),
            ..0 => {
                let text = "must be greater than or equal to 1";
                e.invalid(at.field("gang").field("minCount"), &policy["gang"]["minCount"], text);
            }
            1.. => {}
        },
    }
}
