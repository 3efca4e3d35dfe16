//! Arithmetic that never wraps around.

use super::{Answer, no_overload};
use crate::cel::value::Value;

pub(super) fn arithmetic(function: &str, args: &[Value]) -> Answer {
    use Value::{Double, Duration, Int, Timestamp, Uint};
    let int = |n: Option<i64>| n.map(Int).ok_or_else(|| "integer overflow".to_owned());
    let uint = |n: Option<u64>| n.map(Uint).ok_or_else(|| "unsigned integer overflow".to_owned());
    let duration = |n: Option<i64>| n.map(Duration).ok_or_else(|| "duration overflow".to_owned());
    match (function, args) {
        ("_+_", [Int(a), Int(b)]) => int(a.checked_add(*b)),
        ("_-_", [Int(a), Int(b)]) => int(a.checked_sub(*b)),
        ("_*_", [Int(a), Int(b)]) => int(a.checked_mul(*b)),
        ("_/_", [Int(_), Int(0)]) | ("_/_", [Uint(_), Uint(0)]) => Err("division by zero".into()),
        ("_%_", [Int(_), Int(0)]) | ("_%_", [Uint(_), Uint(0)]) => Err("modulus by zero".into()),
        ("_/_", [Int(a), Int(b)]) => int(a.checked_div(*b)),
        ("_%_", [Int(a), Int(b)]) => int(a.checked_rem(*b)),
        ("-_", [Int(a)]) => int(a.checked_neg()),
        ("_+_", [Uint(a), Uint(b)]) => uint(a.checked_add(*b)),
        ("_-_", [Uint(a), Uint(b)]) => uint(a.checked_sub(*b)),
        ("_*_", [Uint(a), Uint(b)]) => uint(a.checked_mul(*b)),
        ("_/_", [Uint(a), Uint(b)]) => uint(a.checked_div(*b)),
        ("_%_", [Uint(a), Uint(b)]) => uint(a.checked_rem(*b)),
        ("_+_", [Double(a), Double(b)]) => Ok(Double(a + b)),
        ("_-_", [Double(a), Double(b)]) => Ok(Double(a - b)),
        ("_*_", [Double(a), Double(b)]) => Ok(Double(a * b)),
        ("_/_", [Double(a), Double(b)]) => Ok(Double(a / b)),
        ("-_", [Double(a)]) => Ok(Double(-a)),
        ("-_", [Duration(a)]) => duration(a.checked_neg()),
        ("_+_", [Duration(a), Duration(b)]) => duration(a.checked_add(*b)),
        ("_-_", [Duration(a), Duration(b)]) => duration(a.checked_sub(*b)),
        ("_+_", [Timestamp(a), Duration(b)]) | ("_+_", [Duration(b), Timestamp(a)]) => {
            super::time::moment(a + i128::from(*b))
        }
        ("_-_", [Timestamp(a), Duration(b)]) => super::time::moment(a - i128::from(*b)),
        ("_-_", [Timestamp(a), Timestamp(b)]) => duration(i64::try_from(a - b).ok()),
        _ => no_overload(),
    }
}
