//! The codec against bodies that Kubernetes wrote and refused.

use expect_test::{Expect, expect};
use orlop_core::codec::{self, encode, protobuf};
use orlop_core::oracle::shared;
use orlop_core::schema::{Schema, StructId};
use orlop_core::scheme::{Scheme, split_api_version};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Every recorded file of a folder, as JSON.
fn recorded(folder: &str) -> Vec<(String, Value)> {
    let Some(folder) = shared(folder) else { return Vec::new() };
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let json = paths.into_iter().filter(|p| p.extension().is_some_and(|e| e == "json"));
    json.map(|p| {
        let name = p.file_stem().unwrap().to_string_lossy().into_owned();
        (name, serde_json::from_slice(&std::fs::read(p).unwrap()).unwrap())
    })
    .collect()
}

fn type_of(object: &Value) -> Option<StructId> {
    let (group, version) = split_api_version(object["apiVersion"].as_str()?);
    Schema::builtin().by_kind(group, version, object["kind"].as_str()?)
}

/// What is encoded is what Kubernetes answers: nothing lost, nothing added, nothing left that Kubernetes leaves out.
#[test]
fn answers_of_kubernetes_are_canonical() {
    let schema = Schema::builtin();
    let (mut count, mut same_order, mut wrong) = (0, 0, Vec::new());
    for (name, conversation) in recorded("api-conversations") {
        for (at, step) in conversation["steps"].as_array().unwrap().iter().enumerate() {
            let response = &step["response"];
            if response["status"].as_u64().is_none_or(|s| s >= 300) || step.get("project").is_some() {
                continue;
            }
            let body = &response["body"];
            let objects: Vec<&Value> = match body {
                Value::Array(events) => events.iter().map(|e| &e["object"]).collect(),
                body => vec![body],
            };
            for object in objects {
                let Some(ty) = type_of(object) else { continue };
                // A bookmark is an object with hardly anything in it.
                if object["metadata"].get("creationTimestamp").is_none() && body.is_array() {
                    continue;
                }
                let mut tree = object.clone();
                count += 1;
                match codec::conform(schema, ty, &mut tree, &[]) {
                    Err(error) => wrong.push(format!("{name} {at}: {error}")),
                    Ok(unknown) if !unknown.is_empty() => wrong.push(format!("{name} {at}: {unknown:?}")),
                    Ok(_) => {
                        let ours = codec::canonical(schema, ty, &tree);
                        if ours != *object {
                            wrong.push(format!("{name} {at}:\n  ours   {ours}\n  theirs {object}"));
                            continue;
                        }
                        // Values are equal in any order of fields; texts are not.
                        let texts = [ours, object.clone()].map(|value| sans_version(value).to_string());
                        same_order += usize::from(texts[0] == texts[1]);
                    }
                }
            }
        }
    }
    println!("{} of {count} agreed, {same_order} in the order of fields too", count - wrong.len());
    wrong.truncate(5);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count == 0 || same_order > 0, "none is in the order of fields");
}

fn sans_version(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.shift_remove("resourceVersion");
    }
    object
}

