//! The cluster's DNS as a function of the plan: [`resolve`].
//!
//! After the Kubernetes specification of DNS-based service discovery, version 1.1.0:
//!
//! | name below the zone | records |
//! |---|---|
//! | `SERVICE.NAMESPACE.svc` | A and AAAA: the Service's addresses, or those of the ready endpoints of a headless one; CNAME for an external name |
//! | `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc` | SRV: the port, at the Service or at each ready endpoint of a headless one |
//! | `HOSTNAME.SERVICE.NAMESPACE.svc` | A and AAAA of one endpoint of a headless Service; without a hostname the address with dashes |
//! | `A-B-C-D.NAMESPACE.pod` | A of the pod that has this address |
//! | `dns-version` | TXT: the version of the specification |
//!
//! and PTR for addresses of Services, of endpoints of headless Services, and of pods. A name that has other records, or
//! names below it, gives [`Answer::NoData`]; another one in the zone [`Answer::NoName`]. Completing short names along a
//! search path is the client's job.

mod forward;
mod reverse;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use orlop_core::Key;

use crate::plan::NetPlan;

/// The version of the specification, at `dns-version.ZONE`.
pub const VERSION: &str = "1.1.0";

/// Seconds for which an answer may be kept: short, for endpoints come and go.
pub const TTL: u32 = 5;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordType {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Another name.
    Cname,
    /// A service's host and port.
    Srv,
    /// The name of an address.
    Ptr,
    /// Text.
    Txt,
    /// Everything.
    Any,
    /// What no name in a cluster has.
    Other,
}

/// One record. Names have no dot at their end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    /// Whose record.
    pub name: String,
    /// Seconds for which it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name.
    Cname(String),
    /// A service's host and port.
    Srv {
        /// Lower ones are tried first.
        priority: u16,
        /// The share among equal priorities.
        weight: u16,
        /// The port.
        port: u16,
        /// The host.
        target: String,
    },
    /// The name of an address.
    Ptr(String),
    /// Text.
    Txt(String),
}

impl Data {
    fn address(ip: IpAddr) -> Data {
        match ip {
            IpAddr::V4(v4) => Data::A(v4),
            IpAddr::V6(v6) => Data::Aaaa(v6),
        }
    }

    fn is(&self, kind: RecordType) -> bool {
        matches!(
            (self, kind),
            (Data::A(_), RecordType::A)
                | (Data::Aaaa(_), RecordType::Aaaa)
                | (Data::Cname(_), RecordType::Cname)
                | (Data::Srv { .. }, RecordType::Srv)
                | (Data::Ptr(_), RecordType::Ptr)
                | (Data::Txt(_), RecordType::Txt)
                | (_, RecordType::Any)
        )
    }
}

impl std::fmt::Display for Record {
    /// As in a zone file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}. {} IN ", self.name, self.ttl)?;
        match &self.data {
            Data::A(ip) => write!(f, "A {ip}"),
            Data::Aaaa(ip) => write!(f, "AAAA {ip}"),
            Data::Cname(name) => write!(f, "CNAME {name}."),
            Data::Srv { priority, weight, port, target } => {
                write!(f, "SRV {priority} {weight} {port} {target}.")
            }
            Data::Ptr(name) => write!(f, "PTR {name}."),
            Data::Txt(text) => write!(f, "TXT {text:?}"),
        }
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The records, and others that spare the client a second question.
    Records {
        /// What was asked for, behind the CNAMEs that lead to it.
        answers: Vec<Record>,
        /// Addresses of the hosts that `answers` names.
        additional: Vec<Record>,
    },
    /// The name is there, but has no such records.
    NoData,
    /// There is no such name (NXDOMAIN).
    NoName,
    /// Not a name of this cluster.
    NotOurs,
}

/// What there is at a name.
enum Found {
    Records(Vec<Data>),
    /// Only names below it.
    Branch,
    Nothing,
}

