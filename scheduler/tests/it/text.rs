//! Objects in the notation of [`Scene`], so that a test shows a cluster and not constructors.

use orlop_scheduler::testkit::{Line, Scene};
use serde_json::Value;

/// A line as an object of the API.
pub(crate) fn object(line: &str) -> Option<Value> {
    let line: Line = line.parse().unwrap_or_else(|error| panic!("{error}"));
    Some(line.object().unwrap_or_else(|error| panic!("{line}: {error}")))
}

/// All lines, as objects.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let scene: Scene = text.parse().unwrap_or_else(|error| panic!("{error}"));
    scene.lines.iter().filter_map(|line| object(&line.to_string())).collect()
}