/// Refusals of bodies, and warnings, are in Kubernetes' words.
#[test]
fn complaints_of_kubernetes() {
    let scheme = Scheme::builtin();
    let (mut count, mut wrong) = (0, Vec::new());
    for (name, conversation) in recorded("api-conversations") {
        for (at, step) in conversation["steps"].as_array().unwrap().iter().enumerate() {
            let (request, response) = (&step["request"], &step["response"]);
            let is_json = request["headers"]["content-type"] == "application/json";
            let message = response["body"]["message"].as_str().unwrap_or_default();
            let Some((_, theirs)) = message.split_once(" cannot be handled as a ") else { continue };
            let theirs = theirs.split_once(": ").unwrap().1;
            let text = match &request["body"] {
                Value::String(text) => text.clone(),
                body => body.to_string(),
            };
            let spoken_of = |what: &str| theirs.starts_with(what);
            if !is_json || spoken_of("converting") || spoken_of("no kind") || text.contains("***") {
                continue;
            }
            let decoded = codec::decode_json(text.as_bytes()).unwrap();
            let mut tree = decoded.value;
            let (group, version) = split_api_version(tree["apiVersion"].as_str().unwrap());
            let Some(resource) = scheme.by_kind(group, version, tree["kind"].as_str().unwrap()) else {
                continue;
            };
            count += 1;
            let ours = match codec::conform(&resource.schema, resource.ty, &mut tree, &decoded.duplicates) {
                Ok(complaints) => format!("strict decoding error: {}", complaints.join(", ")),
                Err(error) => error.message,
            };
            // What follows tells of Go's types and parsers.
            let said = |text: &str| {
                ["json: cannot unmarshal ", "parsing time "]
                    .into_iter()
                    .find_map(|p| text.starts_with(p).then(|| p.to_owned()))
                    .unwrap_or_else(|| text.to_owned())
            };
            if said(&ours) != said(theirs) {
                wrong.push(format!("{name} {at}:\n  ours   {ours}\n  theirs {theirs}"));
            } else if ours != theirs {
                println!("{name} {at}:\n  ours   {ours}\n  theirs {theirs}");
            }
        }
    }
    println!("{} of {count} agreed", count - wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[track_caller]
fn check(body: &str, expected: Expect) {
    let decoded = codec::decode_json(body.as_bytes());
    let out = decoded.map_err(|e| e.to_string()).and_then(|decoded| {
        let mut tree = decoded.value;
        let ty = type_of(&tree).ok_or("no such kind")?;
        let complaints = codec::conform(Schema::builtin(), ty, &mut tree, &decoded.duplicates)
            .map_err(|e| format!("{} at {}", e.message, e.path))?;
        let body = codec::encode(Schema::builtin(), ty, &tree).map_err(|e| e.to_string())?;
        Ok(format!("{complaints:?}\n{body:?}"))
    });
    expected.assert_eq(&out.unwrap_or_else(|e: String| e));
}

#[test]
fn writes_canonically() {
    check(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"5","name":"a","labels":{"z":"1","b":null},
            "annotations":{},"creationTimestamp":null},
            "spec":{"containers":[{"image":"i","name":"c","stdin":false,"env":[],"resources":{"limits":
            {"memory":"1024Mi","cpu":0.5}},"securityContext":{"privileged":false}}],"hostNetwork":false,
            "automountServiceAccountToken":false,"volumes":[{"emptyDir":{},"name":"v"}]},"status":{}}"#,
        expect![[r#"
            []
            {"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","labels":{"b":"","z":"1"}},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"500m","memory":"1Gi"}},"securityContext":{"privileged":false}}],"automountServiceAccountToken":false},"status":{}}"#]],
    );
}

