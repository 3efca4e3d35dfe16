//! Moments and durations.

use super::{Answer, no_overload};
use crate::cel::value::Value;

const SECOND: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
/// Seconds of the years 1 and 9999, the bounds of moments.
const BOUNDS: (i128, i128) = (-62_135_596_800, 253_402_300_799);

/// A moment, where it is within bounds.
pub(super) fn moment(nanos: i128) -> Answer {
    let secs = nanos.div_euclid(SECOND);
    if secs < BOUNDS.0 || secs > BOUNDS.1 {
        return Err("timestamp overflow".into());
    }
    Ok(Value::Timestamp(nanos))
}

/// A day of the calendar, from days since the epoch; the era arithmetic of the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn day_of_year(year: i64, month: i64, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let before = usize::try_from(month - 1).ok().and_then(|m| BEFORE.get(m)).copied().unwrap_or_default();
    before + day - 1 + i64::from(leap && month > 2)
}

/// In RFC 3339, UTC.
pub(super) fn shown(nanos: i128) -> String {
    let secs = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or_default();
    let fraction = nanos.rem_euclid(SECOND);
    let (year, month, day) = civil(secs.div_euclid(DAY));
    let of_day = secs.rem_euclid(DAY);
    let fraction = match fraction {
        0 => String::new(),
        n => format!(".{}", format!("{n:09}").trim_end_matches('0')),
    };
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Seconds east of Greenwich at a moment, of `+02:00`, `-08:00`, `UTC` or a name in IANA's database.
fn offset(zone: &str, at: i64) -> Result<i64, String> {
    let unknown = || format!("unknown time zone {zone}");
    if matches!(zone, "" | "UTC") {
        return Ok(0);
    }
    if !zone.contains(':') {
        return orlop_core::rules::schedule::zone_offset(zone, at).ok_or_else(unknown);
    }
    let (sign, rest) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(unknown)?;
    let number = |text: &str| text.parse::<i64>().ok().filter(|n| (0..60).contains(n)).ok_or_else(unknown);
    Ok(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

pub(super) fn call(function: &str, args: &[Value]) -> Answer {
    let (nanos, zone) = match args {
        [Value::Duration(nanos)] => return of_duration(function, *nanos),
        [Value::Timestamp(nanos)] => (*nanos, 0),
        [Value::Timestamp(nanos), Value::String(zone)] => {
            let at = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or_default();
            (*nanos, offset(zone, at)?)
        }
        _ => return no_overload(),
    };
    let secs = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or_default() + zone;
    let (days, of_day) = (secs.div_euclid(DAY), secs.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    Ok(Value::Int(match function {
        "getFullYear" => year,
        "getMonth" => month - 1,
        "getDayOfYear" => day_of_year(year, month, day),
        "getDayOfMonth" => day - 1,
        "getDate" => day,
        "getDayOfWeek" => (days + 4).rem_euclid(7),
        "getHours" => of_day / 3600,
        "getMinutes" => of_day / 60 % 60,
        "getSeconds" => of_day % 60,
        "getMilliseconds" => i64::try_from(nanos.rem_euclid(SECOND) / 1_000_000).unwrap_or_default(),
        _ => return no_overload(),
    }))
}

fn of_duration(function: &str, nanos: i64) -> Answer {
    Ok(Value::Int(match function {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000 % 1000,
        _ => return no_overload(),
    }))
}
