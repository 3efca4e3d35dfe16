//! Kubernetes' complaints about types in words for people who do not know Go.

/// Rewords `json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type []v1.Container`.
pub(super) fn wrong_type(message: &str) -> String {
    let parts = message.split_once("cannot unmarshal ").and_then(|(_, rest)| {
        let (found, rest) = rest.split_once(" into Go ")?;
        let (_, wanted) = rest.rsplit_once("of type ")?;
        Some((found, wanted))
    });
    match parts {
        Some((found, wanted)) => format!("{} is expected here, not {}", expected(wanted), given(found)),
        None => message.to_owned(),
    }
}

fn given(json: &str) -> String {
    match json.split_whitespace().next().unwrap_or_default() {
        "string" => "a text".to_owned(),
        "bool" => "true or false (a text must be quoted)".to_owned(),
        "array" => "a list".to_owned(),
        "object" => "a map of fields".to_owned(),
        kind => format!("a {kind}"),
    }
}

fn expected(go: &str) -> &'static str {
    match go {
        "string" => "a text",
        "bool" => "true or false",
        _ if go.starts_with("int") || go.starts_with("uint") => "a whole number",
        _ if go.starts_with("float") => "a number",
        _ if go.starts_with("[]") => "a list",
        _ => "a map of fields",
    }
}

#[test]
fn rewords_what_kubernetes_says() {
    let said =
        "json: cannot unmarshal number into Go struct field PodSpec.spec.containers of type []v1.Container";
    assert_eq!(wrong_type(said), "a list is expected here, not a number");
    assert_eq!(wrong_type("something else"), "something else");
}