#[test]
fn names_what_it_does_not_know() {
    check(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","name":"b"},"bogus":{"x":1,"x":2},
            "spec":{"containers":[{"name":"c","Image":"x","ports":[{"containerPort":1,"containerport":2}]}]}}"#,
        expect![[r#"
            ["duplicate field \"metadata.name\"", "unknown field \"bogus\"", "unknown field \"spec.containers[0].Image\"", "unknown field \"spec.containers[0].ports[0].containerport\""]
            {"kind":"Pod","apiVersion":"v1","metadata":{"name":"b"},"spec":{"containers":[{"name":"c","ports":[{"containerPort":1}],"resources":{}}]},"status":{}}"#]],
    );
    check(
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":"3"}}"#,
        expect![[
            r#"json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32 at spec.replicas"#
        ]],
    );
    check(r#"{"apiVersion":"v1","#, expect!["unexpected end of JSON input"]);
}

/// Bodies that kubectl sent.
#[test]
fn protobuf_bodies_decode() {
    let schema = Schema::builtin();
    let mut count = 0;
    for (name, scenario) in recorded("kubectl-transcripts") {
        for step in scenario["steps"].as_array().into_iter().flatten() {
            for request in step["requests"].as_array().into_iter().flatten() {
                let Some(bytes) = request["body_base64"].as_str() else { continue };
                let bytes = base64(bytes);
                let mut tree = protobuf::decode_body(&bytes, |api_version, kind| {
                    let (group, version) = split_api_version(api_version);
                    Some((schema.clone(), schema.by_kind(group, version, kind)?))
                })
                .unwrap_or_else(|e| panic!("{name}: {e}"));
                let ty = type_of(&tree).unwrap();
                let complaints = codec::conform(schema, ty, &mut tree, &[]).unwrap();
                assert!(complaints.is_empty(), "{name}: {complaints:?}");
                let once = codec::canonical(schema, ty, &tree);
                assert_eq!(codec::canonical(schema, ty, &once), once);
                assert_eq!(there_and_back(ty, &once), once, "{name}");
                count += 1;
            }
        }
    }
    println!("{count} bodies");
}

/// What is left of an object after a way through protobuf.
fn there_and_back(ty: orlop_core::schema::StructId, object: &Value) -> Value {
    let schema = Schema::builtin();
    let (api_version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let raw = protobuf::encode(schema, ty, object).unwrap();
    let body = protobuf::encode_body(api_version, kind, &raw);
    let mut back = protobuf::decode_body(&body, |_, _| Some((schema.clone(), ty))).unwrap();
    codec::conform(schema, ty, &mut back, &[]).unwrap();
    codec::canonical(schema, ty, &back)
}

/// Objects of every kind that the conversations name go to protobuf and come back as they were.
#[test]
fn protobuf_goes_there_and_back() {
    let schema = Schema::builtin();
    let mut count = 0;
    for (name, conversation) in recorded("api-conversations") {
        for step in conversation["steps"].as_array().into_iter().flatten() {
            let mut object = step["response"]["body"].clone();
            let Some(ty) = object["metadata"]["uid"].as_str().and_then(|_| type_of(&object)) else {
                continue;
            };
            codec::conform(schema, ty, &mut object, &[]).unwrap();
            let mut object = codec::canonical(schema, ty, &object);
            // Objects within objects have no kind in protobuf: only an envelope has one.
            let claims = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
            for claim in claims.into_iter().flatten() {
                claim.as_object_mut().unwrap().retain(|key, _| key != "kind" && key != "apiVersion");
            }
            assert_eq!(there_and_back(ty, &object), object, "{name}");
            count += 1;
        }
    }
    println!("{count} objects");
}

fn base64(text: &str) -> Vec<u8> {
    let digit = |b: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|d| *d == b)
    };
    let digits: Vec<u32> = text.bytes().filter_map(digit).map(|d| u32::try_from(d).unwrap()).collect();
    let mut out = Vec::new();
    for chunk in digits.chunks(4) {
        let word = chunk.iter().enumerate().fold(0, |word, (at, d)| word | d << (18 - 6 * at));
        out.extend_from_slice(&word.to_be_bytes()[1..chunk.len()]);
    }
    out
}

#[test]
fn protobuf_with_embedded_messages() {
    // Deployment web of `kubectl create deployment`, written out by hand where numbers matter.
    let body = base64(
        "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50EoYBCgUKA3dlYhJ9CAISDAoKCgNhcHASA3dlYhpmCgwKCgoDYXBwEgN3ZWI=",
    );
    // Breaks off within the spec.
    let schema = Schema::builtin();
    let envelope = protobuf::envelope(&body);
    assert_eq!(envelope.unwrap_err(), protobuf::Invalid::Truncated);
    let deployment = schema.by_kind("apps", "v1", "Deployment").unwrap();
    let tree = protobuf::decode(
        schema,
        deployment,
        &[0x0a, 0x05, 0x0a, 0x03, b'w', b'e', b'b', 0x12, 0x02, 0x08, 0x02],
    );
    assert_eq!(tree.unwrap(), serde_json::json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}}));
    // Probe (handler is embedded): handler { httpGet { path "/", port { type 0, int 80 } } }, periodSeconds 3.
    let probe = schema.by_name("io.k8s.api.core.v1.Probe").unwrap();
    let bytes = [0x0a, 0x0b, 0x12, 0x09, 0x0a, 1, b'/', 0x12, 4, 0x08, 0, 0x10, 80, 0x20, 3];
    assert_eq!(
        protobuf::decode(schema, probe, &bytes).unwrap(),
        serde_json::json!({"httpGet": {"path": "/", "port": 80}, "periodSeconds": 3})
    );
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9=+/:T.-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let name = prop_oneof![
            Just("metadata"),
            Just("spec"),
            Just("template"),
            Just("containers"),
            Just("labels"),
            Just("resources"),
            Just("limits"),
            Just("x")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name.prop_map(str::to_owned), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoders_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = codec::decode_json(&bytes);
        let schema = Schema::builtin();
        for kind in [("apps", "v1", "Deployment"), ("", "v1", "Pod"), ("networking.k8s.io", "v1", "Ingress")] {
            let ty = schema.by_kind(kind.0, kind.1, kind.2).unwrap();
            let _ = protobuf::decode(schema, ty, &bytes);
        }
        let mut enveloped = protobuf::MAGIC.to_vec();
        enveloped.extend_from_slice(&bytes);
        let _ = protobuf::envelope(&enveloped);
    }

    /// Conforming twice is conforming once, and so is encoding.
    #[test]
    fn canonical_is_a_fixed_point(mut tree in any_json()) {
        let schema = Schema::builtin();
        let ty = schema.by_kind("apps", "v1", "Deployment").unwrap();
        if codec::conform(schema, ty, &mut tree, &[]).is_ok() {
            let again = {
                let mut again = tree.clone();
                prop_assert!(codec::conform(schema, ty, &mut again, &[]).unwrap().is_empty());
                again
            };
            prop_assert_eq!(&again, &tree);
            let once = codec::encode_to_vec(schema, ty, &tree);
            let back = codec::decode_json(&once).unwrap().value;
            prop_assert_eq!(codec::encode_to_vec(schema, ty, &back), once);
        }
    }

    /// A message with a few bytes changed is read or refused.
    #[test]
    fn damaged_messages_are_refused(changes in proptest::collection::vec((0usize..60, any::<u8>()), 1..4)) {
        let probe = [0x0a, 0x0b, 0x12, 0x09, 0x0a, 1, b'/', 0x12, 4, 0x08, 0, 0x10, 80, 0x20, 3];
        // A pod: a container with that probe, and its name.
        let container = [&[0x0a, 1, b'c', 0x52, 15][..], &probe].concat();
        let spec = [&[0x12, u8::try_from(container.len()).unwrap()][..], &container].concat();
        let mut pod = [&[0x0a, 3, 0x0a, 1, b'p', 0x12, u8::try_from(spec.len()).unwrap()][..], &spec].concat();
        let schema = Schema::builtin();
        let ty = schema.by_kind("", "v1", "Pod").unwrap();
        let whole = protobuf::decode(schema, ty, &pod).unwrap();
        prop_assert_eq!(&whole["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"], 80);
        for (at, byte) in changes {
            let at = at % pod.len();
            pod[at] = byte;
        }
        if let Ok(mut tree) = protobuf::decode(schema, ty, &pod) {
            let _ = codec::conform(schema, ty, &mut tree, &[]);
        }
    }

    #[test]
    fn decoding_agrees_with_serde(tree in any_json()) {
        let text = tree.to_string();
        prop_assert_eq!(codec::decode_json(text.as_bytes()).unwrap().value, tree);
    }
}

