//! Answers to the recorded cases of family `backoff` whose `op` is `restartBackoff`.

use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::oracle::{Answer, Family};
use serde_json::{Value, json};

use crate::Backoff;

/// The part of the family `backoff` that this crate answers; see [`answers`].
pub const BACKOFF: Family =
    Family { name: "backoff", answer: backoff, agrees: |_, expected, got| expected == got };

/// Whether a case of the family is one of restarting.
pub fn answers(input: &Value) -> bool {
    input["op"] == "restartBackoff"
}

fn backoff(input: &Value) -> Answer {
    let secs = |name: &str| Duration::from_secs(input[name].as_u64().unwrap_or(0));
    let (initial, max) = (secs("initialSeconds"), secs("maxSeconds"));
    let forget = if input["kind"] == "crashLoop" { Duration::from_secs(600) } else { max * 2 };
    let mut backoff = Backoff::new(initial, max, forget);
    let mut steps = Vec::new();
    for at in input["failuresAtSeconds"].as_array().into_iter().flatten().filter_map(Value::as_i64) {
        let now = Timestamp::from_secs(at);
        // The recorded clock begins at zero, and nothing failed before it.
        let earlier = Timestamp::from_secs((at - 15).max(0));
        let before = backoff.delay();
        let in_backoff = backoff.until(earlier).is_some_and(|until| until > now);
        let since_update = backoff.blocks(now);
        backoff.next(now, now);
        steps.push(json!({
            "delayAfterMillis": backoff.delay().as_millis() as u64,
            "delayBeforeMillis": before.as_millis() as u64,
            "inBackOffIfFailed15sAgo": in_backoff,
            "inBackOffSinceUpdate": since_update,
        }));
    }
    Answer::Output(json!({ "steps": steps }))
}
