//! Whether a CustomResourceDefinition may be stored.
//!
//! Kubernetes judges its internal form, in which what all versions have in common stands once, at the top: that is why
//! complaints about it name `spec.validation` and not `spec.versions[0].schema`.

use orlop_core::rules::names::{dns_1035_label, dns_subdomain};
use serde_json::Value;

use super::openapi::{self, Options};
use super::schema::{flag, text, texts};
use super::{approval, field_path, formats, ratchet, structural};
use crate::validation::error::Errors;
use crate::validation::path::{Path, Read};
use crate::validation::{FieldError, changed_metadata, new_metadata, webhook_client};

const SPEC: Path<'static> = Path::root("spec");
const STATUS: Path<'static> = Path::root("status");
const COLUMN_TYPES: &str = "must be one of boolean,date,integer,number,string";
const COLUMN_FORMATS: &str = "must be one of byte,date,date-time,double,float,int32,int64,password";
const SELECTABLE_MAX: usize = 8;

/// What all versions have in common.
struct Common<'a> {
    schema: Option<&'a Value>,
    subresources: Option<&'a Value>,
    columns: Option<&'a Value>,
    selectable: Option<&'a Value>,
}

impl<'a> Common<'a> {
    fn of(spec: &'a Value) -> Common<'a> {
        let versions = spec.list("versions");
        let shared = |field: &str| {
            let first = versions.first()?;
            let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
            let alike = |v: &Value| {
                empty(&v[field]) && empty(&first[field]) || ratchet::same(&v[field], &first[field])
            };
            versions.iter().all(alike).then_some(&first[field])
        };
        Common {
            schema: shared("schema"),
            subresources: shared("subresources"),
            columns: shared("additionalPrinterColumns"),
            selectable: shared("selectableFields"),
        }
    }
}

impl Options {
    fn for_new() -> Options {
        Options {
            schema_required: true,
            valid_types: true,
            structural: true,
            pruned_defaults: true,
            atomic_sets: true,
            map_keys: true,
            known_review_version: true,
            names_immutable: false,
            any_cost: false,
        }
    }