#[test]
fn deep_nesting_is_refused() {
    let bomb = "[".repeat(100_000);
    assert!(codec::decode_json(bomb.as_bytes()).is_err());
    let mut message = Vec::new();
    for _ in 0..20_000 {
        // JSONSchemaProps has no protobuf form; nothing else nests for ever, but the bound holds anyway.
        message = [vec![0x0a, 0x7f], message].concat();
        message.truncate(0x7f);
    }
    let schema = Schema::builtin();
    let pod = schema.by_kind("", "v1", "Pod").unwrap();
    let _ = protobuf::decode(schema, pod, &message);
}

/// Custom resources: what Kubernetes prunes and says of it, and that what it answers is canonical.
#[test]
fn custom_resources_as_kubernetes() {
    let (mut pruned, mut answers, mut wrong) = (0, 0, Vec::new());
    for (name, conversation) in recorded("api-conversations") {
        let mut types: std::collections::BTreeMap<String, (Schema, StructId)> =
            std::collections::BTreeMap::new();
        for (at, step) in conversation["steps"].as_array().unwrap().iter().enumerate() {
            let (request, response) = (&step["request"], &step["response"]);
            let object = &response["body"];
            if object["kind"] == "CustomResourceDefinition" {
                let spec = &object["spec"];
                for version in spec["versions"].as_array().into_iter().flatten() {
                    let api_version =
                        format!("{}/{}", spec["group"].as_str().unwrap(), version["name"].as_str().unwrap());
                    types.insert(api_version, Schema::from_crd(&version["schema"]["openAPIV3Schema"]));
                }
                continue;
            }
            if let Some((schema, ty)) = object["apiVersion"].as_str().and_then(|v| types.get(v))
                && object.get("items").is_none()
                && step.get("project").is_none()
            {
                answers += 1;
                let mut tree = object.clone();
                let complaints = codec::conform(schema, *ty, &mut tree, &[]).unwrap();
                let ours = codec::canonical(schema, *ty, &tree);
                if !complaints.is_empty() || ours != *object {
                    wrong.push(format!("{name} {at}: {complaints:?}\n  ours   {ours}\n  theirs {object}"));
                }
            }
            let text = match &request["body"] {
                Value::String(text) => text.clone(),
                body => body.to_string(),
            };
            let Ok(decoded) = codec::decode_json(text.as_bytes()) else { continue };
            let mut tree = decoded.value;
            let Some((schema, ty)) = tree["apiVersion"].as_str().and_then(|v| types.get(v)) else { continue };
            if request["method"] != "POST" {
                continue;
            }
            let ours = codec::conform(schema, *ty, &mut tree, &decoded.duplicates);
            let warnings: Vec<String> = response["headers"]["warning"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|w| w.as_str()?.strip_prefix("299 - "))
                .filter_map(|w| serde_json::from_str(w).ok())
                .filter(|w: &String| w.starts_with("unknown field") || w.starts_with("duplicate field"))
                .collect();
            let message = object["message"].as_str().unwrap_or_default();
            let agreed = match (&ours, message.split_once(" cannot be handled as a Widget: ")) {
                (Ok(ours), Some((_, theirs))) => {
                    theirs == format!("strict decoding error: {}", ours.join(", "))
                }
                (Err(ours), Some((_, theirs))) => theirs == ours.message,
                // A refusal hides the warnings.
                (Ok(ours), None) => response["status"].as_u64() >= Some(400) || *ours == warnings,
                (Err(_), None) => false,
            };
            pruned += 1;
            if !agreed && !request["path"].as_str().unwrap().contains("fieldValidation=Ignore") {
                wrong.push(format!("{name} {at}: {ours:?}\n  theirs {warnings:?} {message}"));
            }
        }
    }
    println!("{pruned} bodies, {answers} answers");
    wrong.truncate(6);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Changing a few fields of stored bytes makes the bytes that decoding, changing and encoding makes.
#[test]
fn splicing_is_what_encoding_does() {
    use orlop_core::codec::{Change, splice};
    let schema = Schema::builtin();
    let ty = schema.by_kind("", "v1", "Pod").unwrap();
    let pods = [
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": []}, "status": {}}),
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a\"}{", "labels": {"x": "1"}, "annotations": {"note\\": "}],\" {"},
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:nodeName": {}}}}]},
            "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}], "nodeName": "old",
                "priority": 0, "terminationGracePeriodSeconds": 30, "restartPolicy": "Always"},
            "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}], "qosClass": "Burstable"}}),
    ];
    let changes = [
        Change { part: "spec", field: "nodeName", value: json!("node-1") },
        Change { part: "spec", field: "priority", value: json!(7) },
        Change { part: "spec", field: "tolerations", value: json!([{"key": "k", "operator": "Exists"}]) },
        Change { part: "spec", field: "nodeName", value: Value::Null },
        Change {
            part: "status",
            field: "conditions",
            value: json!([{"type": "PodScheduled", "status": "True", "lastProbeTime": null}]),
        },
        Change { part: "status", field: "phase", value: json!("") },
        Change { part: "metadata", field: "labels", value: json!({"b": "2", "a": "1"}) },
        Change { part: "metadata", field: "labels", value: json!({}) },
        Change { part: "metadata", field: "annotations", value: json!({"k": "v"}) },
    ];
    for pod in &pods {
        let body = encode(schema, ty, pod).unwrap();
        for choice in 0..1 << changes.len() {
            let chosen: Vec<Change> = changes
                .iter()
                .enumerate()
                .filter(|(i, _)| choice >> i & 1 == 1)
                .map(|(_, c)| c.clone())
                .collect();
            let twice =
                |a: &Change| chosen.iter().filter(|b| (b.part, b.field) == (a.part, a.field)).count() > 1;
            if chosen.iter().any(twice) {
                continue;
            }
            let mut tree = pod.clone();
            for change in &chosen {
                tree[change.part][change.field] = change.value.clone();
            }
            let (quick, slow) =
                (splice(schema, ty, &body, &chosen).unwrap(), encode(schema, ty, &tree).unwrap());
            assert_eq!(format!("{quick:?}"), format!("{slow:?}"));
            assert_eq!(quick.header(), slow.header());
            assert_eq!(quick.parts(), slow.parts());
        }
    }
    // What lookups need, and a part that is absent, are for those who decode.
    let body = encode(schema, ty, &pods[0]).unwrap();
    for (part, field) in [("metadata", "finalizers"), ("nope", "x"), ("spec", "nope")] {
        assert!(splice(schema, ty, &body, &[Change { part, field, value: json!(["f"]) }]).is_none());
    }
}

