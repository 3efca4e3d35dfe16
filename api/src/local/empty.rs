//! What a refusal quotes where a list or a map has nothing in it: `{}` or `[]` if it was sent so, `null` if it was not
//! sent at all. Objects do not keep the difference; refusals are rare enough to look at what was sent again.

use orlop_core::schema::{Schema, StructId, Type};
use serde_json::Value;

use crate::status::Status;

/// The refusal with empty values spelt as they were sent.
pub(super) fn spelt(
    mut status: Status,
    (schema, ty): (&Schema, StructId),
    sent: impl FnOnce() -> Option<Value>,
) -> Status {
    let null = |text: &str| LEADS.iter().any(|lead| text.contains(&format!("{lead}null")));
    if status.code != 422 || !null(&status.message) {
        return status;
    }
    let Some(sent) = sent() else { return status };
    let causes = status.details.iter_mut().flat_map(|details| &mut details.causes);
    for cause in causes {
        // A struct without fields is another matter: it is quoted as the rule would have it.
        let shown = match at((schema, Type::Struct(ty)), &sent, &cause.field) {
            Some((Type::Map(_), Value::Object(map))) if map.is_empty() => "{}",
            Some((Type::List(_), Value::Array(items))) if items.is_empty() => "[]",
            Some((Type::Bytes | Type::String, Value::String(text))) if text.is_empty() => "\"\"",
            _ => continue,
        };
        for lead in LEADS {
            let Some(rest) = cause.message.strip_prefix(lead).and_then(|rest| rest.strip_prefix("null"))
            else {
                continue;
            };
            let said = format!("{}: {}", cause.field, cause.message);
            cause.message = format!("{lead}{shown}{rest}");
            let now = format!("{}: {}", cause.field, cause.message);
            status.message = status.message.replace(&said, &now);
            break;
        }
    }
    status
}

const LEADS: [&str; 2] = ["Invalid value: ", "Unsupported value: "];

/// The value at a path as refusals write it: `spec.ports[0].name`, `metadata.labels[a.b/c]`; and its type.
fn at<'a>((schema, mut ty): (&Schema, Type), mut value: &'a Value, path: &str) -> Option<(Type, &'a Value)> {
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']')?;
            (ty, value) = match (ty, value) {
                (Type::List(list), Value::Array(items)) => {
                    (list.item, items.get(key.parse::<usize>().ok()?)?)
                }
                (Type::Map(map), Value::Object(entries)) => (map.value, entries.get(key)?),
                _ => return None,
            };
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let Type::Struct(id) = ty else { return None };
            (ty, value) = (schema[id].field(&rest[..end])?.ty.clone(), value.get(&rest[..end])?);
            rest = &rest[end..];
        }
    }
    Some((ty, value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::Cause;

    #[test]
    fn an_empty_map_that_was_sent_is_quoted_as_one() {
        let cause = |field: &str| Cause::invalid(field, &Value::Null, "no");
        let causes = || vec![cause("spec.template.metadata.labels"), cause("spec.selector")];
        let refusal = || Status::invalid("apps", "DaemonSet", "d", causes());
        let schema = Schema::builtin();
        let ty = (&**schema, schema.by_kind("apps", "v1", "DaemonSet").expect("a kind"));
        let sent = json!({"spec": {"template": {"metadata": {"labels": {}}}, "selector": {}}});
        let status = spelt(refusal(), ty, || Some(sent));
        let message = &status.message;
        assert!(message.contains("spec.template.metadata.labels: Invalid value: {}: no"), "{message}");
        assert!(message.contains("spec.selector: Invalid value: null: no"), "{message}");
        assert_eq!(spelt(refusal(), ty, || None), refusal());
    }
}
