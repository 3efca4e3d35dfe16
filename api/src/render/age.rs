//! How long ago, as kubectl prints it.

use orlop_core::Timestamp;
use serde_json::Value;

/// A span in at most two units, the coarser the longer: `45s`, `2m3s`, `5h`, `3d2h`, `2y`.
///
/// Slightly negative spans (clocks that differ) are `0s`, others `<invalid>`.
pub fn human(nanos: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    let seconds = nanos / SECOND;
    if seconds < -1 {
        return "<invalid>".into();
    }
    if seconds < 0 {
        return "0s".into();
    }
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let two = |big: i128, unit: char, small: i128, sub: char| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{sub}") }
    };
    let minutes = seconds / 60;
    if minutes < 10 {
        return two(minutes, 'm', seconds % 60, 's');
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    match hours {
        0..8 => two(hours, 'h', minutes % 60, 'm'),
        8..48 => format!("{hours}h"),
        48..192 => two(hours / 24, 'd', hours % 24, 'h'),
        192..17_520 => format!("{}d", hours / 24),
        17_520..70_080 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// A moment that stands for whichever the present will be.
pub(super) const LATER: Timestamp = Timestamp::MAX;
/// Stands around the nanoseconds of the moment from which a span up to [`LATER`] counts.
pub(super) const MARK: char = '\u{1}';

/// The span between two moments, printed.
pub fn between(from: Timestamp, to: Timestamp) -> String {
    if to == LATER {
        return format!("{MARK}{}{MARK}", from.nanos());
    }
    human(i128::from(to.nanos()) - i128::from(from.nanos()))
}

/// The age of what happened at the time in `value`; `<unknown>` where there is none.
pub fn since(value: &Value, now: Timestamp) -> String {
    match time(value) {
        Some(at) => between(at, now),
        None => "<unknown>".into(),
    }
}

/// The moment that a field holds.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_units_at_most() {
        let s = |seconds: i128| human(seconds * 1_000_000_000);
        let shown: Vec<String> =
            [-2, -1, 0, 119, 120, 123, 599, 600, 10_799, 10_800, 28_740, 28_800, 172_799, 172_800, 691_200]
                .into_iter()
                .map(s)
                .collect();
        assert_eq!(shown.join(" "), "<invalid> 0s 0s 119s 2m 2m3s 9m59s 10m 179m 3h 7h59m 8h 47h 2d 8d");
    }
}
