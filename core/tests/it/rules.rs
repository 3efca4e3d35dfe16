//! Shared rules against the recorded answers of Kubernetes, and their laws.

use expect_test::{Expect, expect};
use orlop_core::oracle::Family;
use orlop_core::rules::{Format, Quantity, Selector, oracle};
use proptest::prelude::*;

fn all_agree(family: &Family) {
    if let Some(tally) = family.check() {
        assert!(tally.all(), "{}: {} of {} agreed", family.name, tally.agreed, tally.cases);
    }
}

#[test]
fn quantities_as_kubernetes() {
    all_agree(&oracle::QUANTITY);
}

#[test]
fn selectors_as_kubernetes() {
    all_agree(&oracle::LABEL_SELECTORS);
}

#[test]
fn pod_resources_as_kubernetes() {
    // The view does not tell `resources: {}` from none, which only the class of such a pod would show.
    let told = |case: &orlop_core::oracle::Case| {
        case.input["pod"]["spec"]["resources"].as_object().is_none_or(|resources| !resources.is_empty())
    };
    if let Some(tally) = oracle::POD_RESOURCES.check_some(told) {
        assert!(tally.all(), "{} of {} agreed", tally.agreed, tally.cases);
    }
}

#[track_caller]
fn check(quantities: &str, expected: Expect) {
    let mut out = String::new();
    for text in quantities.split(' ') {
        match text.parse::<Quantity>() {
            Ok(q) => out += &format!("{text} -> {q} {:?} {} {}m\n", q.format(), q.value(), q.milli_value()),
            Err(e) => out += &format!("{text} -> {e}\n"),
        }
    }
    expected.assert_eq(&out);
}

#[test]
fn quantities_print_canonically() {
    check(
        "1000m 1024Mi 1.5Gi 0.1n -2500m 1e3 12E 8Ei 9Ei 1e99 1e2000000000 1x",
        expect![[r#"
        1000m -> 1 DecimalSI 1 1000m
        1024Mi -> 1Gi BinarySI 1073741824 1073741824000m
        1.5Gi -> 1536Mi BinarySI 1610612736 1610612736000m
        0.1n -> 1n DecimalSI 1 1m
        -2500m -> -2500m DecimalSI -3 -2500m
        1e3 -> 1e3 DecimalExponent 1000 1000000m
        12E -> 12E DecimalSI 9223372036854775807 9223372036854775807m
        8Ei -> 9223372036854775807 BinarySI 9223372036854775807 9223372036854775807m
        9Ei -> 9223372036854775807 BinarySI 9223372036854775807 9223372036854775807m
        1e99 -> 1e99 DecimalExponent 9223372036854775807 9223372036854775807m
        1e2000000000 -> 100e1999999998 DecimalExponent 9223372036854775807 9223372036854775807m
        1x -> quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
    "#]],
    );
}

#[test]
fn quantities_from_json_numbers() {
    let read = |json: &str| serde_json::from_str::<Quantity>(json).map(|q| q.to_string()).unwrap();
    assert_eq!(
        (read("2"), read("0.5"), read("\"1Gi\""), read("null")),
        ("2".into(), "500m".into(), "1Gi".into(), "0".into())
    );
    assert_eq!(serde_json::to_string(&Quantity::from_bytes(1 << 30)).unwrap(), "\"1Gi\"");
}

#[test]
fn a_hostile_exponent_costs_no_memory() {
    let far: Quantity = "1e2000000000".parse().unwrap();
    let near = Quantity::new(1);
    assert!(far > near && -far.clone() < near);
    assert_eq!((far.clone() + near).to_string(), far.to_string());
    assert_eq!(far.value(), i64::MAX);
}

fn quantity() -> impl Strategy<Value = Quantity> {
    let suffix =
        prop::sample::select(vec!["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "Ti", "e3", "e-3"]);
    (any::<i64>(), 0..40u32, suffix).prop_map(|(n, shift, suffix)| {
        format!("{}{suffix}", n >> shift).parse().expect("a number with a suffix is a quantity")
    })
}

proptest! {
    #[test]
    fn printing_and_parsing_are_inverse(a in quantity()) {
        let again: Quantity = a.to_string().parse().unwrap();
        prop_assert_eq!(&again, &a);
        prop_assert_eq!(again.to_string(), a.to_string());
    }

    #[test]
    fn sums_undo_and_commute(a in quantity(), b in quantity()) {
        prop_assert_eq!(a.clone() + b.clone(), b.clone() + a.clone());
        prop_assert_eq!(a.clone() + b.clone() - b.clone(), a.clone());
        prop_assert_eq!((a.clone() - b.clone()).signum(), a.cmp(&b) as i32);
    }

    #[test]
    fn any_text_parses_or_not(text in "[-+]?[0-9.]{0,30}[eEinumkKMGTP]{0,2}[-+]?[0-9]{0,3}") {
        if let Ok(q) = text.parse::<Quantity>() {
            prop_assert_eq!(q.to_string().parse::<Quantity>().unwrap(), q.with_format(Format::DecimalSI));
        }
    }

    #[test]
    fn selectors_survive_their_text(text in "[ab!=,() ]{0,12}|a (in|notin) \\([ab,]{0,5}\\)") {
        if let Ok(selector) = text.parse::<Selector>() {
            let again: Selector = selector.to_string().parse().unwrap();
            prop_assert_eq!(again.to_string(), selector.to_string());
        }
    }
}

#[test]
fn quotas_as_kubernetes() {
    all_agree(&oracle::RESOURCE_QUOTA);
}

/// Each zero once was a division of all the digits: this took hours.
#[test]
fn a_million_zeros_are_printed_at_once() {
    let zeros = 999_999;
    let text = format!("1{}", "0".repeat(zeros));
    assert_eq!(text.parse::<Quantity>().unwrap().to_string(), format!("1e{zeros}"));
    let odd = format!("12{}5{}", "0".repeat(zeros), "0".repeat(7));
    let printed = odd.parse::<Quantity>().unwrap().to_string();
    assert!(printed == format!("12{}50M", "0".repeat(zeros)));
    // The sum of these has the format of the one and the exponent of the other.
    let sum = "1Ki".parse::<Quantity>().unwrap() + "1e2000000000".parse().unwrap();
    assert_eq!(sum.to_string(), "100e1999999998");
}
