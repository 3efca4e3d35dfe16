//! Addresses of the web.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Answer, no_overload};
use crate::cel::value::{Key, Opaque, Value};

/// An absolute address, or a path from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    fn parse(text: &str) -> Result<Url, String> {
        let broken =
            |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
        if text.is_empty() {
            return Err(broken("empty url"));
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(broken("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest))
                if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) =>
            {
                (scheme.to_lowercase(), rest)
            }
            _ if text.starts_with('/') => (String::new(), text),
            _ => return Err(broken("invalid URI for request")),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//").filter(|_| !scheme.is_empty()) {
            Some(after) => {
                let end = after.find('/').unwrap_or(after.len());
                let authority = &after[..end];
                (
                    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned(),
                    after[end..].to_owned(),
                )
            }
            None => (String::new(), rest.to_owned()),
        };
        if host.contains(' ') || port(&host).is_some_and(|p| !p.bytes().all(|b| b.is_ascii_digit())) {
            return Err(broken("invalid host"));
        }
        Ok(Url { scheme, host, path, query: query.to_owned() })
    }
}

fn port(host: &str) -> Option<&str> {
    let after = host.rfind(']').map_or(host, |at| &host[at..]);
    after.rsplit_once(':').map(|(_, port)| port)
}

fn host_name(host: &str) -> &str {
    let name = match port(host) {
        Some(port) => &host[..host.len() - port.len() - 1],
        None => host,
    };
    name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name)
}

fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'+' => out.push(b' '),
            b'%' => {
                let hex: String = bytes.by_ref().take(2).map(char::from).collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            b => out.push(b),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    let of = match args {
        [Value::String(text)] => {
            let parsed = Url::parse(text);
            return match function {
                "isURL" => Ok(Value::Bool(parsed.is_ok())),
                _ => parsed.map(|url| Value::opaque(Opaque::Url(url))),
            };
        }
        [Value::Opaque(of)] => of,
        _ => return no_overload(),
    };
    let Opaque::Url(url) = &**of else { return no_overload() };
    Ok(match function {
        "getScheme" => Value::text(&url.scheme),
        "getHost" => Value::text(&url.host),
        "getHostname" => Value::text(host_name(&url.host)),
        "getPort" => Value::text(port(&url.host).unwrap_or_default()),
        "getEscapedPath" => Value::text(&url.path),
        "getQuery" => {
            let mut all: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
            for pair in url.query.split('&').filter(|p| !p.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let key = Key::String(Arc::from(decoded(name)));
                all.entry(key).or_default().push(Value::text(decoded(value)));
            }
            Value::Map(Arc::new(all.into_iter().map(|(k, v)| (k, Value::list(v))).collect()))
        }
        _ => return no_overload(),
    })
}
