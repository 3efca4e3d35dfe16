//! Answers to the recorded cases of Kubernetes' printers.

use orlop_core::oracle::{Answer, Family, equal};
use serde_json::{Value, json};

use super::columns::printer;

/// Family `printers`.
pub const PRINTERS: Family = Family { name: "printers", answer, agrees: equal };

fn answer(input: &Value) -> Answer {
    let object = &input["object"];
    let Some(now) = input["now"].as_str().and_then(|now| now.parse().ok()) else {
        return Answer::Error("no time".into());
    };
    let group = object["apiVersion"].as_str().and_then(|v| v.split_once('/')).map_or("", |(group, _)| group);
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let plural = match kind.as_str() {
        "endpoints" => kind,
        k if k.ends_with('s') => format!("{k}es"),
        k if k.ends_with("cy") => format!("{}ies", &k[..k.len() - 1]),
        k => format!("{k}s"),
    };
    let printer = printer(group, &plural);
    let columns: Vec<Value> = printer
        .columns
        .iter()
        .map(|c| json!({"name": c.name, "type": c.ty, "format": c.format, "priority": c.priority}))
        .collect();
    Answer::Output(json!({"columns": columns, "rows": [(printer.cells)(object, now)]}))
}