/// Looking at a few fields of stored bytes finds what decoding finds.
#[test]
fn peeking_is_what_decoding_does() {
    let schema = Schema::builtin();
    let ty = schema.by_kind("", "v1", "Pod").unwrap();
    let fields = [("spec", "nodeName"), ("status", "conditions"), ("metadata", "labels"), ("spec", "x")];
    for pod in [
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"containers": []}}),
        json!({"kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a\"}{", "labels": {"nodeName": "}", "x": "\\"}, "annotations": {"n\\": "}],\" {"}},
            "spec": {"containers": [{"name": "nodeName", "image": "i"}], "nodeName": "n\"1"},
            "status": {"phase": "Pending", "conditions": [{"type": "Ready", "status": "False"}]}}),
    ] {
        let body = encode(schema, ty, &pod).unwrap();
        let tree: Value = serde_json::from_slice(body.bytes()).unwrap();
        let seen = codec::peek(&body, fields).unwrap();
        for ((part, field), text) in fields.iter().zip(seen) {
            let value = text.map(|text| serde_json::from_slice::<Value>(text).unwrap());
            assert_eq!(value.as_ref(), tree.get(part).and_then(|part| part.get(field)), "{part}.{field}");
        }
    }
}

/// A header that was made with the bytes is the one that reading them gives.
#[test]
fn headers_are_what_the_bytes_say() {
    let schema = Schema::builtin();
    let ty = schema.by_kind("", "v1", "Pod").unwrap();
    for metadata in [
        json!({"name": "a", "uid": "u", "labels": {"b": "2", "a": "1"}, "finalizers": ["x", "y"], "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-02-28T23:59:59Z"}),
        json!({"name": "a", "creationTimestamp": "2026-01-01T01:00:00.5+01:00", "resourceVersion": "7"}),
        json!({"name": "a", "creationTimestamp": null, "labels": {}, "finalizers": []}),
        json!({"name": "a", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "2", "blockOwnerDeletion": null}]}),
    ] {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {}});
        let body = encode(schema, ty, &pod).unwrap();
        let read = orlop_core::Body::parse(body.bytes().clone()).unwrap();
        assert_eq!(body.header(), read.header(), "{metadata}");
        assert_eq!(body.parts(), read.parts());
    }
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {}});
    assert!(
        encode(schema, ty, &pod).is_err() || !encode(schema, ty, &pod).unwrap().parts().1.starts_with(b"}")
    );
}

