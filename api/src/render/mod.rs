//! Answers as bytes.
//!
//! Objects are written from their stored bytes by splicing kind and revision in; only tables and YAML look into them.

use bytes::Bytes;
use orlop_core::{Kind, Stored, Timestamp};
use serde_json::Value;

use crate::request::{List, Payload, Response, WatchFrame};

pub mod age;
mod cells;
mod columns;
mod inner;
mod json_path;
mod kept;
#[cfg(feature = "oracle")]
pub mod oracle;
mod protobuf;
mod splice;
mod table;
mod yaml;

pub use columns::Column;
pub use json_path::JsonPath;
pub use protobuf::to_protobuf;
pub use table::{CustomColumns, Include};
pub use yaml::to_yaml;

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON.
    #[default]
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf; built-in kinds only, and no tables.
    Protobuf,
}

/// What is made of the objects in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Nothing: they are written as they are.
    #[default]
    Whole,
    /// A `Table` of `meta.k8s.io/v1`.
    Table(Include),
    /// Their metadata: `PartialObjectMetadata`, or a list of that.
    Partial,
}

/// How a client wants its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// Encoding.
    pub encoding: Encoding,
    /// Form.
    pub form: Form,
    /// Indented, for people.
    pub pretty: bool,
    /// Tables are of the older version `v1beta1`, which says the same.
    pub beta_table: bool,
}

/// Renders answers: what is known about custom kinds, and the present moment, from which ages count.
#[derive(Clone, Copy)]
pub struct Renderer<'a> {
    /// The columns of custom kinds.
    pub custom: &'a CustomColumns,
    /// The present moment.
    pub now: Timestamp,
}

