//! What the benchmark programs share: the [`families`] of recorded cases that Orlop answers.

use orlop_core::oracle::{Answer, Family};
use serde_json::{Value, json};

/// The family `backoff` is answered by two crates: the scheduler for its pods, the node for containers and images.
const BACKOFF: &[Family] = &[Family {
    name: "backoff",
    answer: |input| match orlop_scheduler::oracle::answers_backoff(input) {
        true => (orlop_scheduler::oracle::BACKOFF.answer)(input),
        false => (orlop_node::oracle::BACKOFF.answer)(input),
    },
    agrees: |_, expected, got| expected == got,
}];

/// Every family of recorded cases that some crate answers.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [
        orlop_core::rules::oracle::FAMILIES,
        orlop_api::oracle::FAMILIES,
        orlop_netplan::oracle::FAMILIES,
        orlop_scheduler::oracle::FAMILIES,
        BACKOFF,
        orlop_controllers::oracle::FAMILIES,
    ]
    .into_iter()
    .flatten()
}

/// Answers one case, given as a line of JSON, in the form of the recorded answers: `output` or `error`, or `expect`
/// where the case has its input at top level.
///
/// # Errors
/// When the line is not a JSON object.
pub fn answer(family: &Family, line: &str) -> Result<String, serde_json::Error> {
    let mut case: serde_json::Map<String, Value> = serde_json::from_str(line)?;
    let id = case.shift_remove("id").unwrap_or_default();
    let input = case.shift_remove("input");
    let field = if input.is_some() { "output" } else { "expect" };
    let answer = match (family.answer)(&input.unwrap_or(Value::Object(case))) {
        Answer::Output(output) => json!({"id": id, field: output}),
        Answer::Error(error) => json!({"id": id, "error": error}),
    };
    Ok(answer.to_string())
}
