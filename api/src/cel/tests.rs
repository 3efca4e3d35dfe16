//! The language, one line for each expression: `source => result`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{Activation, Decl, Env, Type, Value, compile};
use crate::crd::schema::Node;

const LIMIT: u64 = 1_000_000;

fn env() -> Env {
    Env::default().with("object", Type::Dyn).with("names", Type::list(Type::String)).with("count", Type::Int)
}

fn values() -> Activation<'static> {
    let object = json!({"a": 1, "b": "x", "list": [3, 1, 2], "map": {"k": "v"}, "none": null});
    Activation::default()
        .with("object", Value::from_json(&object))
        .with("names", Value::from_json(&json!(["ann", "bob"])))
        .with("count", Value::Int(3))
}

fn shown(source: &str) -> String {
    match compile(source, &env()) {
        Err(why) => format!("refused: {}", why.lines().next().unwrap_or_default()),
        Ok(program) => match program.evaluate(&values(), LIMIT) {
            Err(failure) => format!("error: {failure}"),
            Ok((value, cost)) => {
                assert!(cost <= LIMIT, "{source}: {cost} is more than it may cost");
                match value.to_json() {
                    Some(json) => json.to_string(),
                    None => format!("{} without JSON", value.type_name()),
                }
            }
        },
    }
}

fn check(table: &str) {
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (source, expected) = line.rsplit_once(" => ").unwrap_or_else(|| panic!("no result in {line}"));
        assert_eq!(shown(source), expected, "{source}");
    }
}

#[test]
fn operators() {
    check(
        r#"
        1 + 2 * 3 => 7
        (1 + 2) * 3 => 9
        -7 / 2 => -3
        -7 % 2 => -1
        1 / 0 => error: division by zero
        9223372036854775807 + 1 => error: integer overflow
        -9223372036854775808 => -9223372036854775808
        7u - 8u => error: unsigned integer overflow
        'a' + "b" => "ab"
        1 < 2.5 => true
        2u >= 2 => true
        'b' > 'a' => true
        1 == 1 && !(2 == 3) => true
        object.missing == 1 || true => true
        true || object.missing == 1 => true
        object.missing == 1 && false => false
        object.missing == 1 => error: no such key: missing
        count > 2 ? 'many' : 'few' => "many"
        1 in [1, 2] => true
        'k' in object.map => true
        'ann' in names => true
        object.none == null => true
        [1, 2] + [3] => [1,2,3]
        {'a': 1}.a => 1
        [1, 2, 3][1] => 2
        [1][3] => error: index out of bounds: 3
        r'\d' + '\n' => "\\d\n"
        size('añb') => 3
        b'abc'.size() => 3
        type(1) == int => true
        has(object.a) && !has(object.z) => true
        "#,
    );
}

#[test]
fn macros() {
    check(
        r#"
        object.list.all(x, x > 0) => true
        object.list.exists(x, x == 2) => true
        object.list.exists_one(x, x > 2) => true
        object.list.map(x, x * 2) => [6,2,4]
        object.list.map(x, x > 1, x * 2) => [6,4]
        object.list.filter(x, x > 1) => [3,2]
        object.map.all(k, k == 'k') => true
        object.list.all(i, x, x > i - 1) => true
        [1, 2].transformList(i, x, i + x) => [1,3]
        {'a': 1}.transformMap(k, v, v + 1) => {"a":2}
        [1, 2].exists(x, [2, 3].exists(y, x == y)) => true
        names.exists(n, n.startsWith('b')) => true
        optional.of(3).optMap(x, x + 1).orValue(0) => 4
        object.?missing.orValue('none') => "none"
        object.?map.?k.orValue('none') => "v"
        object.map[?'z'].hasValue() => false
        [1, 2, 3].map(x, [x].map(y, y + x)) => [[2],[4],[6]]
        "#,
    );
}

#[test]
fn types_are_checked_before_anything_runs() {
    check(
        r#"
        1 + 'a' => refused: ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'
        1 == 1.0 => refused: ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, double)'
        nothing => refused: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')
        names.size('a') => refused: ERROR: <input>:1:11: found no matching overload for 'size' applied to 'list(string).(string)'
        count.x => refused: ERROR: <input>:1:6: type 'int' does not support field selection
        'a'.matches('(') => refused: ERROR: <input>:1:13: invalid matches argument
        [1, 'a'] => refused: ERROR: <input>:1:5: expected type 'int' but found 'string'
        count.all(x, true) => refused: ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)
        object.spec.( => refused: ERROR: <input>:1:13: Syntax error: no viable alternative at input '.('
        package.x => refused: ERROR: <input>:1:1: Syntax error: reserved identifier: package
        "#,
    );
}

