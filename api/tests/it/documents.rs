//! What the API says about itself, against what Kubernetes says.

use std::collections::BTreeSet;
use std::path::PathBuf;

use orlop_api::{discovery, openapi};
use orlop_core::oracle::shared;
use orlop_core::schema::Schema;
use orlop_core::scheme::{Resource, Scheme};
use orlop_core::{Key, Kind};
use serde_json::{Value, json};

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Makes documents comparable: no prose, lists whose order means nothing sorted, references written in one way.
fn plain(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.shift_remove("description");
            if let Some(Value::Array(all)) = map.get("allOf").cloned()
                && let [Value::Object(only)] = all.as_slice()
            {
                map.shift_remove("allOf");
                map.extend(only.clone());
            }
            for name in ["required", "parameters", "tags", "consumes", "produces"] {
                if let Some(Value::Array(items)) = map.get_mut(name) {
                    items.sort_by_key(|i| (i["name"].to_string(), i["in"].to_string(), i.to_string()));
                }
            }
            map.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

/// The first differences between two trees, by path.
fn differences(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => differences(&format!("{path} > {key}"), a, b, out),
                    (Some(_), None) => out.push(format!("{path} > {key}: only ours")),
                    _ => out.push(format!("{path} > {key}: missing")),
                }
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: {ours} instead of {theirs}")),
    }
}

#[track_caller]
fn check(name: &str, mut ours: Value, mut theirs: Value) {
    plain(&mut ours);
    plain(&mut theirs);
    let mut out = Vec::new();
    differences(name, &ours, &theirs, &mut out);
    let count = out.len();
    out.truncate(12);
    assert!(out.is_empty(), "{count} differences\n{}", out.join("\n"));
}

#[test]
fn discovery_as_kubernetes() {
    let Some(root) = shared("openapi") else { return };
    let scheme = Scheme::builtin();
    // The recording does not tell of freshness.
    let stale = |mut document: Value| {
        for item in document["items"].as_array_mut().unwrap() {
            for version in item["versions"].as_array_mut().unwrap() {
                version.as_object_mut().unwrap().entry("freshness").or_insert("Current".into());
            }
        }
        document
    };
    assert_eq!(discovery::aggregated_api(&scheme), stale(read(root.join("discovery-api.json"))));
    assert_eq!(discovery::aggregated_apis(&scheme), stale(read(root.join("discovery-apis.json"))));
}

#[test]
fn discovery_of_conversations() {
    let Some(root) = shared("api-conversations") else { return };
    let scheme = Scheme::builtin();
    let mut count = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("discovery-") {
            continue;
        }
        for step in read(path)["steps"].as_array().unwrap() {
            let request = step["request"]["path"].as_str().unwrap();
            let body = &step["response"]["body"];
            if !body.is_object() || step.get("project").is_some() {
                continue;
            }
            let parts: Vec<&str> = request.trim_matches('/').split('/').collect();
            let ours = match (body["kind"].as_str().unwrap_or_default(), parts.as_slice()) {
                ("APIResourceList", ["api", version]) => discovery::resources(&scheme, "", version),
                ("APIResourceList", ["apis", group, version]) => {
                    discovery::resources(&scheme, group, version)
                }
                ("APIGroupList", _) => Some(discovery::api_groups(&scheme)),
                ("APIGroup", ["apis", group]) => discovery::api_group(&scheme, group),
                _ => continue,
            };
            assert_eq!(ours.as_ref(), Some(body), "{name} {request}");
            count += 1;
        }
    }
    println!("{count} documents");
}

#[test]
fn openapi_v3_as_kubernetes() {
    let Some(root) = shared("openapi") else { return };
    let scheme = Scheme::builtin();
    let index = openapi::v3_index(&scheme);
    for path in read(root.join("v3-index.json")).as_array().unwrap() {
        let path = path.as_str().unwrap();
        assert!(index["paths"].get(path).is_some(), "{path}");
        let theirs = read(root.join("v3").join(format!("{}.json", path.replace('/', "__"))));
        let ours = openapi::v3(&scheme, path).unwrap();
        check(path, ours, theirs);
    }
    assert!(openapi::v3(&scheme, "apis/none/v1").is_none());
}

