//! The JSON paths of custom columns: `.spec.items[0].name`, `.status.conditions[?(@.type=="Ready")].status`.

use serde_json::Value;

/// A path through a tree.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    Where {
        path: Vec<Step>,
        equal: bool,
        value: Value,
    },
    /// What is not understood finds nothing.
    Nothing,
}

impl JsonPath {
    /// Reads a path; parts that are not understood find nothing.
    pub fn parse(text: &str) -> JsonPath {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        JsonPath(steps(text))
    }

    /// The values that the path leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        find(&self.0, value)
    }
}

fn steps(text: &str) -> Vec<Step> {
    let mut out = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some(end) = closing(inner) else {
                out.push(Step::Nothing);
                return out;
            };
            out.push(bracket(&inner[..end]));
            rest = &inner[end + 1..];
            continue;
        }
        let name = rest.strip_prefix('.').unwrap_or(rest);
        let (field, after) = field(name);
        match field.as_str() {
            "" if after.starts_with('[') => {}
            "" => return out,
            "*" => out.push(Step::All),
            _ => out.push(Step::Field(field)),
        }
        rest = after;
    }
    out
}

/// A field's name, in which `\.` stands for a dot, and what follows it.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, &text[at..]),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

/// Where the bracket ends that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Step {
    let text = text.trim();
    if text == "*" {
        return Step::All;
    }
    if let Ok(index) = text.parse() {
        return Step::Index(index);
    }
    if let Some(name) = quoted(text) {
        return Step::Field(name.to_owned());
    }
    let filter = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')'));
    let parts = filter.and_then(|f| match f.split_once("==") {
        Some((path, value)) => Some((path, true, value)),
        None => f.split_once("!=").map(|(path, value)| (path, false, value)),
    });
    let Some((path, equal, value)) = parts else { return Step::Nothing };
    let value = value.trim();
    let value = match quoted(value) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(value).unwrap_or_default(),
    };
    Step::Where { path: steps(path.trim().trim_start_matches('@')), equal, value }
}

fn quoted(text: &str) -> Option<&str> {
    let inside = |q| text.strip_prefix(q).and_then(|t: &str| t.strip_suffix(q));
    inside('\'').or_else(|| inside('"'))
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![value];
    for step in steps {
        found = found.into_iter().flat_map(|value| take(step, value)).collect();
    }
    found
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(at), Value::Array(items)) => {
            let at = if *at < 0 { at + items.len() as i64 } else { *at };
            usize::try_from(at).ok().and_then(|at| items.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Where { path, equal, value: wanted }, Value::Array(items)) => items
            .iter()
            .filter(|item| find(path, item).first().is_some_and(|found| (*found == wanted) == *equal))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_custom_columns_ask_for() {
        let object = json!({"spec": {"a.b": "dot", "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}]}});
        let show = |path: &str| {
            JsonPath::parse(path).find(&object).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(show(".spec.list[*].n"), "\"x\" \"y\"");
        assert_eq!(show(".spec.list[0].v"), "1");
        assert_eq!(show(".spec.list[-1].v"), "2");
        assert_eq!(show(".spec.list[?(@.n==\"y\")].v"), "2");
        assert_eq!(show(".spec.a\\.b"), "\"dot\"");
        assert_eq!(show(".spec['a.b']"), "\"dot\"");
        assert_eq!(show(".spec.absent"), "");
        assert_eq!(show(".spec.list[?(bad"), "");
    }
}
