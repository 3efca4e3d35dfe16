//! Manifests as people write them.

use expect_test::{Expect, expect};
use orlop_core::codec::{self, DEPTH_MAX};
use orlop_core::oracle::shared;
use orlop_core::scheme::Scheme;
use orlop_core::yaml;
use proptest::prelude::*;
use serde_json::Value;

#[track_caller]
fn check(text: &str, expected: Expect) {
    let mut out = String::new();
    for document in yaml::documents(text) {
        match document {
            Ok(document) => out += &format!("{}: {}\n", document.index, document.value),
            Err(error) => out += &format!("{error}\n"),
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn reads_yaml_1_1() {
    check(
        "a: yes\ny: 0644\n1: ~\nb: \"no\"\nc: 'off'\nd: !!str 5\ne: 1e3\nf: >-\n  one\n  two\ng: 2024-01-02\n",
        expect![[r#"
            0: {"a":true,"true":420,"1":null,"b":"no","c":"off","d":"5","e":1000,"f":"one two","g":"2024-01-02"}
        "#]],
    );
    check(
        "base: &b {x: 1, y: 2}\none:\n  <<: *b\n  x: 3\ntwo:\n  <<: [{z: 1}, *b]\n",
        expect![[r#"
            0: {"base":{"x":1,"true":2},"one":{"x":3,"true":2},"two":{"z":1,"x":1,"true":2}}
        "#]],
    );
}

#[test]
fn splits_documents() {
    check(
        "# nothing\n---\na: 1\n--- # next\n\n---\nb: |\n  ---\n  x\n---\n{\"c\": 3}\n{\"d\": 4}\n",
        expect![[r#"
            1: {"a":1}
            3: {"b":"---\nx\n"}
            4: {"c":3}
            4: {"d":4}
        "#]],
    );
    check("", expect![""]);
    check(
        "\u{feff}a: 1\r\nb: 2\r\n",
        expect![[r#"
        0: {"a":1,"b":2}
    "#]],
    );
}

#[test]
fn names_the_place_of_mistakes() {
    check(
        "a: 1\n---\nspec:\n  containers:\n  - name: a\n    image: x\n    name: b\n",
        expect![[r#"
            0: {"a":1}
            document 2, line 7, column 5: spec.containers[0].name: "name" stands here for the second time, after line 5
        "#]],
    );
    check(
        "a: [1, 2\nb: 3\n",
        expect![[r#"
        document 1, line 2, column 2: a: illegal placement of ':' indicator
    "#]],
    );
    check(
        "a:\n\tb: 1\n",
        expect![[r#"
        document 1, line 2, column 2: a: tabs disallowed within this context (block indentation)
    "#]],
    );
    check(
        "a: *nobody\n",
        expect![[r#"
        document 1, line 1, column 4: a: while parsing node, found unknown anchor
    "#]],
    );
    check(
        "? [a, b]\n: 1\n",
        expect![[r#"
        document 1, line 1, column 3: a key must be a text, not a list or an object
    "#]],
    );
    check(
        "a: .inf\n",
        expect![[r#"
        document 1, line 1, column 4: a: infinity and not-a-number have no JSON form
    "#]],
    );
}

/// Copied from a web page that swallowed the leading spaces: `metadata:` and `name:` stand in one column. Reported as
/// a duplicate key or an unknown field this would send people looking in the wrong place.
#[test]
fn sees_that_the_indentation_was_lost() {
    check(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\nname: web\nlabels:\napp: web\nspec:\nreplicas: 2\n",
        expect![[r#"
            document 1, line 4, column 1: metadata: metadata is empty and name stands beside it in the same column: the indentation was lost; indent the lines under metadata
        "#]],
    );
    check(
        "apiVersion: example.com/v1\nkind: Widget\nmetadata:\nname: web\nspec:\n  a: 1\n",
        expect![[r#"
            document 1, line 4, column 1: metadata: metadata is empty and name stands beside it in the same column: the indentation was lost; indent the lines under metadata
        "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\ncontainers:\n- name: a\n",
        expect![[r#"
        document 1, line 6, column 1: spec: spec is empty and containers stands beside it in the same column: the indentation was lost; indent the lines under spec
    "#]],
    );
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\nkey: value\n",
        expect![[r#"
        document 1, line 6, column 1: data: data is empty and key stands beside it in the same column: the indentation was lost; indent the lines under data
    "#]],
    );
    // Nothing is lost here.
    check(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: web\ndata:\nimmutable: true\n",
        expect![[r#"
            0: {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"web"},"data":null,"immutable":true}
        "#]],
    );
}

#[test]
fn knows_where_fields_stand() {
    let text = "kind: Pod\n---\nspec:\n  containers:\n  - name: a\n    image: x\n  - {name: b, image: y}\n";
    let documents: Vec<_> = yaml::documents(text).into_iter().map(Result::unwrap).collect();
    let at = |path: &str| documents[1].locate(path);
    assert_eq!(at("spec"), Some((3, 1)));
    assert_eq!(at("spec.containers[0].image"), Some((6, 5)));
    assert_eq!(at("spec.containers[1]"), Some((7, 5)));
    assert_eq!(at("spec.containers[1].image"), Some((7, 15)));
    // What is not there is looked for in what is around it.
    assert_eq!(at("spec.containers[0].ports[3].name"), Some((5, 5)));
    assert_eq!(at("nowhere"), None);
}

/// Keys may have dots and brackets in them.
#[test]
fn places_of_keys_that_look_like_paths() {
    let text =
        "metadata:\n  labels:\n    app: a\n    app.kubernetes.io/name: b\n    x[0]: c\n  x.y:\n  - z.w: 1\n";
    let document = yaml::documents(text).remove(0).unwrap();
    for (path, line) in [
        ("metadata.labels.app", 3),
        ("metadata.labels.app.kubernetes.io/name", 4),
        ("metadata.labels.app.kubernetes.io/other", 3),
        ("metadata.labels.x[0]", 5),
        ("metadata.labels.x[1]", 2),
        ("metadata.x.y[0].z.w", 7),
        ("metadata.x.y[1]", 6),
        ("metadata.x", 1),
    ] {
        assert_eq!(document.locate(path).map(|(line, _)| line), Some(line), "{path}");
    }
}

/// The path of every field was kept, though nobody asked where it was: 3 MB took hundreds of gigabytes.
#[test]
fn a_long_key_with_many_below_it_costs_no_more_than_its_length() {
    let long = "k".repeat(200_000);
    let below: String = (0..20_000).map(|n| format!("  a{n}: {n}\n  a{n}: 1\n")).collect();
    let text = format!("? {long}\n:\n{below}");
    let decoded = yaml::decode(&text).unwrap();
    assert_eq!(decoded.value[&long].as_object().unwrap().len(), 20_000);
    assert_eq!(decoded.complaint.unwrap().lines().count(), 101, "a hundred are told");
    let error = yaml::documents(&text).remove(0).unwrap_err();
    assert_eq!((error.line, &*error.message), (4, "\"a0\" stands here for the second time, after line 3"));
}

/// What the reader takes in can be stored and read again.
#[test]
fn nesting_ends_where_json_ends() {
    let deep = |levels: usize, inner: &str| format!("{}{inner}{}", "[".repeat(levels), "]".repeat(levels));
    for (text, fits) in [
        (deep(DEPTH_MAX, ""), true),
        (deep(DEPTH_MAX, "x"), true),
        (deep(DEPTH_MAX + 1, ""), false),
        (deep(DEPTH_MAX - 1, "{}"), true),
        (deep(DEPTH_MAX, "{}"), false),
        (format!("- &a {{}}\n- {}", deep(DEPTH_MAX - 2, "*a")), true),
        (format!("- &a {{}}\n- {}", deep(DEPTH_MAX - 1, "*a")), false),
    ] {
        let read = yaml::decode(&text);
        assert_eq!(read.is_ok(), fits, "{text}");
        if let Ok(read) = read {
            assert!(serde_json::from_str::<Value>(&read.value.to_string()).is_ok());
        }
    }
}

#[test]
fn request_bodies_tell_of_duplicates() {
    let decoded = yaml::decode("data:\n  a.b: b\n  a.b: c\n").unwrap();
    assert_eq!(
        decoded.complaint.unwrap(),
        "yaml: unmarshal errors:\n  line 3: key \"a.b\" already set in map"
    );
    let decoded = yaml::decode("a: 1\ndata:\n  a: b\n  a: c\n").unwrap();
    assert_eq!(decoded.complaint.unwrap(), "yaml: unmarshal errors:\n  line 4: key \"a\" already set in map");
    assert_eq!(decoded.value["data"]["a"], "c");
}

/// A few lines that stand for billions of nodes.
#[test]
fn alias_bombs_are_refused() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..20 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        text += &format!("a{n}: &a{n} [{}]\n", before.trim_end_matches(", "));
    }
    let error = yaml::documents(&text).remove(0).unwrap_err();
    assert!(error.message.contains("excessive aliasing"), "{error}");
    let mut deep = "a0: &a0 {}\n".to_owned();
    for n in 1..500 {
        deep += &format!("a{n}: &a{n} {{k: *a{}}}\n", n - 1);
    }
    assert!(yaml::documents(&deep).remove(0).is_err());
    assert!(yaml::documents(&"[".repeat(100_000)).remove(0).is_err());
}

/// Every manifest that others wrote is read, known to the schema, and the same after a way through the store.
#[test]
fn manifests_of_others() {
    let Some(root) = shared("manifests") else { return };
    let expected: Value =
        serde_json::from_slice(&std::fs::read(root.join("expected.json")).unwrap()).unwrap();
    let scheme = Scheme::builtin();
    let (mut files, mut objects, mut wrong) = (0, 0, Vec::new());
    for (file, answer) in expected.as_object().unwrap() {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        files += 1;
        let refusals: String =
            answer["apply"]["stderr"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for document in yaml::documents(&text) {
            let mut document = match document {
                Ok(document) => document,
                Err(error) => {
                    wrong.push(format!("{file}: {error}"));
                    continue;
                }
            };
            let items = match document.value["items"].as_array() {
                Some(items) if document.value["kind"] == "List" => items.clone(),
                _ => vec![std::mem::take(&mut document.value)],
            };
            for mut object in items {
                let api_version = object["apiVersion"].as_str().unwrap_or_default().to_owned();
                let kind = object["kind"].as_str().unwrap_or_default().to_owned();
                let Some(resource) = scheme.by_api_version(&api_version, &kind) else { continue };
                objects += 1;
                let schema = &resource.schema;
                match codec::conform(schema, resource.ty, &mut object, &[]) {
                    Ok(complaints) => {
                        wrong.extend(
                            complaints
                                .iter()
                                .filter(|c| !refusals.contains(c.as_str()))
                                .map(|c| format!("{file} {kind}: {c}")),
                        );
                    }
                    Err(error) => {
                        wrong.push(format!(
                            "{file} {kind}: {} {:?}",
                            error.message,
                            document.locate(&error.path)
                        ));
                        continue;
                    }
                }
                let once = codec::encode(schema, resource.ty, &object).unwrap();
                let mut back = codec::decode_json(once.bytes()).unwrap().value;
                codec::conform(schema, resource.ty, &mut back, &[]).unwrap();
                let twice = codec::encode(schema, resource.ty, &back).unwrap();
                assert_eq!(once.bytes(), twice.bytes(), "{file}");
                // And what we write as YAML is read as the same.
                let written = yaml::to_string(&back);
                let again =
                    yaml::documents(&written).remove(0).unwrap_or_else(|e| panic!("{file}: {e}\n{written}"));
                assert_eq!(again.value, back, "{file}\n{written}");
            }
        }
    }
    println!("{files} files, {objects} objects");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn any_tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~\n\u{e9}\u{1f600}]{0,20}".prop_map(Value::from),
        "(yes|no|on|y|~|null|0x1f|0644|1e3|- a|a: b|#x|<<|---)".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[ -~]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(tree in any_tree()) {
        prop_assume!(!tree.is_null());
        let text = yaml::to_string(&tree);
        let read = yaml::documents(&text);
        prop_assert_eq!(read.len(), 1, "{}", text);
        match &read[0] {
            Ok(document) => prop_assert_eq!(&document.value, &tree, "{}", text),
            Err(error) => prop_assert!(false, "{error}\n{text}"),
        }
    }

    #[test]
    fn no_text_makes_the_reader_stumble(text in "([a-c]: |- |\\n|  |\\[|\\]|\\{|\\}|,|&a |\\*a|\"|'|\\||>|#|---|\\t|!!int |<<: |1|x){0,40}") {
        let _ = yaml::documents(&text);
        let _ = yaml::decode(&text);
    }

    #[test]
    fn no_bytes_make_the_reader_stumble(text in "\\PC{0,80}") {
        let _ = yaml::documents(&text);
    }
}
