//! OpenAPI v2 as protobuf, the only form in which kubectl asks for it (`openapi.v2.Document` of the gnostic project).

use serde_json::{Map, Value};

/// Encodes a document of version 2. What has no place in the messages is left out.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    for (path, item) in entries(&document["paths"]) {
        paths.named(2, path, &path_item(item));
    }
    out.message(8, &paths);
    let mut definitions = Message::default();
    for (name, definition) in entries(&document["definitions"]) {
        definitions.named(1, name, &schema(definition));
    }
    out.message(9, &definitions);
    out.bytes
}

fn path_item(item: &Value) -> Message {
    const METHODS: [(&str, u32); 7] =
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];
    let mut out = Message::default();
    for (method, number) in METHODS {
        if let Some(found) = item.get(method) {
            out.message(number, &operation(found));
        }
    }
    for found in items(&item["parameters"]) {
        out.message(9, &parameter(found));
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    for (name, number) in [("tags", 1), ("produces", 6), ("consumes", 7), ("schemes", 10)] {
        items(&operation[name]).for_each(|text| out.text(number, text));
    }
    out.text(2, &operation["summary"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    for found in items(&operation["parameters"]) {
        out.message(8, &parameter(found));
    }
    let mut responses = Message::default();
    for (code, response) in entries(&operation["responses"]) {
        let mut body = Message::default();
        body.text(1, &response["description"]);
        if let Some(found) = response.get("schema") {
            body.message(2, &Message::of(1, &schema(found)));
        }
        responses.named(1, code, &Message::of(1, &body));
    }
    out.message(9, &responses);
    out.extensions(13, operation);
    out
}

/// A `ParametersItem`: a body, or something in the path or the query.
fn parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    let within = match parameter["in"].as_str() {
        Some("body") => {
            out.text(1, &parameter["description"]);
            out.text(2, &parameter["name"]);
            out.text(3, &parameter["in"]);
            out.flag(4, &parameter["required"]);
            out.message(5, &schema(&parameter["schema"]));
            Message::of(1, &out)
        }
        place => {
            let in_path = place == Some("path");
            out.flag(1, &parameter["required"]);
            out.text(2, &parameter["in"]);
            out.text(3, &parameter["description"]);
            out.text(4, &parameter["name"]);
            // The query's message has one field more in front of these.
            let (ty, unique) = if in_path { (5, 19) } else { (6, 20) };
            out.text(ty, &parameter["type"]);
            out.flag(unique, &parameter["uniqueItems"]);
            Message::of(2, &Message::of(if in_path { 4 } else { 3 }, &out))
        }
    };
    Message::of(1, &within)
}

fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    for (name, number) in [("$ref", 1), ("format", 2), ("title", 3), ("description", 4), ("pattern", 13)] {
        out.text(number, &schema[name]);
    }
    if let Some(default) = schema.get("default") {
        out.any(5, default);
    }
    for (name, number) in [("multipleOf", 6), ("maximum", 7), ("minimum", 9)] {
        out.double(number, &schema[name]);
    }
    for (name, number) in [("exclusiveMaximum", 8), ("exclusiveMinimum", 10), ("uniqueItems", 16)] {
        out.flag(number, &schema[name]);
    }
    for (name, number) in [
        ("maxLength", 11),
        ("minLength", 12),
        ("maxItems", 14),
        ("minItems", 15),
        ("maxProperties", 17),
        ("minProperties", 18),
    ] {
        out.integer(number, &schema[name]);
    }
    items(&schema["required"]).for_each(|text| out.text(19, text));
    items(&schema["enum"]).for_each(|value| out.any(20, value));
    match schema.get("additionalProperties") {
        Some(Value::Bool(_)) => {
            let mut item = Message::default();
            item.flag(2, &schema["additionalProperties"]);
            out.message(21, &item);
        }
        Some(inner) => out.message(21, &Message::of(1, &self::schema(inner))),
        None => {}
    }
    if schema["type"].is_string() {
        let mut ty = Message::default();
        ty.text(1, &schema["type"]);
        out.message(22, &ty);
    }
    if let Some(inner) = schema.get("items") {
        out.message(23, &Message::of(1, &self::schema(inner)));
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        for (name, inner) in entries(&schema["properties"]) {
            properties.named(1, name, &self::schema(inner));
        }
        out.message(25, &properties);
    }
    out.extensions(31, schema);
    out
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// A message under construction. Absent values leave no trace.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message with one field.
    fn of(number: u32, inner: &Message) -> Message {
        let mut out = Message::default();
        out.message(number, inner);
        out
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn tag(&mut self, number: u32, wire: u32) {
        self.varint(u64::from(number << 3 | wire));
    }

    fn raw(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn message(&mut self, number: u32, inner: &Message) {
        self.raw(number, &inner.bytes);
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.raw(number, text.as_bytes());
        }
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.tag(number, 0);
            self.varint(1);
        }
    }

    fn integer(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_u64() {
            self.tag(number, 0);
            self.varint(value);
        }
    }

    fn double(&mut self, number: u32, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.tag(number, 1);
            self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        }
    }

    /// Any value, as YAML, which JSON is.
    fn any(&mut self, number: u32, value: &Value) {
        let mut any = Message::default();
        any.raw(2, format!("{value}\n").as_bytes());
        self.message(number, &any);
    }

    /// An entry of a map: name and value.
    fn named(&mut self, number: u32, name: &str, value: &Message) {
        let mut entry = Message::default();
        entry.raw(1, name.as_bytes());
        entry.message(2, value);
        self.message(number, &entry);
    }

    fn extensions(&mut self, number: u32, value: &Value) {
        for (name, value) in entries(value).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Message::default();
            any.raw(2, format!("{value}\n").as_bytes());
            self.named(number, name, &any);
        }
    }
}