/// A custom resource of any contents.
fn free_form() -> (Schema, StructId) {
    Schema::from_crd(&json!({"type": "object", "properties": {"metadata": {"type": "object"}},
        "x-kubernetes-preserve-unknown-fields": true}))
}

/// What nobody can read again is not stored: whoever read such an object panicked, and controllers were gone for good.
#[test]
fn what_is_nested_too_deeply_is_not_stored() {
    let (schema, ty) = free_form();
    // The object itself is one level, and what is in it the others.
    let object = |levels: usize| {
        let spec = (0..levels - 1)
            .fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) });
        json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "spec": spec})
    };
    let stored = |body: orlop_core::Body| {
        orlop_core::Stored { body: std::sync::Arc::new(body), revision: orlop_core::store::Revision(1) }
            .to_value()
    };
    let body = encode(&schema, ty, &object(codec::DEPTH_MAX)).unwrap();
    assert!(serde_json::from_slice::<Value>(body.bytes()).is_ok(), "what is stored can be read");
    assert_eq!(stored(body)["spec"], object(codec::DEPTH_MAX)["spec"]);
    let error = encode(&schema, ty, &object(codec::DEPTH_MAX + 1)).unwrap_err();
    assert_eq!(error.to_string(), "exceeded max depth of 127");
    // Managed fields count, that are written as they are; brackets in their keys do not.
    let managed = |levels: usize| {
        let below = levels - 2;
        format!(r#"[{{"k:{{\"[[{{{{":{}1{}}}]"#, r#"{"a":"#.repeat(below), "}".repeat(below))
    };
    // They stand in the metadata of the object.
    for (levels, fits) in [(3, true), (codec::DEPTH_MAX - 2, true), (codec::DEPTH_MAX - 1, false)] {
        let body = codec::encode_with(&schema, ty, &object(2), Some(managed(levels).as_bytes()));
        assert_eq!(body.is_ok(), fits, "{levels}: {body:?}");
        assert_eq!(
            body.is_ok_and(|body| serde_json::from_slice::<Value>(body.bytes()).is_ok()),
            fits,
            "{levels}"
        );
    }
    // And what is spliced in does.
    let meta = encode(&schema, ty, &object(2)).unwrap();
    let deep = object(codec::DEPTH_MAX)["spec"].take();
    for (value, fits) in [(deep, false), (json!([{"manager": "m"}]), true)] {
        let change = codec::Change { part: "metadata", field: "managedFields", value };
        assert_eq!(codec::splice(&schema, ty, &meta, &[change]).is_some(), fits);
    }
}

