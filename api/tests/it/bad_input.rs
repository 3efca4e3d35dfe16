//! Whatever bytes come, there is an answer in Kubernetes' form.
//!
//! `PROPTEST_CASES=100000 cargo test --release -p orlop-api --test it bad_input` looks longer than every run does.

use orlop_api::fuzz::{ALL, Target};
use proptest::prelude::*;

thread_local! {
    static TARGET: Target = Target::default();
}

/// Documents that are right, or nearly so, of each sort: what is near to right gets furthest.
const SEEDS: [&str; 23] = [
    r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}]}}}}"#,
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: &m {name: x, labels: {<<: {a: b}}}\nspec:\n  template: *m\n",
    "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c]\n",
    r#"[{"op":"add","path":"/metadata/labels/x","value":"y"},{"op":"test","path":"/spec/replicas","value":1}]"#,
    r#"[{"op":"move","from":"/spec/template","path":"/spec/template/spec"},{"op":"remove","path":"/spec/template/spec/containers/0"}]"#,
    r#"[{"op":"copy","from":"","path":"/metadata/annotations"},{"op":"replace","path":"/spec/replicas","value":-1}]"#,
    r#"{"spec":{"template":{"spec":{"containers":[{"name":"a","$patch":"delete"},{"name":"c","image":"c"}],"$setElementOrder/containers":[{"name":"c"},{"name":"b"}]}}}}"#,
    r#"{"spec":{"template":{"spec":{"$retainKeys":["containers"],"containers":[{"$patch":"replace"},{"name":"z"}]}}},"metadata":{"$deleteFromPrimitiveList/finalizers":["a"],"labels":null}}"#,
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, managedFields: [{manager: a, fieldsV1: {\"f:a\": {}}}]}\nspec: {replicas: 3}\n",
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, nmae: web}\nspec: {replicsa: 3}\n",
    "a in (b, c),!d,e!=f,g notin (h)",
    "metadata.name=a,metadata.namespace!=b\\,c",
    "k8s\0\n\x15\n\x07apps/v1\x12\nDeployment\x12\x10\n\x0e\n\x01x\x12\0\x1a\0",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJ4XHUwMDAwIn0",
    "- 0o17\n- 1e999\n- !!binary aGk=\n- ? [a]\n  : b\n--- \n...\n%YAML 1.2\n",
    "{\"metadata\": {\"name\": 12345678901234567890123456789, \"labels\": [[[[[[[[]]]]]]]]}}",
    "\u{feff}kind: \"\\u0000\"\n\tx: |+9\n y",
    "object.spec.ports.all(p, p > 0 && p < 65536) && !has(oldObject.spec) ? 'a' + string(1.5e3) : b'\\x00' == bytes(\"x\")",
    "[1, 2u, -9223372036854775808, 0x7fffffffffffffff].map(x, x * 2).exists_one(x, x % 0 == 1)",
    "object.metadata.name.matches('^(a+)+$') || object.spec.image.replace('w', 'x', -1).split(':')[1].charAt(9) == ''",
    "duration('1h') + timestamp('2024-01-01T00:00:00Z') > timestamp(0) && quantity('1Ki').isLessThan(quantity('1e99'))",
    "Object{metadata: Object.metadata{labels: {'a': 'b'}}} == object || [[[[optional.of(1).orValue({})]]]] == []",
    "authorizer.group('').resource('pods').namespace(request.namespace).check('get').allowed() ? r'\\d' : \"\"\"\u{1F600}\"\"\"",
];

fn arb_input() -> impl Strategy<Value = Vec<u8>> {
    let seed = (0..SEEDS.len()).prop_map(|at| SEEDS[at].as_bytes().to_vec());
    let damaged = (seed, any::<prop::sample::Index>(), any::<Vec<u8>>(), 0usize..12).prop_map(
        |(mut bytes, at, put, cut)| {
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            let put = put.into_iter().take(8);
            drop(bytes.splice(at..end, put));
            bytes
        },
    );
    let other = "[-a-z{}\\[\\]:,&*!$\"' \\n<>|0-9.=()/~]{0,80}".prop_map(String::into_bytes);
    prop_oneof![4 => damaged, 1 => any::<Vec<u8>>(), 2 => other]
}

proptest! {
    #[test]
    fn everything_is_answered(input in arb_input()) {
        TARGET.with(|target| {
            for (_, run) in ALL {
                run(target, &input);
            }
        });
    }
}

#[test]
fn what_is_right_or_nearly_so_is_answered() {
    TARGET.with(|target| {
        for seed in SEEDS {
            ALL.iter().for_each(|(_, run)| run(target, seed.as_bytes()));
        }
    });
}

/// Few bytes that mean many, or lead deep.
#[test]
fn bombs_are_defused() {
    let aliases: String =
        (1..64).map(|n| format!("a{n}: &a{n} [*a{m}, *a{m}, *a{m}, *a{m}]\n", m = n - 1)).collect();
    let merges: String =
        (1..40).map(|n| format!("m{n}: &m{n} {{<<: [*m{m}, *m{m}], k{n}: 1}}\n", m = n - 1)).collect();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let bombs = [
        format!("a0: &a0 [x]\n{aliases}"),
        format!("m0: &m0 {{k: 1}}\n{merges}"),
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("- ", ""),
        format!("{{\"spec\": {}}}", deep("[", "]")),
        format!("[{{\"op\": \"add\", \"path\": \"/metadata{}\", \"value\": 1}}]", "/a".repeat(100_000)),
        "a=b,".repeat(50_000),
        "\x0a".repeat(100_000),
        deep("(", ")"),
        deep("!", ""),
        deep("[1].map(x, ", ")"),
        format!("{}1", "1 + ".repeat(100_000)),
        format!("{}1", "true ? 1 : ".repeat(100_000)),
        format!("object{}", ".a".repeat(100_000)),
        format!(
            "{0}.map(a, {0}.map(b, {0}.map(c, {0}.map(d, a + b + c + d))))",
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 0]"
        ),
        format!("'{}'.matches('{}')", "a".repeat(10_000), "(a*)*".repeat(1_000)),
        format!("[{}].map(s, s + s).map(s, s + s).map(s, s + s)", "'aaaaaaaaaaaaaaaa', ".repeat(1_000)),
    ];
    TARGET.with(|target| {
        for bomb in bombs {
            ALL.iter().for_each(|(_, run)| run(target, bomb.as_bytes()));
        }
    });
}