/// CNAMEs that are followed within the zone.
const CNAMES_MAX: usize = 8;

/// Answers a question about `name` (in any case, with or without the dot at its end).
pub fn resolve(plan: &NetPlan, name: &str, kind: RecordType) -> Answer {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let zone = plan.zone.to_ascii_lowercase();
    if let Some(ip) = reverse::address(&name) {
        let names = reverse::names(plan, &zone, ip);
        if names.is_empty() {
            return if reverse::may_be_ours(plan, ip) { Answer::NoName } else { Answer::NotOurs };
        }
        return records(&name, kind, names.into_iter().map(Data::Ptr).collect(), Vec::new());
    }
    let Some(labels) = below(&name, &zone) else { return Answer::NotOurs };
    match forward::find(plan, &zone, &labels) {
        Found::Nothing => Answer::NoName,
        Found::Branch => Answer::NoData,
        Found::Records(data) => match data.as_slice() {
            [Data::Cname(target)] if kind != RecordType::Cname => {
                follow(plan, &zone, &name, target.clone(), kind)
            }
            _ => {
                let additional = targets(plan, &zone, &labels, &data, kind);
                records(&name, kind, data, additional)
            }
        },
    }
}

/// The labels of `name` in front of `zone`; `None` if it is elsewhere.
fn below<'a>(name: &'a str, zone: &str) -> Option<Vec<&'a str>> {
    let rest = name.strip_suffix(zone)?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    Some(rest.strip_suffix('.')?.split('.').collect())
}

fn records(name: &str, kind: RecordType, data: Vec<Data>, additional: Vec<Record>) -> Answer {
    let answers: Vec<Record> = data
        .into_iter()
        .filter(|data| data.is(kind))
        .map(|data| Record { name: name.to_owned(), ttl: TTL, data })
        .collect();
    if answers.is_empty() { Answer::NoData } else { Answer::Records { answers, additional } }
}

/// A CNAME and, as far as they are in the zone, what it leads to.
fn follow(plan: &NetPlan, zone: &str, name: &str, target: String, kind: RecordType) -> Answer {
    let cname = |name: &str, target: &str| Record {
        name: name.to_owned(),
        ttl: TTL,
        data: Data::Cname(target.to_owned()),
    };
    let mut answers = vec![cname(name, &target)];
    let mut at = target.to_ascii_lowercase();
    while answers.len() < CNAMES_MAX {
        let Some(Found::Records(data)) = below(&at, zone).map(|labels| forward::find(plan, zone, &labels))
        else {
            break;
        };
        if let [Data::Cname(next)] = data.as_slice() {
            answers.push(cname(&at, next));
            at = next.to_ascii_lowercase();
            continue;
        }
        if let Answer::Records { answers: more, .. } = records(&at, kind, data, Vec::new()) {
            answers.extend(more);
        }
        break;
    }
    Answer::Records { answers, additional: Vec::new() }
}

/// The addresses of the hosts that SRV records name: all below the Service that was asked for, in one pass over it.
fn targets(plan: &NetPlan, zone: &str, labels: &[&str], data: &[Data], kind: RecordType) -> Vec<Record> {
    let named: BTreeSet<&str> = data
        .iter()
        .filter_map(|data| if let Data::Srv { target, .. } = data { Some(target.as_str()) } else { None })
        .collect();
    let [.., service, namespace, "svc"] = labels else { return Vec::new() };
    if named.is_empty() || !matches!(kind, RecordType::Srv | RecordType::Any) {
        return Vec::new();
    }
    let Some(service) = plan.services.get(&Key::new(*namespace, *service)) else { return Vec::new() };
    let hosts = forward::hosts(service, zone).filter(|(name, _)| named.contains(name.as_str()));
    let mut additional: Vec<Record> =
        hosts.map(|(name, ip)| Record { name, ttl: TTL, data: Data::address(ip) }).collect();
    additional.sort();
    additional.dedup();
    additional
}
