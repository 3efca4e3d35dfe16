//! Amounts of resources.

use std::cmp::Ordering;

use orlop_core::rules::Quantity;

use super::{Answer, no_overload};
use crate::cel::value::{Opaque, Value};

fn int(order: Ordering) -> Value {
    Value::Int(match order {
        Ordering::Less => -1,
        Ordering::Equal => 0,
        Ordering::Greater => 1,
    })
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    let of = match args.first() {
        Some(Value::String(text)) => {
            let parsed = text.parse::<Quantity>();
            return match function {
                "isQuantity" => Ok(Value::Bool(parsed.is_ok())),
                _ => parsed.map(|q| Value::opaque(Opaque::Quantity(q))).map_err(|e| e.to_string()),
            };
        }
        Some(Value::Opaque(of)) => of,
        _ => return no_overload(),
    };
    let Opaque::Quantity(of) = &**of else { return no_overload() };
    let other = match &args[1..] {
        [] => None,
        [Value::Int(n)] if matches!(function, "add" | "sub") => Some(Quantity::new(*n)),
        [Value::Opaque(other)] => match &**other {
            Opaque::Quantity(other) => Some(other.clone()),
            _ => return no_overload(),
        },
        _ => return no_overload(),
    };
    let exact = || of.as_whole();
    Ok(match (function, other) {
        ("sign", None) => Value::Int(of.signum().into()),
        ("isInteger", None) => Value::Bool(exact().is_some()),
        ("asInteger", None) => match exact() {
            Some(n) => Value::Int(n),
            None => return Err("cannot convert value to integer".into()),
        },
        ("asApproximateFloat", None) => {
            let digits = of.to_decimal_string().and_then(|d| d.parse().ok());
            Value::Double(digits.unwrap_or(f64::INFINITY))
        }
        ("isGreaterThan", Some(other)) => Value::Bool(of.partial_cmp(&other) == Some(Ordering::Greater)),
        ("isLessThan", Some(other)) => Value::Bool(of.partial_cmp(&other) == Some(Ordering::Less)),
        ("compareTo", Some(other)) => int(of.partial_cmp(&other).unwrap_or(Ordering::Equal)),
        ("add", Some(other)) => Value::opaque(Opaque::Quantity(of.clone() + other)),
        ("sub", Some(other)) => Value::opaque(Opaque::Quantity(of.clone() - other)),
        _ => return no_overload(),
    })
}