#[test]
fn libraries() {
    check(
        r#"
        'a,b'.split(',') => ["a","b"]
        ['a', 'b'].join('-') => "a-b"
        'Hello'.lowerAscii().replace('l', 'L', 1) => "heLlo"
        'abc'.substring(1, 2) => "b"
        'abc'.indexOf('c') => 2
        ' x '.trim() => "x"
        'ab12'.find('[0-9]+') => "12"
        'a1b22'.findAll('[0-9]+') => ["1","22"]
        'v1'.matches('^v\\d$') => true
        '%s has %d of %.2f'.format(['x', 3, 2.5]) => "x has 3 of 2.50"
        [3, 1, 2].sort() => [1,2,3]
        ["ccc", "a", "bb"].sortBy(s, size(s)) => ["a","bb","ccc"]
        [{"n": 2}, {"n": 1}].sortBy(m, int(m.n)).map(m, m.n) => [1,2]
        timestamp("2026-07-01T12:00:00Z").getHours("Europe/Berlin") => 14
        timestamp("2026-01-01T12:00:00Z").getHours("Europe/Berlin") => 13
        timestamp("2026-01-01T02:00:00Z").getDate("America/New_York") => 31
        [1, 2, 2].isSorted() && [1, 2].sum() == 3 => true
        [3, 1, 2].min() + [3, 1, 2].max() => 4
        sets.contains([1, 2, 3], [2]) => true
        quantity('1Gi').isGreaterThan(quantity('500Mi')) => true
        quantity('1500m').asApproximateFloat() => 1.5
        isQuantity('many') => false
        semver('1.2.3').isLessThan(semver('1.10.0')) => true
        isSemver('v1') => false
        ip('10.0.0.1').family() => 4
        cidr('10.0.0.0/8').containsIP('10.1.2.3') => true
        isIP('::ffff:1.2.3.4') => false
        url('https://a.example:8443/x?y=1').getHost() => "a.example:8443"
        url('/x').getEscapedPath() => "/x"
        timestamp('2026-01-02T03:04:05Z').getFullYear() => 2026
        timestamp('2026-01-02T03:04:05Z').getDayOfWeek() => 5
        timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h') => true
        duration('90s').getMinutes() => 1
        string(duration('1m30s')) => "90s"
        int('12') + 1 => 13
        format.dns1123Label().validate('Bad').hasValue() => true
        format.named('odd').hasValue() => false
        jsonpatch.escapeKey('a/b~c') => "a~1b~0c"
        "#,
    );
}

/// Kubernetes ends what costs too much; a loop over a loop over a loop is the usual case.
#[test]
fn a_run_ends_at_its_limit() {
    let source = "lists.range(300).all(x, lists.range(300).all(y, lists.range(300).all(z, x + y + z >= 0)))";
    let failure = compile(source, &env()).unwrap().evaluate(&values(), LIMIT).unwrap_err();
    assert_eq!(failure.to_string(), "operation cancelled: actual cost limit exceeded");
}

/// The figures by which Kubernetes refuses rules: an unbounded text compared with itself costs a tenth of 3 MiB.
#[test]
fn estimates_follow_the_sizes_that_a_schema_allows() {
    let estimate = |schema: serde_json::Value, rule: &str| {
        let node = Node::read(&schema);
        let decl = Decl::of(&node, false).unwrap();
        let env = Env::default().with("self", decl.ty.clone());
        let variables = BTreeMap::from([("self", &decl)]);
        compile(rule, &env).unwrap().estimate(&variables)
    };
    let text = json!({"type": "string"});
    assert_eq!(estimate(text, "self == self"), 314_575);
    let short = json!({"type": "string", "maxLength": 10});
    assert_eq!(estimate(short, "self == self"), 3);
    let object = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    assert_eq!(estimate(object, "self.n >= 0"), 3);
    let list = json!({"type": "array", "maxItems": 5, "items": {"type": "integer"}});
    assert_eq!(estimate(list, "self.all(x, x > 0)"), 1 + 5 * 5 + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever is written, it is refused, fails or has a result; it neither panics nor runs for long.
    #[test]
    fn nothing_panics(source in "[a-z0-9 .,()\\[\\]{}?:!&|<>=+*/%'\"\\\\-]{0,60}") {
        let _ = shown(&source);
    }

    /// Parts of the language in any order come nearer to what compiles.
    #[test]
    fn no_phrase_panics(parts in prop::collection::vec(prop::sample::select(vec![
        "object", ".a", ".list", ".all(x, ", "x", ")", " == ", " + ", "1", "'a'", "[", "]", "{", "}", ": ", ", ", "?",
        ".map(x, ", "has(", "size(", "names", ".exists(i, v, ", "-", "!", "(", "optional.of(", ".orValue(", "2u", "1.5",
        ".?b", "[?0]", "string(", "duration('1h')", "quantity('1')", ".format([", "b'x'", "r'\\d'", "&&", "||",
    ]), 0..14)) {
        let _ = shown(&parts.concat());
    }
}

/// Nesting is bounded, so that no expression exhausts the stack.
#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("(", ")"), ("[", "]"), ("[1].all(x, ", ")")] {
        let source = format!("{}true{}", open.repeat(5000), close.repeat(5000));
        let refused = shown(&source);
        assert!(refused.starts_with("refused: ERROR"), "{open}: {refused}");
    }
    // Marks in a row are no nesting.
    assert_eq!(shown(&format!("{}true", "!".repeat(5000))), "true");
    let chain = vec!["1"; 5000].join(" + ");
    assert!(shown(&chain).starts_with("refused: ERROR"), "a chain is as deep as it is long");
}