impl Renderer<'_> {
    /// The body of an answer. A [`Payload::Stream`] has none.
    pub fn response(&self, response: &Response, want: Want) -> Bytes {
        let mut out = Vec::new();
        match &response.payload {
            Payload::Object(kind, stored) => self.object(kind, stored, want.form, &mut out),
            Payload::Value(kind, value) => self.value(kind, value, want.form, &mut out),
            Payload::List(kind, list) => self.list(kind, list, want.form, &mut out),
            Payload::Status(status) => out = status.to_bytes(),
            Payload::Stream(_) => {}
        }
        if want.beta_table && matches!(want.form, Form::Table(_)) {
            older_table(&mut out);
        }
        finish(out, want)
    }

    /// One event of a watch, with a line break behind it. `first` says that no event went before: a table's columns
    /// are named only then. `kind` is what is watched, for bookmarks.
    pub fn frame(&self, kind: &Kind, frame: &WatchFrame, form: Form, first: bool) -> Bytes {
        let mut out = Vec::new();
        self.line(kind, frame, form, first, &mut out);
        out.into()
    }

    /// Appends [`Renderer::frame`] to `out`.
    pub fn line(&self, kind: &Kind, frame: &WatchFrame, form: Form, first: bool, out: &mut Vec<u8>) {
        let (ty, object) = match frame {
            WatchFrame::Added(kind, stored) => ("ADDED", Ok((kind, stored))),
            WatchFrame::Modified(kind, stored) => ("MODIFIED", Ok((kind, stored))),
            WatchFrame::Deleted(kind, stored) => ("DELETED", Ok((kind, stored))),
            WatchFrame::Bookmark { .. } => ("BOOKMARK", Err(())),
            WatchFrame::Error(_) => ("ERROR", Err(())),
        };
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(ty.as_bytes());
        out.extend_from_slice(b"\",\"object\":");
        match (object, frame) {
            (Ok((kind, stored)), _) => match form {
                Form::Table(include) => {
                    self.table(kind, std::slice::from_ref(stored), include, first, out, |out| {
                        list_meta(stored.revision.0, "", None, out);
                    })
                }
                form => self.object(kind, stored, form, out),
            },
            (Err(()), WatchFrame::Bookmark { revision, initial_end }) => {
                self.bookmark(kind, revision.0, *initial_end, form, first, out);
            }
            (Err(()), WatchFrame::Error(status)) => out.extend_from_slice(&status.to_bytes()),
            (Err(()), _) => {}
        }
        out.extend_from_slice(b"}\n");
    }

    /// Appends one event of a watch as it goes in protobuf: a frame with a length before it. An event without such a
    /// form, which no negotiation lets come to this, is left out.
    pub fn protobuf_frame(
        &self,
        kind: &Kind,
        frame: &WatchFrame,
        form: Form,
        first: bool,
        out: &mut Vec<u8>,
    ) {
        let mut line = Vec::new();
        self.line(kind, frame, form, first, &mut line);
        if let Ok(event) = serde_json::from_slice(&line) {
            let whole = out.len();
            if protobuf::frame(&event, out).is_err() {
                out.truncate(whole);
            }
        }
    }

    fn object(&self, kind: &Kind, stored: &Stored, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Whole => splice::object(kind, stored, out),
            Form::Partial => {
                let stored = &*inner::inner(kind, stored);
                let mut whole = Vec::with_capacity(stored.body.bytes().len() + 32);
                splice::object(kind, stored, &mut whole);
                splice::partial(&whole, out);
            }
            Form::Table(include) => {
                self.table(kind, std::slice::from_ref(stored), include, true, out, |out| {
                    list_meta(stored.revision.0, "", None, out);
                });
            }
        }
    }

    fn value(&self, kind: &Kind, value: &Value, form: Form, out: &mut Vec<u8>) {
        match form {
            Form::Whole => table::write_json(value, out),
            Form::Partial => {
                let mut whole = Vec::new();
                table::write_json(value, &mut whole);
                splice::partial(&whole, out);
            }
            Form::Table(include) => {
                let revision = value["metadata"]["resourceVersion"].as_str().unwrap_or_default();
                self.table_head(kind, true, out, |out| {
                    list_meta(revision.parse().unwrap_or_default(), "", None, out);
                });
                table::value_row(kind, value, include, self.custom, self.now, out);
                out.extend_from_slice(b"]}");
            }
        }
    }

    fn list(&self, kind: &Kind, list: &List, form: Form, out: &mut Vec<u8>) {
        let custom = self.custom.has(kind);
        let meta = |out: &mut Vec<u8>| {
            list_meta(list.revision.0, &list.continue_token, list.remaining, out);
            if custom && form == Form::Whole && list.continue_token.is_empty() {
                // Lists of custom objects say so even where nothing follows.
                out.pop();
                out.extend_from_slice(b",\"continue\":\"\"}");
            }
        };
        let (kind_text, version) = match form {
            Form::Table(include) => return self.table(kind, &list.items, include, true, out, meta),
            Form::Partial => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".into()),
            Form::Whole => (list_kind(kind), kind.api_version()),
        };
        out.reserve(list.items.iter().map(|i| i.body.bytes().len() + 32).sum::<usize>() + 128);
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(kind_text.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(version.as_bytes());
        out.extend_from_slice(b"\",\"metadata\":");
        meta(out);
        if form == Form::Partial && list.items.is_empty() {
            return out.extend_from_slice(b",\"items\":null}");
        }
        out.extend_from_slice(b",\"items\":[");
        for (at, stored) in list.items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match form {
                Form::Whole if custom => splice::object(kind, stored, out),
                Form::Whole => splice::item(stored, out),
                _ => self.object(kind, stored, form, out),
            }
        }
        out.extend_from_slice(b"]}");
    }

    fn table(
        &self,
        kind: &Kind,
        items: &[Stored],
        include: Include,
        columns: bool,
        out: &mut Vec<u8>,
        meta: impl FnOnce(&mut Vec<u8>),
    ) {
        self.table_head(kind, columns, out, meta);
        for (at, stored) in items.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            table::row(kind, stored, include, self.custom, self.now, out);
        }
        out.extend_from_slice(b"]}");
    }

    fn table_head(&self, kind: &Kind, columns: bool, out: &mut Vec<u8>, meta: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
        meta(out);
        out.extend_from_slice(b",\"columnDefinitions\":");
        let definitions =
            if columns { Value::Array(table::definitions(kind, self.custom)) } else { Value::Null };
        table::write_json(&definitions, out);
        out.extend_from_slice(b",\"rows\":[");
    }

    fn bookmark(
        &self,
        kind: &Kind,
        revision: u64,
        initial_end: bool,
        form: Form,
        first: bool,
        out: &mut Vec<u8>,
    ) {
        if let Form::Table(_) = form {
            self.table_head(kind, first, out, |out| list_meta(revision, "", None, out));
            if initial_end {
                out.extend_from_slice(b"{\"cells\":null,\"object\":");
                partial_bookmark(revision, out);
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
            return;
        }
        if form == Form::Partial {
            return if initial_end { partial_bookmark(revision, out) } else { plain_partial(revision, out) };
        }
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(kind.kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(kind.api_version().as_bytes());
        out.extend_from_slice(b"\",\"metadata\":{\"resourceVersion\":\"");
        splice::push_number(revision, out);
        out.push(b'"');
        if initial_end {
            out.extend_from_slice(INITIAL_END);
        }
        out.extend_from_slice(b"}}");
    }
}

const INITIAL_END: &[u8] = b",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}";

fn plain_partial(revision: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{\"resourceVersion\":\"",
    );
    splice::push_number(revision, out);
    out.extend_from_slice(b"\"}}");
}

fn partial_bookmark(revision: u64, out: &mut Vec<u8>) {
    plain_partial(revision, out);
    out.truncate(out.len() - 2);
    out.extend_from_slice(INITIAL_END);
    out.extend_from_slice(b"}}");
}

/// The kind of a collection.
pub fn list_kind(kind: &Kind) -> String {
    format!("{}List", kind.kind)
}

fn list_meta(revision: u64, token: &str, remaining: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"resourceVersion\":\"");
    splice::push_number(revision, out);
    out.push(b'"');
    if !token.is_empty() {
        out.extend_from_slice(b",\"continue\":\"");
        out.extend_from_slice(token.as_bytes());
        out.push(b'"');
    }
    if let Some(remaining) = remaining {
        out.extend_from_slice(b",\"remainingItemCount\":");
        splice::push_number(remaining, out);
    }
    out.push(b'}');
}

