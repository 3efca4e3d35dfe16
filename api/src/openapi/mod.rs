//! OpenAPI documents, made from the schema tables when they are asked for.
//!
//! Version 3 has one document for each group and version, version 2 has all in one. kubectl needs them before it
//! applies, validates, merges or explains anything.

mod gnostic;
mod paths;
mod render;
mod types;

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use orlop_core::scheme::{Resource, Scheme};
use rustc_hash::FxHasher;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use self::render::Dialect;
use self::types::Types;

/// The version that the documents name.
const VERSION: &str = "1.36";

/// A number that is another one whenever the documents are.
pub fn generation(scheme: &Scheme) -> u64 {
    let mut hasher = FxHasher::default();
    for resource in scheme.resources() {
        hash_resource(resource, &mut hasher);
    }
    hasher.finish()
}

fn hash_resource(resource: &Resource, hasher: &mut impl Hasher) {
    resource.kind.hash(hasher);
    resource.subresources.len().hash(hasher);
    if let Some(source) = resource.schema.source() {
        source.to_string().hash(hasher);
    }
}

/// A document's tag: equal for equal bytes.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `/openapi/v3`: where the documents are. Their addresses change when they do, so that clients may keep them.
pub fn v3_index(scheme: &Scheme) -> Value {
    let listed = document_paths(scheme).into_iter();
    // These have documents that the index does not tell of.
    let listed = listed.filter(|path| path != "version" && !path.starts_with("openid/"));
    let paths: Map<String, Value> = listed
        .map(|path| {
            let mut hasher = FxHasher::default();
            for resource in scheme.resources().filter(|r| paths::home(&r.kind.group, &r.kind.version) == path)
            {
                hash_resource(resource, &mut hasher);
            }
            let tag = hash(format!("{} {path} {:x}", env!("CARGO_PKG_VERSION"), hasher.finish()).as_bytes());
            let url = format!("/openapi/v3/{path}?hash={tag}");
            (path, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

fn document_paths(scheme: &Scheme) -> BTreeSet<String> {
    let mut out: BTreeSet<String> =
        paths::WELL_KNOWN.iter().map(|w| w.path.trim_matches('/').to_owned()).collect();
    out.extend(["api".to_owned(), "apis".to_owned()]);
    for (group, versions) in scheme.groups() {
        if !group.is_empty() {
            out.insert(format!("apis/{group}"));
        }
        out.extend(versions.iter().map(|version| paths::home(&group, version)));
    }
    out
}

/// `/openapi/v3/PATH`, where PATH is one of the index, such as `apis/apps/v1`.
pub fn v3(scheme: &Scheme, path: &str) -> Option<Value> {
    let path = path.trim_matches('/');
    if !document_paths(scheme).contains(path) {
        return None;
    }
    let mut types = Types::new(scheme, Dialect::V3);
    let mut out = Map::new();
    for item in paths::of_document(scheme, path) {
        let rendered = render::item(&item, Dialect::V3, &mut types);
        out.insert(item.path, rendered);
    }
    let mut components = Map::new();
    let schemas = types.definitions(path.strip_prefix("apis/").unwrap_or_default());
    if !schemas.is_empty() {
        components.insert("schemas".to_owned(), schemas.into());
    }
    components.insert("securitySchemes".to_owned(), json!({"BearerToken": bearer()}));
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": out,
        "components": components,
    }))
}

/// `/openapi/v2`: everything.
pub fn v2(scheme: &Scheme) -> Value {
    let mut types = Types::new(scheme, Dialect::V2);
    let mut paths = Map::new();
    for path in document_paths(scheme) {
        for item in paths::of_document(scheme, &path) {
            let rendered = render::item(&item, Dialect::V2, &mut types);
            paths.insert(item.path, rendered);
        }
    }
    paths.sort_keys();
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": VERSION},
        "paths": paths,
        "definitions": types.definitions(""),
        "parameters": {},
        "securityDefinitions": {"BearerToken": bearer()},
        "security": [{"BearerToken": []}],
    })
}

/// `/openapi/v2` for clients that accept [`V2_PROTOBUF_ACCEPT`]: kubectl, which reads no other form.
pub fn v2_protobuf(scheme: &Scheme) -> Vec<u8> {
    gnostic::document(&v2(scheme))
}

/// How clients ask for [`v2_protobuf`].
pub const V2_PROTOBUF_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The media type of [`v2_protobuf`]'s answer.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

fn bearer() -> Value {
    json!({"type": "apiKey", "name": "authorization", "in": "header"})
}