    /// What was wrong before may stay wrong.
    fn for_change(old: &Value) -> Options {
        let spec = &old["spec"];
        let schemas: Vec<&Value> =
            spec.list("versions").iter().map(|v| &v["schema"]["openAPIV3Schema"]).collect();
        let given = || schemas.iter().filter(|s| s.is_object());
        let structural = |schema: &Value| {
            let mut errors = Errors::default();
            structural::check(&mut errors, &Path::root("schema"), schema);
            structural::unreadable(schema).is_none() && errors.0.is_empty()
        };
        let pruned = |schema: &Value| {
            let mut errors = Errors::default();
            openapi::defaults(&mut errors, &Path::root("schema"), schema, true);
            errors.0.iter().all(|e| e.detail != "must not have unknown fields")
        };
        let versions = spec["conversion"]["webhook"].list("conversionReviewVersions");
        Options {
            schema_required: !schemas.is_empty() && schemas.iter().all(|s| s.is_object()),
            valid_types: !given().any(|s| {
                openapi::had(s, |field, detail| field.ends_with(".type") && detail.starts_with("supported"))
            }),
            structural: given().all(|s| structural(s)),
            pruned_defaults: given().all(|s| pruned(s)),
            atomic_sets: !given().any(|s| openapi::had(s, |_, detail| detail.contains("list-type=set"))),
            map_keys: !given().any(|s| {
                openapi::had(s, |_, detail| {
                    detail.starts_with("this property is in x-kubernetes-list-map-keys")
                        || detail.starts_with("cannot be nullable")
                })
            }),
            known_review_version: versions.is_empty() || versions.iter().any(known_review),
            names_immutable: old["status"]
                .list("conditions")
                .iter()
                .any(|c| c["type"] == "Established" && c["status"] == "True"),
            any_cost: false,
        }
    }
}

fn known_review(version: &Value) -> bool {
    matches!(version.as_str(), Some("v1" | "v1beta1"))
}

/// Complains of a new definition.
pub(crate) fn create(e: &mut Errors, object: &Value) {
    e.0.extend(new_metadata(object, dns_subdomain));
    let wanted = format!("{}.{}", object["spec"]["names"].text("plural"), object["spec"].text("group"));
    for field in ["name", "generateName"] {
        let name = object["metadata"].text(field);
        if !name.is_empty() && name != wanted {
            let at = Path::root("metadata");
            e.invalid_text(at.field(field), name, "must be spec.names.plural+\".\"+spec.group");
        }
    }
    whole(e, object, None, &Options::for_new());
}

/// Complains of a change of a definition, but for its metadata.
pub(crate) fn update(e: &mut Errors, old: &Value, object: &Value) {
    let options = Options::for_change(old);
    whole(e, object, Some(old), &options);
}

fn whole(e: &mut Errors, object: &Value, old: Option<&Value>, options: &Options) {
    let spec = &object["spec"];
    check_spec(e, spec, old.map(|old| &old["spec"]), options);
    if let Some(old) = old {
        immutable(e, spec, &old["spec"], options);
    }
    names(e, &STATUS.field("acceptedNames"), &object["status"]["acceptedNames"]);
    stored_versions(e, &object["status"], spec);
    approval::check(e, object, old);
    let keeps = |object: &Value| object["spec"].is_true("preserveUnknownFields");
    if keeps(object) && !old.is_some_and(keeps) {
        let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        e.invalid(SPEC.field("preserveUnknownFields"), &true.into(), why);
    }
}

/// Complains of a change of a definition's status.
pub(crate) fn update_status(old: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors(changed_metadata(old, object));
    names(&mut errors, &STATUS.field("acceptedNames"), &object["status"]["acceptedNames"]);
    errors.0
}

/// What a definition's author is warned of: formats that nobody checks.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    fn walk(schema: &Value, out: &mut Vec<String>) {
        match schema {
            Value::Object(map) => {
                let format = text(schema, "format");
                if !format.is_empty() && schema["format"].is_string() && !formats::is_known(format) {
                    out.push(format!("unrecognized format {format:?}"));
                }
                for (field, below) in map {
                    match (field.as_str(), below) {
                        ("properties", Value::Object(properties)) => {
                            properties.values().for_each(|below| walk(below, out));
                        }
                        ("items" | "additionalProperties" | "not" | "allOf" | "anyOf" | "oneOf", below) => {
                            walk(below, out);
                        }
                        _ => {}
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|below| walk(below, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    for version in object["spec"].list("versions") {
        walk(&version["schema"]["openAPIV3Schema"], &mut out);
    }
    let mut seen = Vec::new();
    out.retain(|warning| {
        let new = !seen.contains(warning);
        seen.push(warning.clone());
        new
    });
    out
}

fn immutable(e: &mut Errors, spec: &Value, old: &Value, options: &Options) {
    let at = SPEC.field("names");
    let mut same = |at: Path<'_>, new: &Value, old: &Value| {
        if new != old {
            e.invalid(at, new, "field is immutable");
        }
    };
    if options.names_immutable {
        same(SPEC.field("scope"), &spec["scope"], &old["scope"]);
        same(at.field("kind"), &spec["names"]["kind"], &old["names"]["kind"]);
    }
    same(SPEC.field("group"), &spec["group"], &old["group"]);
    same(at.field("plural"), &spec["names"]["plural"], &old["names"]["plural"]);
}

fn check_spec(e: &mut Errors, spec: &Value, old: Option<&Value>, options: &Options) {
    let group = spec.text("group");
    let wrong = dns_subdomain(group);
    if group.is_empty() {
        e.required(SPEC.field("group"), "");
    } else if !wrong.is_empty() {
        e.invalid_text(SPEC.field("group"), group, &wrong.join(","));
    } else if !group.contains('.') {
        e.invalid_text(SPEC.field("group"), group, "should be a domain with at least one dot");
    }
    match spec.text("scope") {
        "" => e.required(SPEC.field("scope"), ""),
        "Cluster" | "Namespaced" => {}
        _ => e.unsupported(SPEC.field("scope"), &spec["scope"], &["Cluster", "Namespaced"]),
    }
    let common = Common::of(spec);
    let shared_schema = common.schema.map(|s| &s["openAPIV3Schema"]).filter(|s| !s.is_null());
    let list = SPEC.field("versions");
    let versions = spec.list("versions");
    if options.schema_required && shared_schema.is_none() {
        for (i, version) in versions.iter().enumerate() {
            if common.schema.is_some() || version["schema"]["openAPIV3Schema"].is_null() {
                e.required(list.index(i).field("schema").field("openAPIV3Schema"), "");
            }
        }
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut unique = true;
    for (i, version) in versions.iter().enumerate() {
        let name = version.text("name");
        unique &= !seen.contains(&name);
        seen.push(name);
        let wrong = dns_1035_label(name);
        if !wrong.is_empty() {
            e.invalid_text(list.index(i).field("name"), name, &wrong.join(","));
            if i == 0 && !name.is_empty() {
                e.invalid_text(SPEC.field("version"), name, &wrong.join(","));
            }
        }
        check_version(e, &list.index(i), version, &common, same_schema(version, old, options));
    }
    if !unique {
        e.invalid(list, &spec["versions"], "must contain unique version names");
    }
    if versions.iter().filter(|v| v.is_true("storage")).count() != 1 {
        e.invalid(list, &spec["versions"], "must have exactly one version marked as storage version");
    }
    let at = SPEC.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if spec["names"].text(field).is_empty() {
            e.required(at.field(field), "");
        }
    }
    names(e, &at, &spec["names"]);
    let none = Value::Null;
    let any_status = versions.iter().any(|v| !v["subresources"]["status"].is_null());
    check_schema(e, &SPEC.field("validation"), common.schema.unwrap_or(&none), any_status, options);
    subresources(e, &SPEC.field("subresources"), common.subresources.unwrap_or(&none));
    columns(e, &SPEC.field("additionalPrinterColumns"), common.columns.unwrap_or(&none));
    if let Some(fields) = common.selectable {
        selectable(e, &SPEC.field("selectableFields"), fields, versions.first().map(|v| &v["schema"]));
    }
    conversion(e, spec, options);
}

/// A version whose schema stays is not asked again what its single rules cost.
fn same_schema(version: &Value, old: Option<&Value>, options: &Options) -> Options {
    let old = old.and_then(|old| old.list("versions").iter().find(|v| v["name"] == version["name"]));
    let unchanged = old.is_some_and(|old| ratchet::same(&old["schema"], &version["schema"]));
    Options { any_cost: options.any_cost || unchanged, ..*options }
}

fn check_version(e: &mut Errors, at: &Path<'_>, version: &Value, common: &Common<'_>, options: Options) {
    if let Some(warning) = version["deprecationWarning"].as_str() {
        let at = at.field("deprecationWarning");
        if !version.is_true("deprecated") {
            e.invalid_text(at, warning, "can only be set for deprecated versions");
        }
        if warning.len() > 256 {
            e.invalid_text(at, warning, "must be <= 256 characters long");
        } else if warning.is_empty() {
            e.invalid_text(at, warning, "must not be empty");
        }
        if let Some((i, c)) = warning.char_indices().find(|(_, c)| c.is_control()) {
            let why = format!(
                "must only contain printable UTF-8 characters; non-printable character found at index {i}: {c:?}"
            );
            e.invalid_text(at, warning, &why);
        }
    }
    if common.schema.is_none() {
        let status = !version["subresources"]["status"].is_null();
        check_schema(e, &at.field("schema"), &version["schema"], status, &options);
    }
    if common.subresources.is_none() {
        subresources(e, &at.field("subresources"), &version["subresources"]);
    }
    if common.columns.is_none() {
        columns(e, &at.field("additionalPrinterColumns"), &version["additionalPrinterColumns"]);
    }
    if common.selectable.is_none() {
        let schema = Some(&version["schema"]);
        selectable(e, &at.field("selectableFields"), &version["selectableFields"], schema);
    }
}

/// What may stand at the root of a schema beside a status that is written apart.
const ROOT_FIELDS: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

fn check_schema(e: &mut Errors, at: &Path<'_>, validation: &Value, status: bool, options: &Options) {
    let schema = &validation["openAPIV3Schema"];
    if !schema.is_object() {
        return;
    }
    let before = e.0.len();
    let at = at.field("openAPIV3Schema");
    if status {
        let said = |(field, value): &(&String, &Value)| {
            !matches!(value, Value::Null | Value::Bool(false)) && !ROOT_FIELDS.contains(&field.as_str())
        };
        let ty = schema.text("type");
        if !ty.is_empty() && ty != "object" {
            let why = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
            e.invalid_text(at.field("type"), ty, why);
        } else if schema.as_object().into_iter().flatten().any(|entry| said(&entry)) {
            let names = "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations";
            let why = format!(
                "only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            e.invalid(at, schema, &why);
        }
    }
    if flag(schema, "nullable") {
        e.forbidden(at.field("nullable"), "nullable cannot be true at the root");
    }
    let unreadable = structural::unreadable(schema).filter(|_| options.structural);
    let mut structural = false;
    if options.structural && unreadable.is_none() {
        let mut errors = Errors::default();
        structural::check(&mut errors, &at, schema);
        if errors.0.is_empty() {
            openapi::defaults(&mut errors, &at, schema, options.pruned_defaults);
        }
        structural = errors.0.is_empty();
        e.0.extend(errors.0);
    }
    openapi::check(e, &at, schema, structural, options);
    if let Some(why) = unreadable.filter(|_| e.0.len() == before) {
        e.invalid_text(at, "", &why);
    }
}

fn names(e: &mut Errors, at: &Path<'_>, names: &Value) {
    for field in ["plural", "singular"] {
        let name = names.text(field);
        let wrong = dns_1035_label(name);
        if !name.is_empty() && !wrong.is_empty() {
            e.invalid_text(at.field(field), name, &wrong.join(","));
        }
    }
    for field in ["kind", "listKind"] {
        let name = names.text(field);
        let wrong = dns_1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            e.invalid_text(at.field(field), name, &why);
        }
    }
    for field in ["shortNames", "categories"] {
        let list = at.field(field);
        for (i, name) in texts(names, field).enumerate() {
            let wrong = dns_1035_label(name);
            if !wrong.is_empty() {
                e.invalid_text(list.index(i), name, &wrong.join(","));
            }
        }
    }
    let kind = names.text("kind");
    if !kind.is_empty() && kind == names.text("listKind") {
        e.invalid_text(at.field("listKind"), kind, "kind and listKind may not be the same");
    }
}

fn simple_path(e: &mut Errors, at: Path<'_>, path: &str) -> bool {
    if path.starts_with('.') {
        return true;
    }
    e.invalid_text(at, path, "must be a simple json path starting with .");
    false
}

fn subresources(e: &mut Errors, at: &Path<'_>, subresources: &Value) {
    let scale = &subresources["scale"];
    if scale.is_null() {
        return;
    }
    let at = at.field("scale");
    for (field, under) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = scale.text(field);
        let at = at.field(field);
        if path.is_empty() {
            e.required(at, "");
        } else if simple_path(e, at, path) && !path.starts_with(under) {
            let why = format!("should be a json path under {}", under.trim_end_matches('.'));
            e.invalid_text(at, path, &why);
        }
    }
    let path = scale.text("labelSelectorPath");
    let at = at.field("labelSelectorPath");
    if !path.is_empty()
        && simple_path(e, at, path)
        && !path.starts_with(".spec.")
        && !path.starts_with(".status.")
    {
        e.invalid_text(at, path, "should be a json path under either .spec or .status");
    }
}

fn columns(e: &mut Errors, at: &Path<'_>, columns: &Value) {
    for (i, column) in columns.as_array().into_iter().flatten().enumerate() {
        let at = at.index(i);
        if column.text("name").is_empty() {
            e.required(at.field("name"), "");
        }
        match column.text("type") {
            "" => e.required(at.field("type"), COLUMN_TYPES),
            "boolean" | "date" | "integer" | "number" | "string" => {}
            other => e.invalid_text(at.field("type"), other, COLUMN_TYPES),
        }
        let known = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
        let format = column.text("format");
        if !format.is_empty() && !known.contains(&format) {
            e.invalid_text(at.field("format"), format, COLUMN_FORMATS);
        }
        match column.text("jsonPath") {
            "" => e.required(at.field("JSONPath"), ""),
            path => {
                simple_path(e, at.field("JSONPath"), path);
            }
        }
    }
}

fn selectable(e: &mut Errors, at: &Path<'_>, fields: &Value, validation: Option<&Value>) {
    let fields = fields.as_array().map_or(&[][..], Vec::as_slice);
    if fields.is_empty() {
        return;
    }
    let none = Value::Null;
    let schema = validation.map_or(&none, |v| &v["openAPIV3Schema"]);
    if !schema.is_object() {
        e.invalid_text(*at, "", "may only be set when spec.validations.schema is not included");
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in fields.iter().enumerate() {
        let at = at.index(i);
        let at = at.field("jsonPath");
        let path = field.text("jsonPath");
        if path.is_empty() {
            e.required(at, "");
            continue;
        }
        let found = match field_path::find(path, schema, false) {
            Ok(found) => found,
            Err(why) => {
                e.invalid_text(at, path, &format!("is an invalid path: {why}"));
                continue;
            }
        };
        if found.root == "metadata" {
            e.invalid_text(at, path, "must not point to fields in metadata");
        }
        if !matches!(text(found.schema, "type"), "string" | "boolean" | "integer") {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            e.invalid_text(at, path, why);
        }
        if seen.contains(&found.path) {
            e.duplicate_text(at, path);
        } else {
            seen.push(found.path);
        }
    }
    if seen.len() > SELECTABLE_MAX {
        let start = format!("Too many: {}", seen.len());
        let why = format!("must have at most {SELECTABLE_MAX} items");
        e.push(crate::validation::ErrorType::TooMany, *at, start, &why);
    }
}

fn conversion(e: &mut Errors, spec: &Value, options: &Options) {
    let conversion = &spec["conversion"];
    if conversion.is_null() {
        return;
    }
    let at = SPEC.field("conversion");
    let strategy = conversion.text("strategy");
    if strategy != "None" && spec.is_true("preserveUnknownFields") {
        e.invalid_text(at.field("strategy"), strategy, "must be None if spec.preserveUnknownFields is true");
    }
    match strategy {
        "" => e.required(at.field("strategy"), ""),
        "None" | "Webhook" => {}
        _ => e.unsupported(at.field("strategy"), &conversion["strategy"], &["None", "Webhook"]),
    }
    let webhook = &conversion["webhook"];
    let (client, versions) = (&webhook["clientConfig"], webhook.list("conversionReviewVersions"));
    let (client_at, versions_at) = (at.field("webhookClientConfig"), at.field("conversionReviewVersions"));
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if !client.is_null() {
            e.forbidden(client_at, why);
        }
        if !versions.is_empty() {
            e.forbidden(versions_at, why);
        }
        return;
    }
    if client.is_null() {
        e.required(client_at, "required when strategy is set to Webhook");
    } else {
        webhook_client(e, &client_at, client);
    }
    if versions.is_empty() {
        e.required(versions_at, "");
        return;
    }
    for (i, version) in versions.iter().enumerate() {
        if versions[..i].contains(version) {
            e.invalid(versions_at.index(i), version, "duplicate version");
            continue;
        }
        e.rule(
            versions_at.index(i),
            version.as_str().unwrap_or_default(),
            dns_1035_label(version.as_str().unwrap_or_default()),
        );
    }
    if options.known_review_version && !versions.iter().any(known_review) {
        let why = "must include at least one of v1, v1beta1";
        e.invalid(versions_at, &webhook["conversionReviewVersions"], why);
    }
}

fn stored_versions(e: &mut Errors, status: &Value, spec: &Value) {
    let at = STATUS.field("storedVersions");
    let stored = status.list("storedVersions");
    if stored.is_empty() {
        e.invalid(at, &status["storedVersions"], "must have at least one stored version");
        return;
    }
    let versions = spec.list("versions");
    for version in versions.iter().filter(|v| v.is_true("storage")) {
        if !stored.contains(&version["name"]) {
            let why = format!("must have the storage version {}", version.text("name"));
            e.invalid(at, &status["storedVersions"], &why);
        }
    }
    for (i, name) in stored.iter().enumerate() {
        if !versions.iter().any(|v| v["name"] == *name) {
            let shown = name.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {shown} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {shown} and removes {shown} from status.storedVersions"
            );
            e.invalid(at.index(i), name, &why);
        }
    }
}
