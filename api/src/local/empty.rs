//! What a refusal quotes where a list or a map has nothing in it: `{}` or `[]` if it was sent so, `null` if it was not
//! sent at all. Objects do not keep the difference; refusals are rare enough to look at what was sent again.

use serde_json::Value;

use crate::status::Status;

/// The refusal with empty values spelt as they were sent.
pub(super) fn spelt(mut status: Status, sent: impl FnOnce() -> Option<Value>) -> Status {
    let null = |text: &str| LEADS.iter().any(|lead| text.contains(&format!("{lead}null")));
    if status.code != 422 || !null(&status.message) {
        return status;
    }
    let Some(sent) = sent() else { return status };
    let causes = status.details.iter_mut().flat_map(|details| &mut details.causes);
    for cause in causes {
        let shown = match at(&sent, &cause.field) {
            Some(Value::Object(map)) if map.is_empty() => "{}",
            Some(Value::Array(items)) if items.is_empty() => "[]",
            _ => continue,
        };
        for lead in LEADS {
            let Some(rest) = cause.message.strip_prefix(lead).and_then(|rest| rest.strip_prefix("null")) else {
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

/// The value at a path as refusals write it: `spec.ports[0].name`, `metadata.labels[a.b/c]`.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut value = value;
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (key, after) = inside.split_once(']')?;
            value = match value {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
                value => value.get(key)?,
            };
            rest = after;
        } else {
            rest = rest.strip_prefix('.').unwrap_or(rest);
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            value = value.get(&rest[..end])?;
            rest = &rest[end..];
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::status::Cause;

    #[test]
    fn an_empty_map_that_was_sent_is_quoted_as_one() {
        let cause = |field: &str| Cause::invalid(field, &Value::Null, "no");
        let refusal = || Status::invalid("", "Pod", "p", vec![cause("spec.list[0].labels"), cause("spec.other")]);
        let sent = json!({"spec": {"list": [{"labels": {}}]}});
        let status = spelt(refusal(), || Some(sent));
        assert!(status.message.contains("spec.list[0].labels: Invalid value: {}: no"), "{}", status.message);
        assert!(status.message.contains("spec.other: Invalid value: null: no"), "{}", status.message);
        assert_eq!(spelt(refusal(), || None), refusal());
    }
}
