//! Masking, in texts, of what differs from run to run.

/// What one side of a conversation has shown so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// All requests of the conversation; what occurs in them is kept.
    pub(crate) literal: String,
    /// Generated names and what becomes of them.
    pub(crate) names: Vec<(String, String)>,
    /// The prefixes that requests ask names to be generated from.
    pub(crate) prefixes: Vec<String>,
    uids: Vec<String>,
    ips: Vec<String>,
    versions: Vec<String>,
}

const SUFFIX: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// What stands before a number of the store.
const VERSIONS: [&str; 9] = [
    "current: ",
    "ResourceVersion in precondition: ",
    "ResourceVersion in object meta: ",
    "in the precondition (",
    "in record (",
    "resourceVersion: \"",
    "\\\"resourceVersion\\\":\\\"",
    "\"resourceVersion\":\"",
    "resource version: ",
];

fn number(list: &mut Vec<String>, text: &str) -> usize {
    list.iter().position(|known| known == text).unwrap_or_else(|| {
        list.push(text.to_owned());
        list.len() - 1
    })
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| b.is_ascii_digit()).count()
}

/// The length of a text at the start that has the form of `shape`, in which `0` stands for a digit, `x` for a
/// hexadecimal one.
fn shaped(bytes: &[u8], shape: &[u8]) -> Option<usize> {
    let fits = bytes.len() >= shape.len()
        && shape.iter().zip(bytes).all(|(s, b)| match s {
            b'0' => b.is_ascii_digit(),
            b'x' => b.is_ascii_digit() || (b'a'..=b'f').contains(b),
            s => s == b,
        });
    fits.then_some(shape.len())
}

fn uuid(bytes: &[u8]) -> Option<usize> {
    shaped(bytes, b"xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

pub(crate) fn timestamp(bytes: &[u8]) -> Option<usize> {
    let mut end = shaped(bytes, b"0000-00-00T00:00:00")?;
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(&bytes[end + 1..]);
    }
    match bytes.get(end)? {
        b'Z' => Some(end + 1),
        b'+' | b'-' => Some(end + shaped(&bytes[end + 1..], b"00:00")? + 1),
        _ => None,
    }
}

fn jwt(text: &str) -> Option<usize> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.';
    let end = text.bytes().take_while(|b| word(*b)).count();
    let parts: Vec<&str> = text[..end].split('.').collect();
    (text.starts_with("eyJ") && parts.len() == 3 && parts.iter().all(|p| p.len() > 20)).then_some(end)
}

fn address(bytes: &[u8]) -> Option<usize> {
    let first = digits(bytes.strip_prefix(b"10.96.")?);
    let rest = bytes.get(6 + first..)?.strip_prefix(b".")?;
    (first > 0 && digits(rest) > 0).then_some(7 + first + digits(rest))
}

/// The end of `80:31234/TCP` behind the colon.
fn node_port(bytes: &[u8]) -> Option<usize> {
    let count = digits(bytes.strip_prefix(b":")?);
    let rest = &bytes[1 + count..];
    let protocol = [&b"/TCP"[..], b"/UDP", b"/SCTP"].iter().any(|p| rest.starts_with(p));
    (count == 5 && protocol).then_some(1 + count)
}

/// Whether a number of the store stands behind `lead`; in parentheses there may be a UID, too.
fn is_version(lead: &str, rest: &[u8]) -> bool {
    let count = digits(rest);
    count > 0 && (!lead.ends_with('(') || rest.get(count) == Some(&b')'))
}

impl Seen {
    pub(crate) fn is_literal(&self, text: &str) -> bool {
        self.literal.contains(text)
    }

    pub(crate) fn uid(&mut self, text: &str) -> String {
        format!("<uid:{}>", number(&mut self.uids, text))
    }

    pub(crate) fn version(&mut self, text: &str) -> String {
        format!("<rv:{}>", number(&mut self.versions, text))
    }

    fn generated(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, masked) in &self.names {
            text = text.replace(name, masked);
        }
        for prefix in self.prefixes.iter().map(String::as_str).chain(["kube-api-access-"]) {
            let mut out = String::new();
            let mut rest = text.as_str();
            while let Some(at) = rest.find(prefix) {
                let after = &rest[at + prefix.len()..];
                out.push_str(&rest[..at + prefix.len()]);
                rest = after;
                if after.len() >= 5 && after.bytes().take(5).all(|b| SUFFIX.contains(&b)) {
                    out.push_str("<generated>");
                    rest = &after[5..];
                }
            }
            out.push_str(rest);
            text = out;
        }
        text
    }

    /// A text without what differs from run to run.
    pub(crate) fn text(&mut self, text: &str) -> String {
        let text = self.generated(text);
        let bytes = text.as_bytes();
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        while at < text.len() {
            let rest = &bytes[at..];
            if let Some(end) = uuid(rest).filter(|end| !self.is_literal(&text[at..at + end])) {
                out.push_str(&self.uid(&text[at..at + end]));
                at += end;
            } else if let Some(end) = timestamp(rest).filter(|end| !self.is_literal(&text[at..at + end])) {
                out.push_str("<time>");
                at += end;
            } else if let Some(end) = address(rest).filter(|end| !self.is_literal(&text[at..at + end])) {
                let n = number(&mut self.ips, &text[at..at + end]);
                out.push_str(&format!("<ip:{n}>"));
                at += end;
            } else if let Some(end) = node_port(rest).filter(|end| !self.is_literal(&text[at + 1..at + end]))
            {
                out.push_str(":<port>");
                at += end;
            } else if let Some(host) = ["127.0.0.1:", "192.0.2.1:"]
                .iter()
                .find(|host| rest.starts_with(host.as_bytes()) && digits(&rest[host.len()..]) > 0)
            {
                out.push_str("<server>");
                at += host.len() + digits(&rest[host.len()..]);
            } else if let Some(end) = text.is_char_boundary(at).then(|| jwt(&text[at..])).flatten() {
                out.push_str("<jwt>");
                at += end;
            } else if let Some(lead) = VERSIONS
                .iter()
                .find(|lead| rest.starts_with(lead.as_bytes()) && is_version(lead, &rest[lead.len()..]))
            {
                out.push_str(lead);
                out.push_str("<rv>");
                at += lead.len() + digits(&rest[lead.len()..]);
            } else {
                let c = text[at..].chars().next().expect("a character");
                out.push(c);
                at += c.len_utf8();
            }
        }
        out
    }
}

/// Whether a cell looks like `5d3h` or `<unknown>`-less age.
pub(crate) fn is_age(text: &str) -> bool {
    let mut rest = text;
    let mut parts = 0;
    while !rest.is_empty() {
        let count = digits(rest.as_bytes());
        let unit = rest[count..].starts_with(['s', 'm', 'h', 'd', 'y']);
        if count == 0 || !unit {
            return false;
        }
        rest = &rest[count + 1..];
        parts += 1;
    }
    parts > 0
}

/// Ages in "(3s ago)".
pub(crate) fn ago(text: &str) -> String {
    match text.rsplit_once('(') {
        Some((before, inside)) if inside.strip_suffix(" ago)").is_some_and(is_age) => {
            format!("{before}(<age> ago)")
        }
        _ => text.to_owned(),
    }
}