/// Names the older version in a table, and in the metadata that its rows show.
fn older_table(json: &mut Vec<u8>) {
    let Ok(Value::Object(mut table)) = serde_json::from_slice::<Value>(json) else { return };
    if table.get("kind").is_none_or(|kind| kind != "Table") {
        return;
    }
    table.insert("apiVersion".into(), OLDER.into());
    for row in table.get_mut("rows").and_then(Value::as_array_mut).into_iter().flatten() {
        if row["object"]["kind"] == "PartialObjectMetadata" {
            row["object"]["apiVersion"] = OLDER.into();
        }
    }
    json.clear();
    table::write_json(&Value::Object(table), json);
}

const OLDER: &str = "meta.k8s.io/v1beta1";

/// Indents, or turns into YAML or protobuf, what was written as JSON.
fn finish(json: Vec<u8>, want: Want) -> Bytes {
    if want.encoding == Encoding::Json && !want.pretty {
        return json.into();
    }
    let Ok(value) = serde_json::from_slice::<Value>(&json) else { return json.into() };
    match want.encoding {
        Encoding::Yaml => yaml::to_yaml(&value).into(),
        Encoding::Protobuf => to_protobuf(&value).unwrap_or(json).into(),
        Encoding::Json => {
            let mut out = serde_json::to_vec_pretty(&value).unwrap_or(json);
            out.push(b'\n');
            out.into()
        }
    }
}
