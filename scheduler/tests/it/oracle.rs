//! The recorded decisions of kube-scheduler 1.36.2.

use std::collections::BTreeMap;
use std::io::Read;

use orlop_core::oracle::{Answer, shared};
use orlop_scheduler::oracle::{BACKOFF, FAMILIES, answers_backoff};
use serde_json::Value;

#[test]
fn decisions_equal_those_of_kube_scheduler() {
    let Some(path) = shared("oracle/scheduler-decisions.jsonl.gz") else { return };
    let mut lines = String::new();
    let file = std::fs::File::open(&path).expect("the recording can be opened");
    flate2::read::GzDecoder::new(file).read_to_string(&mut lines).expect("the recording can be read");
    let family = &FAMILIES[0];
    let (mut agreed, mut cases) = (0, 0);
    let mut by_difference: BTreeMap<String, usize> = BTreeMap::new();
    // Without optimisation one in ten, so that the tests of a crate take seconds.
    let every = if cfg!(debug_assertions) { 10 } else { 1 };
    for line in lines.lines().step_by(every) {
        let mut case: Value = serde_json::from_str(line).expect("a case is JSON");
        let expected = case["expect"].take();
        let features: Vec<String> = serde_json::from_value(case["features"].take()).unwrap_or_default();
        let got = match (family.answer)(&case) {
            Answer::Output(got) => got,
            Answer::Error(error) => panic!("{}: {error}", case["id"]),
        };
        cases += 1;
        if got == expected {
            agreed += 1;
        } else {
            let what = difference(&expected, &got);
            if by_difference.len() < 6 && !by_difference.contains_key(&what) {
                show(&case, &features, &expected, &got);
            }
            *by_difference.entry(what).or_default() += 1;
        }
    }
    by_difference.iter().for_each(|(what, n)| println!("{n} differ in {what}"));
    println!("scheduler-decisions: {agreed} of {cases} agreed");
    assert!(cases > 0, "the recording has cases");
    assert_eq!(agreed, cases);
}

#[test]
fn waits_equal_those_of_kube_scheduler() {
    if let Some(tally) = BACKOFF.check_some(|case| answers_backoff(&case.input)) {
        assert!(tally.all() && tally.cases > 0, "{tally:?}");
    }
}

/// The first field that differs.
fn difference(expected: &Value, got: &Value) -> String {
    for field in ["preFilter", "preFilterNodes", "rejected", "scores", "totals", "best", "preemption"] {
        if expected.get(field) != got.get(field) {
            if field == "scores"
                && let (Some(expected), Some(got)) = (expected[field].as_object(), got[field].as_object())
            {
                for (node, plugins) in expected {
                    for (plugin, score) in plugins.as_object().into_iter().flatten() {
                        if got.get(node).and_then(|n| n.get(plugin)) != Some(score) {
                            return format!("scores {plugin}");
                        }
                    }
                }
            }
            return field.to_owned();
        }
    }
    "nothing".to_owned()
}

fn show(case: &Value, features: &[String], expected: &Value, got: &Value) {
    println!("{} ({}): disagrees", case["id"], features.join(", "));
    for field in ["preFilter", "preFilterNodes", "rejected", "scores", "totals", "best", "preemption"] {
        let (a, b) = (&expected[field], &got[field]);
        if a != b {
            match (a.as_object(), b.as_object()) {
                (Some(x), Some(y)) => {
                    for key in x.keys().chain(y.keys().filter(|k| !x.contains_key(*k))) {
                        if x.get(key) != y.get(key) {
                            println!(
                                "  {field} {key}\n    expected {:?}\n    got      {:?}",
                                x.get(key),
                                y.get(key)
                            );
                        }
                    }
                }
                _ => println!("  {field}\n    expected {a}\n    got      {b}"),
            }
        }
    }
    println!("  pod {}", case["pod"]);
}
