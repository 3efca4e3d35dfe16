//! What differs from run to run, replaced by placeholders.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Names that the cluster made up, with what stands for them; longest first.
#[derive(Clone, Default)]
pub(super) struct Names(pub(super) Vec<(String, String)>);

impl Names {
    pub(super) fn new(names: BTreeMap<String, String>) -> Names {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        Names(names)
    }

    pub(super) fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, placeholder) in &self.0 {
            if text.contains(name.as_str()) {
                text = replace_word(&text, name, placeholder);
            }
        }
        text
    }
}

/// Replaces `word` where it is not a part of a longer name.
fn replace_word(text: &str, word: &str, with: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let before = rest[..at].chars().next_back().or(out.chars().next_back());
        let after = rest[at + word.len()..].chars().next();
        let part = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        out.push_str(&rest[..at]);
        // A dash before belongs to an owner's name in front of a hash; behind, to what was generated from it.
        out.push_str(if part(before) || part(after) { word } else { with });
        rest = &rest[at + word.len()..];
    }
    out.push_str(rest);
    out
}

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a valid pattern"));
    };
}

pattern!(UUID, r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b");
pattern!(TIME, r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z| ?[+-]\d\d:?\d\d( UTC)?)");
pattern!(LONG_TIME, r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}");
pattern!(HEADING, r"^(GROUP|KIND|VERSION|RESOURCE|FIELD|FIELDS|DESCRIPTION):|^error:|^\s*enum:");
pattern!(FIELD, r"^\s*\S+\s+<[^<>]+>( -required-)?$");
pattern!(REVISION, r#"("?resourceVersion"?: )"\d+""#);
pattern!(POD_IP, r"\b10\.244\.\d+\.\d+\b(/\d+)?");
pattern!(CLUSTER_IP, r"\b10\.96\.\d+\.\d+\b(/\d+)?");
pattern!(NODE_PORT, r#"(\d:|  |"?nodePort"?: )(3\d{4})\b(/(?:TCP|UDP|SCTP))?"#);
pattern!(EVENT, r"\.[0-9a-f]{16}\b");
pattern!(SERVER, r"\b(127\.0\.0\.1|192\.0\.2\.1|localhost):\d+\b");
pattern!(KLOG, r"(?m)^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ");
pattern!(CERTIFICATE, r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\\?n?");
pattern!(TOKEN, r"\beyJ[\w-]+\.[\w-]+\.[\w-]+");
pattern!(EDIT, r"kubectl-edit-\d+\.yaml");
pattern!(DIFF, r"\b(LIVE|MERGED)-\d+\b");
pattern!(OPENAPI, r"hash=[0-9A-F]{32,}");
pattern!(ACCESS, r"\bkube-api-access-[a-z0-9]{5}\b");
pattern!(DURATION, r"^(\d+[smhdy]){1,3}$|^<invalid>$");
pattern!(REPEATED, r"^(\d+[smhdy])+ \(x\d+ over (\d+[smhdy])+\)$");
pattern!(AGO, r"\((\d+[smhdy])+ ago\)");
// Nodes, zones, and the nodes' addresses.
pattern!(PLACE, r"\b((worker|zone)-[abc]|192\.0\.2\.2[123])\b");
// What the client's own watch says when its time is up while it asks once more: whether it does is chance.
pattern!(REFLECTOR, r#"^E<klog> reflector\.go:\d+\] .*context deadline exceeded"?$"#);
pattern!(SPACES, r" {2,}");

/// Whether a command's output keeps its spaces.
pub(super) fn is_raw(command: &str) -> bool {
    let words: Vec<&str> = command.split_whitespace().collect();
    let structured = |format: &str| {
        ["yaml", "json", "kyaml"].iter().any(|f| format.trim_start_matches('=').starts_with(f))
    };
    words.get(1) == Some(&"diff")
        || words.contains(&"--raw")
        || words.iter().any(|w| {
            w.strip_prefix("-o").is_some_and(structured)
                || w.strip_prefix("--output=").is_some_and(structured)
        })
        || words.windows(2).any(|w| matches!(w[0], "-o" | "--output") && structured(w[1]))
}

/// Masks the output of one command.
pub(super) fn mask(text: &str, names: &Names, raw: bool, dir: &str, tmp: &str) -> String {
    let text = text
        .replace(&format!("{tmp}/kubectl-edit"), "<dir>/kubectl-edit")
        .replace(dir, "<dir>")
        .replace(tmp, "<tmp>");
    let text = names.mask(&text);
    let text = CERTIFICATE.replace_all(&text, "<cert>");
    let text = TOKEN.replace_all(&text, "<token>");
    let text = UUID.replace_all(&text, "<uid>");
    let text = TIME.replace_all(&text, "<time>");
    let text = LONG_TIME.replace_all(&text, "<time>");
    let text = REVISION.replace_all(&text, "${1}\"<rv>\"");
    let text = POD_IP.replace_all(&text, |c: &Captures<'_>| match &c[0] {
        range if range.ends_with(".0/24") => range.to_owned(),
        _ => with_length(c, "<pod-ip>"),
    });
    let text = CLUSTER_IP.replace_all(&text, |c: &Captures<'_>| match &c[0] {
        own @ ("10.96.0.1" | "10.96.0.0/16") => own.to_owned(),
        _ => with_length(c, "<cluster-ip>"),
    });
    let text = NODE_PORT.replace_all(&text, |c: &Captures<'_>| {
        let protocol = c.get(3).map_or("", |protocol| protocol.as_str());
        let named = c[1].contains("nodePort");
        match c[2].parse::<u32>() {
            Ok(30_000..=32_767) if named || !protocol.is_empty() => format!("{}<node-port>{protocol}", &c[1]),
            _ => c[0].to_owned(),
        }
    });
    let text = EVENT.replace_all(&text, ".<event>");
    let text = SERVER.replace_all(&text, "<api-server>");
    let text = KLOG.replace_all(&text, "${1}<klog> ");
    let text = EDIT.replace_all(&text, "kubectl-edit-<rand>.yaml");
    let text = DIFF.replace_all(&text, "${1}-<rand>");
    let text = OPENAPI.replace_all(&text, "hash=<openapi-hash>");
    let text = ACCESS.replace_all(&text, "kube-api-access-<rand>");
    if raw {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        out.push_str(&cells(line));
        out.push_str(end);
    }
    out
}

/// Collapses runs of spaces within a line and masks the cells that are ages.
fn cells(line: &str) -> String {
    let indented = line.len() - line.trim_start_matches(' ').len();
    let body = SPACES.replace_all(line.trim(), "  ");
    let mut before = "";
    let mut masked: Vec<String> = Vec::new();
    for cell in body.split("  ") {
        // `cpu:  50m` is no age.
        let amount = before.ends_with(':') && !matches!(before, "Age:" | "Duration:" | "AGE:");
        masked.push(if DURATION.is_match(cell) && !amount {
            "<age>".to_owned()
        } else if REPEATED.is_match(cell) {
            "<age> (x<n> over <age>)".to_owned()
        } else {
            AGO.replace_all(cell, "(<age> ago)").into_owned()
        });
        before = cell;
    }
    let indent = if indented >= 2 { "  " } else { &line[..indented] };
    format!("{indent}{}", masked.join("  "))
}

fn with_length(captures: &Captures<'_>, placeholder: &str) -> String {
    format!("{placeholder}{}", captures.get(1).map_or("", |length| length.as_str()))
}

/// The lines of a masked text in an order of their own, for a comparison as sets; of `rollout status` the last.
pub(super) fn lines(text: &str, command: &str, raw: bool) -> Vec<String> {
    // The recorder's own mask left a trace where a column ended within a placeholder.
    let mut lines: Vec<String> = text
        .replace("<age  >", "<age>")
        .lines()
        .map(|line| if raw { line.trim_end().to_owned() } else { cells(line).trim().to_owned() })
        .filter(|line| !line.is_empty() && !REFLECTOR.is_match(line))
        .collect();
    if command.contains("rollout status") {
        lines = lines.pop().into_iter().collect();
    }
    if command.starts_with("kubectl explain") {
        // Names and types count; the prose is not Orlop's.
        lines.retain(|line| HEADING.is_match(line) || FIELD.is_match(line));
    }
    lines.sort();
    lines
}

/// Which of several equally good nodes a pod gets is chance: the text without node and zone.
pub(super) fn anywhere(line: &str) -> String {
    PLACE.replace_all(line, "<place>").into_owned()
}

#[test]
fn masks_what_differs_from_run_to_run() {
    let names = Names::new(BTreeMap::from([
        ("web-5d4f8c7b9".to_owned(), "web-<hash1>".to_owned()),
        ("web-5d4f8c7b9-x7k2p".to_owned(), "web-<hash1>-<rand>".to_owned()),
        ("5d4f8c7b9".to_owned(), "<hash1>".to_owned()),
    ]));
    let shown = |text: &str| mask(text, &names, false, "/dir", "/tmp/x");
    assert_eq!(
        shown(
            "web-5d4f8c7b9-x7k2p   1/1     Running   0          12s   10.244.1.7   pod-template-hash=5d4f8c7b9"
        ),
        "web-<hash1>-<rand>  1/1  Running  0  <age>  <pod-ip>  pod-template-hash=<hash1>"
    );
    assert_eq!(
        shown("np   NodePort   10.96.3.4   <none>   80:31234/TCP   2m3s"),
        "np  NodePort  <cluster-ip>  <none>  80:<node-port>/TCP  <age>"
    );
    assert_eq!(shown("  Normal  Scaled  3s (x2 over 5s)  x"), "  Normal  Scaled  <age> (x<n> over <age>)  x");
    assert!(
        is_raw("kubectl get pod x -o yaml")
            && is_raw("kubectl get pod -ojson")
            && !is_raw("kubectl get pod -o wide")
    );
}
