//! Where a request came from, and by what it meant to show who sent it.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, HeaderName, header};

use crate::query::Query;

/// By this header clients give a request's identifier, and learn it.
pub(crate) const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Longer names of clients are cut, bytes: what is noted is bounded.
const AGENT_MAX: usize = 1024;

/// The other end of the connection, as the server puts it among a request's extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

fn address(text: &str) -> Option<IpAddr> {
    text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The addresses that a request passed, as Kubernetes orders them: what proxies say, then who connected, which nobody
/// can make up.
pub(super) fn ips(head: &Parts) -> Vec<String> {
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut all: Vec<IpAddr> = text("x-forwarded-for").split(',').filter_map(address).collect();
    all.extend(address(text("x-real-ip")).filter(|ip| !all.contains(ip)));
    let remote = head.extensions.get::<Peer>().map(|peer| peer.0.ip().to_canonical());
    all.extend(remote.filter(|ip| all.last() != Some(ip)));
    all.iter().map(ToString::to_string).collect()
}

/// What the client says that it is.
pub(super) fn agent(headers: &HeaderMap) -> Option<String> {
    let agent = headers.get(header::USER_AGENT)?.to_str().ok()?;
    // A header's text is ASCII, so that it may be cut anywhere.
    Some(match agent.get(..AGENT_MAX) {
        Some(cut) if agent.len() > AGENT_MAX => format!("{cut}...TRUNCATED"),
        _ => agent.to_owned(),
    })
}

/// The sorts of credentials that a request brings.
pub(super) fn credentials(head: &Parts, certificate: bool) -> Vec<&'static str> {
    let header = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let (scheme, rest) = header.unwrap_or_default().trim().split_once(' ').unwrap_or_default();
    let of = |name: &str| scheme.eq_ignore_ascii_case(name) && !rest.trim().is_empty();
    let query = Query::parse(head.uri.query());
    let in_query = query.get("access_token").is_some_and(|token| !token.trim().is_empty());
    [("basic", of("basic")), ("bearer", of("bearer")), ("access_token", in_query), ("x509", certificate)]
        .into_iter()
        .filter_map(|(word, there)| there.then_some(word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(headers: &[(&str, &str)], peer: &str) -> Parts {
        let mut request = http::Request::get("/api?access_token=").body(()).unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        if let Ok(address) = peer.parse() {
            request.extensions_mut().insert(Peer(address));
        }
        request.into_parts().0
    }

    #[test]
    fn who_connected_comes_last_and_once() {
        let forwarded = ("x-forwarded-for", "192.0.2.1, nonsense, 192.0.2.2");
        for (headers, peer, expected) in [
            (vec![], "127.0.0.1:4711", "127.0.0.1"),
            (vec![], "[::ffff:192.0.2.9]:1", "192.0.2.9"),
            (vec![forwarded], "127.0.0.1:1", "192.0.2.1 192.0.2.2 127.0.0.1"),
            (vec![forwarded], "192.0.2.2:1", "192.0.2.1 192.0.2.2"),
            (vec![forwarded], "192.0.2.1:1", "192.0.2.1 192.0.2.2 192.0.2.1"),
            (vec![forwarded, ("x-forwarded-for", "192.0.2.7")], "", "192.0.2.1 192.0.2.2"),
            (vec![forwarded, ("x-real-ip", "192.0.2.1")], "", "192.0.2.1 192.0.2.2"),
            (vec![("x-real-ip", "2001:db8::1")], "127.0.0.1:1", "2001:db8::1 127.0.0.1"),
        ] {
            assert_eq!(ips(&head(&headers, peer)).join(" "), expected, "{headers:?} {peer}");
        }
    }

    #[test]
    fn says_what_was_tried() {
        let tried = |value: &str| credentials(&head(&[("authorization", value)], ""), false).join(" ");
        assert_eq!(tried("Bearer x"), "bearer");
        assert_eq!(tried("bearer "), "");
        assert_eq!(tried("Basic YTpi"), "basic");
        assert_eq!(tried("Digest x"), "");
        assert_eq!(credentials(&head(&[], ""), true), ["x509"]);
    }

    #[test]
    fn a_long_name_of_a_client_is_cut() {
        let long = "x".repeat(2000);
        let agent = agent(&head(&[("user-agent", &long)], "").headers).unwrap();
        assert_eq!(agent, format!("{}...TRUNCATED", "x".repeat(1024)));
    }
}
