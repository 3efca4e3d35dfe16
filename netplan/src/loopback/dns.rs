//! The DNS server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::{DnsAnswers, Shared};
use crate::dns::{self, Answer, Data, TTL};
use crate::mirror::Mirror;
use crate::plan::NetPlan;

/// The largest answer that is not cut off on its way, whatever the path.
const UDP_PAYLOAD_MAX: u16 = 1232;
const TCP_IDLE: Duration = Duration::from_secs(10);
const TCP_ANSWERS: usize = 64;

/// A server that ends when it is dropped.
pub(super) struct DnsServer {
    pub(super) at: SocketAddr,
    _server: Server<Handler>,
}

impl DnsServer {
    /// Serves on both sockets, which are at one address and port.
    pub(super) fn start(shared: &Arc<Shared>, udp: UdpSocket, tcp: TcpListener, at: SocketAddr) -> DnsServer {
        let mut server = Server::new(Handler { shared: Arc::clone(shared) });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
        DnsServer { at, _server: server }
    }
}

struct Handler {
    shared: Arc<Shared>,
}

/// What is sent back.
struct Reply {
    code: ResponseCode,
    answers: Vec<Record>,
    authority: Vec<Record>,
    additional: Vec<Record>,
}

impl Reply {
    fn code(code: ResponseCode) -> Reply {
        Reply { code, answers: Vec::new(), authority: Vec::new(), additional: Vec::new() }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let reply = match request.request_info() {
            Ok(info) if request.metadata.op_code == OpCode::Query => {
                self.reply(&Name::from(info.query.name()).to_ascii(), info.query.query_type())
            }
            Ok(_) => Reply::code(ResponseCode::NotImp),
            Err(_) => Reply::code(ResponseCode::FormErr),
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.code != ResponseCode::Refused;
        let edns = request.edns.as_ref().map(|_| {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_PAYLOAD_MAX);
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &reply.answers, &[], &reply.authority, &reply.additional);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            // The client is gone; only the server's own statistics see this.
            Err(_) => hickory_proto::op::Header { metadata, counts: Default::default() }.into(),
        }
    }
}

impl Handler {
    fn reply(&self, name: &str, kind: RecordType) -> Reply {
        let plan = self.shared.plan();
        let mirror = match self.shared.options.dns_answers {
            DnsAnswers::Mirrored => Some(&self.shared.options.mirror),
            DnsAnswers::Cluster => None,
        };
        let asked = match kind {
            RecordType::A => dns::RecordType::A,
            RecordType::AAAA => dns::RecordType::Aaaa,
            RecordType::CNAME => dns::RecordType::Cname,
            RecordType::SRV => dns::RecordType::Srv,
            RecordType::PTR => dns::RecordType::Ptr,
            RecordType::TXT => dns::RecordType::Txt,
            RecordType::ANY => dns::RecordType::Any,
            _ => dns::RecordType::Other,
        };
        match dns::resolve(&plan, &unmirrored(&self.shared.options.mirror, name), asked) {
            Answer::Records { answers, additional } => {
                let records = |records: Vec<dns::Record>| -> Vec<Record> {
                    records.into_iter().filter_map(|r| record(mirror, name, r)).collect()
                };
                let answers = records(answers);
                let authority = if answers.is_empty() { soa(&plan) } else { Vec::new() };
                Reply { code: ResponseCode::NoError, answers, authority, additional: records(additional) }
            }
            Answer::NoData => Reply { authority: soa(&plan), ..Reply::code(ResponseCode::NoError) },
            Answer::NoName => Reply { authority: soa(&plan), ..Reply::code(ResponseCode::NXDomain) },
            Answer::NotOurs => Reply::code(ResponseCode::Refused),
        }
    }
}

/// A question about an address on loopback as one about the address whose mirror that is.
fn unmirrored(mirror: &Mirror, name: &str) -> String {
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    let reversed = |text: &str| text.split('.').rev().collect::<Vec<_>>().join(".");
    let cluster = lower
        .strip_suffix(".in-addr.arpa")
        .and_then(|digits| reversed(digits).parse::<IpAddr>().ok())
        .and_then(|ip| mirror.back(ip));
    match cluster {
        Some(ip) => format!("{}.in-addr.arpa", reversed(&ip.to_string())),
        None => lower,
    }
}

fn record(mirror: Option<&Mirror>, asked: &str, record: dns::Record) -> Option<Record> {
    let name = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).ok();
    let data = match record.data {
        Data::A(ip) => {
            let mirrored = mirror.and_then(|mirror| mirror.of(ip.into()));
            match mirrored.unwrap_or(ip.into()) {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            }
        }
        Data::Aaaa(ip) => RData::AAAA(AAAA(ip)),
        Data::Cname(to) => RData::CNAME(CNAME(name(&to)?)),
        Data::Ptr(to) => RData::PTR(PTR(name(&to)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text])),
        Data::Srv { priority, weight, port, target } => {
            RData::SRV(SRV::new(priority, weight, port, name(&target)?))
        }
    };
    // The owner of a PTR answer is the name that was asked for, though it was looked up under another one.
    let owner = if matches!(data, RData::PTR(_)) { name(asked)? } else { name(&record.name)? };
    Some(Record::from_rdata(owner, record.ttl, data))
}

/// Says how long a "no" may be kept.
fn soa(plan: &NetPlan) -> Vec<Record> {
    let name = |text: String| Name::from_ascii(text).ok();
    let record = || {
        let zone = name(format!("{}.", plan.zone))?;
        let primary = name(format!("ns.dns.{}.", plan.zone))?;
        let contact = name(format!("hostmaster.{}.", plan.zone))?;
        let soa = SOA::new(primary, contact, plan.revision.0 as u32, 7200, 1800, 86_400, TTL);
        Some(Record::from_rdata(zone, TTL, RData::SOA(soa)))
    };
    record().into_iter().collect()
}
