//! Comparing with what the real Kubernetes answers: the recorded cases, and one way to read, answer and count them.
//!
//! A crate that answers a family exposes it as a [`Family`]; its tests call [`Family::check`], and the program
//! `oracle` answers the same cases from standard input through the same function.

use std::io::Read;
use std::path::PathBuf;

use serde_json::{Value, json};

/// What a call answers: a value, or a refusal.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The call's result.
    Output(Value),
    /// Why the call refused its input.
    Error(String),
}

/// One recorded case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Names the case.
    pub id: String,
    /// What the call is given.
    pub input: Value,
    /// What Kubernetes answered.
    pub expected: Answer,
}

/// A family of cases, and how this implementation answers and compares them.
pub struct Family {
    /// The file's name without its ending, `quantity`.
    pub name: &'static str,
    /// Answers one input.
    pub answer: fn(&Value) -> Answer,
    /// Whether an answer (second) says the same as the recorded one (first), for this input.
    pub agrees: fn(&Value, &Answer, &Answer) -> bool,
}

/// How many answers agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Answers that agree.
    pub agreed: usize,
    /// All cases.
    pub cases: usize,
}

impl Tally {
    /// Whether every answer agrees.
    pub fn all(self) -> bool {
        self.agreed == self.cases
    }
}

impl Family {
    /// The line that the program `oracle` prints for one case.
    pub fn line(&self, id: &str, input: &Value) -> String {
        match (self.answer)(input) {
            Answer::Output(output) => json!({"id": id, "output": output}).to_string(),
            Answer::Error(error) => json!({"id": id, "error": error}).to_string(),
        }
    }

    /// Answers every recorded case that `wanted` picks, prints the first disagreements (five, or `ORLOP_SHOWN`) and `N of M agreed`. `None`,
    /// after saying so, where the recorded data is absent and not required (see [`shared`]).
    ///
    /// # Panics
    /// When the data is there but cannot be read, or is absent and required.
    pub fn check_some(&self, wanted: impl Fn(&Case) -> bool) -> Option<Tally> {
        let path = shared(&format!("oracle/{}.jsonl.gz", self.name))?;
        let cases: Vec<Case> = read(&path).into_iter().filter(|case| wanted(case)).collect();
        let mut agreed = 0;
        let most = std::env::var("ORLOP_SHOWN").ok().and_then(|n| n.parse().ok()).unwrap_or(5);
        let mut shown = 0;
        for case in &cases {
            let got = (self.answer)(&case.input);
            if (self.agrees)(&case.input, &case.expected, &got) {
                agreed += 1;
            } else if shown < most {
                shown += 1;
                println!(
                    "{}: disagrees on\n  input    {}\n  expected {}\n  got      {}",
                    case.id,
                    case.input,
                    text(&case.expected),
                    text(&got)
                );
            }
        }
        println!("{}: {agreed} of {} agreed", self.name, cases.len());
        Some(Tally { agreed, cases: cases.len() })
    }

    /// [`Family::check_some`] for all cases.
    pub fn check(&self) -> Option<Tally> {
        self.check_some(|_| true)
    }
}

/// Compares outputs for equality and refusals by being refusals.
pub fn equal(_input: &Value, expected: &Answer, got: &Answer) -> bool {
    match (expected, got) {
        (Answer::Output(a), Answer::Output(b)) => a == b,
        (Answer::Error(_), Answer::Error(_)) => true,
        _ => false,
    }
}

fn text(answer: &Answer) -> String {
    match answer {
        Answer::Output(value) => value.to_string(),
        Answer::Error(error) => format!("error: {error}"),
    }
}

/// A file of the recorded data: below `$ORLOP_SHARED`, by default `shared` beside the repository. `None`, after saying
/// so, where it is absent.
///
/// # Panics
/// When it is absent although `$ORLOP_REQUIRE` names `shared`.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ORLOP_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let path = root.join(file);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("ORLOP_REQUIRE").is_ok_and(|names| names.contains("shared"));
    assert!(!required, "{} is required but not there", path.display());
    eprintln!("ignored: {} is not there", path.display());
    None
}

/// The cases of a file.
///
/// # Panics
/// When the file cannot be read.
pub fn read(path: &std::path::Path) -> Vec<Case> {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut lines = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut lines)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    lines
        .lines()
        .map(|line| {
            let mut case: Value =
                serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let expected = match case.get("error") {
                Some(error) => Answer::Error(error.as_str().unwrap_or_default().to_owned()),
                None => Answer::Output(case["output"].take()),
            };
            Case {
                id: case["id"].as_str().unwrap_or_default().to_owned(),
                input: case["input"].take(),
                expected,
            }
        })
        .collect()
}
