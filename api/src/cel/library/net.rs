//! Addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Answer, no_overload};
use crate::cel::value::{Opaque, Value};

/// An address as Kubernetes takes it: no zone, and no IPv4 in IPv6's clothes.
fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr =
        text.parse().map_err(|_| format!("IP Address {text:?} parse error during conversion from string"))?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        address => Ok(address),
    }
}

fn network(text: &str) -> Result<(IpNet, IpAddr), String> {
    let broken = || format!("network address parse error during conversion from string: {text:?}");
    let (host, prefix) = text.split_once('/').ok_or_else(broken)?;
    if prefix.len() > 1 && prefix.starts_with('0') || !prefix.bytes().all(|b| b.is_ascii_digit()) {
        return Err(broken());
    }
    let host = address(host)?;
    let net = IpNet::new(host, prefix.parse().map_err(|_| broken())?).map_err(|_| broken())?;
    Ok((net, host))
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    match (function, args) {
        ("ip", [Value::String(text)]) => address(text).map(|ip| Value::opaque(Opaque::Ip(ip))),
        ("isIP", [Value::String(text)]) => Ok(Value::Bool(address(text).is_ok())),
        ("ip.isCanonical", [Value::String(text)]) => {
            address(text).map(|ip| Value::Bool(ip.to_string() == **text))
        }
        ("cidr", [Value::String(text)]) => {
            network(text).map(|(net, ip)| Value::opaque(Opaque::Cidr(net, ip)))
        }
        ("isCIDR", [Value::String(text)]) => Ok(Value::Bool(network(text).is_ok())),
        (_, [Value::Opaque(of), rest @ ..]) => match &**of {
            Opaque::Ip(ip) if rest.is_empty() => of_address(function, *ip),
            Opaque::Cidr(net, ip) => of_network(function, *net, *ip, rest),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}

fn of_address(function: &str, ip: IpAddr) -> Answer {
    let link_local = match ip {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    Ok(Value::Bool(match function {
        "family" => return Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalMulticast" => match ip {
            IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        },
        "isLinkLocalUnicast" => link_local,
        "isGlobalUnicast" => {
            let broadcast = matches!(ip, IpAddr::V4(four) if four.is_broadcast());
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local || broadcast)
        }
        _ => return no_overload(),
    }))
}

fn of_network(function: &str, net: IpNet, host: IpAddr, rest: &[Value]) -> Answer {
    let masked = net.trunc();
    let contains_net = |other: IpNet| masked.contains(&other.trunc());
    match (function, rest) {
        ("ip", []) => Ok(Value::opaque(Opaque::Ip(host))),
        ("prefixLength", []) => Ok(Value::Int(net.prefix_len().into())),
        ("masked", []) => Ok(Value::opaque(Opaque::Cidr(masked, masked.addr()))),
        ("containsIP", [Value::String(text)]) => Ok(Value::Bool(masked.contains(&address(text)?))),
        ("containsCIDR", [Value::String(text)]) => Ok(Value::Bool(contains_net(network(text)?.0))),
        (_, [Value::Opaque(other)]) => match (function, &**other) {
            ("containsIP", Opaque::Ip(ip)) => Ok(Value::Bool(masked.contains(ip))),
            ("containsCIDR", Opaque::Cidr(net, _)) => Ok(Value::Bool(contains_net(*net))),
            _ => no_overload(),
        },
        _ => no_overload(),
    }
}