#[test]
fn openapi_v2_as_kubernetes() {
    let Some(root) = shared("openapi") else { return };
    let mut theirs = read(root.join("v2.json"));
    let mut ours = openapi::v2(&Scheme::builtin());
    // They share parameters by reference.
    let shared_parameters = theirs["parameters"].take();
    fn resolve(value: &mut Value, parameters: &Value) {
        match value {
            Value::Object(map) => {
                let name =
                    map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/parameters/"));
                if let Some(name) = name {
                    *value = parameters[name].clone();
                } else {
                    map.values_mut().for_each(|v| resolve(v, parameters));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|v| resolve(v, parameters)),
            _ => {}
        }
    }
    resolve(&mut theirs["paths"], &shared_parameters);
    for document in [&mut theirs, &mut ours] {
        document.as_object_mut().unwrap().shift_remove("parameters");
        // Kinds of versions that are not served count, too.
        for name in ["DeleteOptions", "WatchEvent"] {
            let name = format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}");
            document["definitions"][name]
                .as_object_mut()
                .unwrap()
                .shift_remove("x-kubernetes-group-version-kind");
        }
    }
    check("v2", ours, theirs);
}

fn widget() -> Resource {
    let (schema, ty) = Schema::from_crd(&json!({
        "type": "object",
        "description": "A thing.",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer", "minimum": 1, "description": "How big.", "default": 2}},
            },
        },
    }));
    let kind = Kind::namespaced("stable.example.com", "v1", "Widget", "widgets");
    let like = Scheme::builtin().resource("", "v1", "pods").unwrap().as_ref().clone();
    Resource {
        stored_as: kind.clone(),
        kind,
        singular: "widget".into(),
        list_kind: "WidgetList".into(),
        short_names: ["w".into()].into(),
        categories: [].into(),
        storage_prefix: "stable.example.com/widgets".into(),
        subresources: [].into(),
        schema: schema.into(),
        ty,
        custom: true,
        ..like
    }
}

#[test]
fn definitions_show_in_documents() {
    let mut scheme = Scheme::builtin();
    let before = openapi::generation(&scheme);
    let indexed = |scheme: &Scheme, path: &str| openapi::v3_index(scheme)["paths"][path].clone();
    let apps = indexed(&scheme, "apis/apps/v1");
    scheme.insert(widget());
    assert_ne!(openapi::generation(&scheme), before);
    assert_eq!(indexed(&scheme, "apis/apps/v1"), apps);
    assert!(indexed(&scheme, "apis/stable.example.com/v1").is_object());
    let document = openapi::v3(&scheme, "apis/stable.example.com/v1").unwrap();
    let own = &document["components"]["schemas"]["com.example.stable.v1.Widget"];
    assert_eq!(own["properties"]["spec"]["properties"]["size"]["description"], "How big.");
    assert_eq!(own["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert!(document["components"]["schemas"].get("com.example.stable.v1.WidgetList").is_some());
    let path = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/widgets/{name}"];
    assert_eq!(path["patch"]["x-kubernetes-action"], "patch");
    let v2 = openapi::v2(&scheme);
    let size = &v2["definitions"]["com.example.stable.v1.Widget"]["properties"]["spec"]["properties"]["size"];
    assert_eq!(*size, json!({"type": "integer", "minimum": 1, "description": "How big."}));
    let group = discovery::api_group(&scheme, "stable.example.com").unwrap();
    assert_eq!(group["preferredVersion"]["version"], "v1");
    assert_eq!(
        discovery::resources(&scheme, "stable.example.com", "v1").unwrap()["resources"][0],
        json!({
            "name": "widgets",
            "singularName": "widget",
            "namespaced": true,
            "kind": "Widget",
            "verbs": ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
            "shortNames": ["w"],
            "storageVersionHash": discovery::resources(&scheme, "stable.example.com", "v1").unwrap()["resources"][0]["storageVersionHash"],
        })
    );
    assert!(scheme.storage_key(&widget().kind, &Key::new("a", "b")).is_some());
}

/// kubectl reads version 2 in this form alone. Its messages are nested: a document's field 9 holds the definitions.
#[test]
fn openapi_v2_as_protobuf() {
    fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut out = 0;
            for shift in (0..64).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                out |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            out
        }
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            assert_eq!(tag & 7, 2, "texts and messages only, at this level");
            let length = usize::try_from(varint(&mut bytes)).unwrap();
            out.push((tag >> 3, &bytes[..length]));
            bytes = &bytes[length..];
        }
        out
    }
    let scheme = Scheme::builtin();
    let bytes = openapi::v2_protobuf(&scheme);
    let document = fields(&bytes);
    assert_eq!(document[0], (1, "2.0".as_bytes()));
    let json = openapi::v2(&scheme);
    for (number, inner, name) in [(8, 2, "paths"), (9, 1, "definitions")] {
        let (_, all) = document.iter().find(|(n, _)| *n == number).unwrap();
        let names: Vec<String> = fields(all)
            .into_iter()
            .map(|(n, entry)| {
                assert_eq!(n, inner);
                String::from_utf8(fields(entry)[0].1.to_vec()).unwrap()
            })
            .collect();
        assert!(names.iter().eq(json[name].as_object().unwrap().keys()));
    }
}
