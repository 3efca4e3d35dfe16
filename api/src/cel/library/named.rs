//! Formats by name, `format.dns1123Label()`.

use orlop_core::rules::names;

use super::{Answer, no_overload};
use crate::cel::value::{Opaque, Value};
use crate::crd::formats;

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

fn format(name: &str) -> Option<Value> {
    let name = NAMES.into_iter().find(|known| *known == name)?;
    Some(Value::opaque(Opaque::Format(name)))
}

pub(super) fn make(name: &str, args: &[Value]) -> Answer {
    match (name, args) {
        ("named", [Value::String(name)]) => Ok(format(name).map_or(Value::Optional(None), Value::some)),
        (name, []) => format(name).map_or_else(no_overload, Ok),
        _ => no_overload(),
    }
}

/// The complaints about a text; none where there are none.
pub(super) fn validate(function: &str, name: &str, args: &[Value]) -> Answer {
    let ("validate", [_, Value::String(text)]) = (function, args) else { return no_overload() };
    let masked = match text.strip_suffix('-') {
        Some(start) => format!("{start}a"),
        None => text.to_string(),
    };
    let fixed = |ok: bool, why: &str| if ok { Vec::new() } else { vec![why.to_owned()] };
    let complaints = match name {
        "dns1123Label" => names::dns_label(text),
        "dns1123LabelPrefix" => names::dns_label(&masked),
        "dns1123Subdomain" => names::dns_subdomain(text),
        "dns1123SubdomainPrefix" => names::dns_subdomain(&masked),
        "dns1035Label" => names::dns_1035_label(text),
        "dns1035LabelPrefix" => names::dns_1035_label(&masked),
        "qualifiedName" => names::label_key(text),
        "labelValue" => names::label_value(text),
        "uri" => fixed(formats::is("uri", text), "invalid URI"),
        "uuid" => fixed(formats::is("uuid", text), "does not match the UUID format"),
        "byte" => fixed(formats::is("byte", text), "invalid base64"),
        "date" => fixed(formats::is("date", text), "invalid date"),
        _ => fixed(formats::is("date-time", text), "invalid datetime"),
    };
    if complaints.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(Value::some(Value::list(complaints.into_iter().map(Value::text).collect())))
}