/// Each repetition once kept the path of its key: a body of 3 MB took hundreds of gigabytes.
#[test]
fn a_long_key_with_many_below_it_costs_no_more_than_its_length() {
    let long = "k".repeat(200_000);
    let twice = format!(r#"{{"{long}":{{{}"a":1}}}}"#, r#""a":1,"#.repeat(100_000));
    let decoded = codec::decode_json(twice.as_bytes()).unwrap();
    assert_eq!(decoded.duplicates.len(), 1, "what comes again is told once");
    assert!(decoded.duplicates[0].path.len() <= 1024);
    let many: String = (0..20_000).map(|n| format!(r#""a{n}":1,"a{n}":2,"#)).collect();
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"a"}},"data":{{"x":"1","x":"2"}},"{long}":{{{many}"a":1}}}}"#
    );
    let decoded = codec::decode_json(text.as_bytes()).unwrap();
    assert_eq!(decoded.duplicates.len(), 2, "those whose paths are cut look alike");
    assert_eq!(codec::decode_json(format!("{{{many}\"a\":1}}").as_bytes()).unwrap().duplicates.len(), 100);
    let mut tree = decoded.value;
    let ty = Schema::builtin().by_kind("", "v1", "ConfigMap").unwrap();
    let complaints = codec::conform(Schema::builtin(), ty, &mut tree, &decoded.duplicates).unwrap();
    assert_eq!(complaints[0], r#"duplicate field "data.x""#);
    assert!(
        complaints[1].starts_with("unknown field \"kkk") && complaints.len() == 2,
        "{}",
        complaints.len()
    );

    // The same below maps of objects, and in custom resources.
    let ports = (0..20_000).map(|n| (format!("a{n}"), json!(1))).collect::<serde_json::Map<_, _>>();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "ports": [ports]}]}});
    let ty = Schema::builtin().by_kind("", "v1", "Pod").unwrap();
    assert_eq!(codec::conform(Schema::builtin(), ty, &mut pod, &[]).unwrap().len(), 100);
    let (schema, ty) = Schema::from_crd(&json!({"type": "object", "properties": {"spec": {"type": "object",
        "additionalProperties": {"type": "object", "properties": {"b": {"type": "string"}}}}}}));
    let fields = (0..300).rev().map(|n| (format!("a{n:03}"), json!(1))).collect::<serde_json::Map<_, _>>();
    let mut object = json!({"metadata": {"name": "a", "bogus": 1}, "spec": {"x": fields}});
    let complaints = codec::conform(&schema, ty, &mut object, &[]).unwrap();
    assert_eq!((complaints.len(), &*complaints[0]), (100, r#"unknown field "metadata.bogus""#));
    assert_eq!(
        (&*complaints[1], &*complaints[99]),
        (r#"unknown field "spec.x.a000""#, r#"unknown field "spec.x.a098""#)
    );
}

/// Kubernetes fills structs up, and replaces what it has no types for.
#[test]
fn the_later_of_two_objects_is_filled_up_or_replaces() {
    let text = br#"{"spec":{"a":{"x":1},"b":[1]},"spec":{"a":{"y":2},"b":[2]}}"#;
    assert_eq!(codec::decode_json(text).unwrap().value, json!({"spec": {"a": {"x": 1, "y": 2}, "b": [2]}}));
    let untyped = codec::decode_untyped_json(text).unwrap();
    assert_eq!(untyped.value, json!({"spec": {"a": {"y": 2}, "b": [2]}}));
    assert_eq!(untyped.duplicates.len(), 1);
}
