//! Time as an input: [`Timestamp`], [`Clock`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, in nanoseconds since the Unix epoch.
///
/// Printed and parsed as RFC 3339. Kubernetes keeps whole seconds in most places (`metav1.Time`, what
/// [`Timestamp`]'s `Display` and serde forms give) and microseconds in a few (`metav1.MicroTime`, see
/// [`Timestamp::to_micro_string`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// Later than every moment that occurs.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Timestamp {
        Timestamp(nanos)
    }

    /// From whole seconds since the epoch.
    pub const fn from_secs(secs: i64) -> Timestamp {
        Timestamp(secs.saturating_mul(1_000_000_000))
    }

    /// Nanoseconds since the epoch of any moment in RFC 3339 form, also of one that a `Timestamp` does not hold.
    ///
    /// # Errors
    /// When the text is not one.
    pub fn nanos_of(text: &str) -> Result<i128, InvalidTimestamp> {
        match Moment::parse(text) {
            Some((moment, _)) => Ok(i128::from(moment.secs) * 1_000_000_000 + i128::from(moment.nanos)),
            None => Err(InvalidTimestamp(text.to_owned())),
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// This moment without its fraction of a second: what the API keeps.
    pub const fn truncate_to_secs(self) -> Timestamp {
        Timestamp::from_secs(self.secs())
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// In full, `2026-01-01T00:00:00.000000000Z`: the form of log lines.
    pub fn to_nano_string(self) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => format!("{t:.9}"),
            Err(_) => String::new(),
        }
    }

    /// With microseconds, `2026-01-01T00:00:00.000000Z`: the form of `MicroTime`.
    pub fn to_micro_string(self) -> String {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(t) => format!("{t:.6}"),
            Err(_) => String::new(),
        }
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, rhs: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(rhs.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    /// Whole seconds, `2026-01-01T00:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.secs();
        if let Some(text) = civil::text(secs) {
            return f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?);
        }
        match jiff::Timestamp::from_second(secs) {
            Ok(t) => write!(f, "{t:.0}"),
            Err(_) => f.write_str("invalid time"),
        }
    }
}

/// The one form of moments that all objects carry, read and written by hand, since every write does both many times.
mod civil {
    const DAY: i64 = 86_400;
    /// Days of 400 years.
    const ERA: i64 = 146_097;
    /// From 0000-03-01 to 1970-01-01, in days.
    const TO_EPOCH: i64 = 719_468;

    /// `2026-01-01T00:00:00Z`, for moments of the years 1 to 9999.
    pub(super) fn text(secs: i64) -> Option<[u8; 20]> {
        if !(-62_135_596_800..253_402_300_800).contains(&secs) {
            return None;
        }
        let (days, rest) = (secs.div_euclid(DAY), secs.rem_euclid(DAY));
        // Years begin in March here, so that the day that comes and goes is the last of a year.
        let z = days + TO_EPOCH;
        let (era, doe) = (z.div_euclid(ERA), z.rem_euclid(ERA));
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = doy - (153 * mp + 2) / 5 + 1;
        let month = if mp < 10 { mp + 3 } else { mp - 9 };
        let year = yoe + era * 400 + i64::from(month <= 2);
        let mut out = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, digits: usize, mut n: i64| {
            for place in (at..at + digits).rev() {
                out[place] = b'0' + u8::try_from(n % 10).unwrap_or_default();
                n /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, rest / 3600);
        put(14, 2, rest / 60 % 60);
        put(17, 2, rest % 60);
        Some(out)
    }

    /// Reads a date and a time of day, in the form in which [`text`] writes them but for the zone; years from 0, as Go
    /// has them, and no leap seconds.
    pub(super) fn secs(text: &[u8]) -> Option<i64> {
        let fits = text.len() == 19
            && b"0000-00-00T00:00:00"
                .iter()
                .zip(text)
                .all(|(shape, b)| if *shape == b'0' { b.is_ascii_digit() } else { shape == b });
        if !fits {
            return None;
        }
        let get = |at: usize, digits: usize| {
            text[at..at + digits].iter().fold(0, |n, digit| 10 * n + i64::from(digit - b'0'))
        };
        let (year, month, day) = (get(0, 4), get(5, 2), get(8, 2));
        let (hour, minute, second) = (get(11, 2), get(14, 2), get(17, 2));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let valid =
            (1..=12).contains(&month) && (1..=last).contains(&day) && hour < 24 && minute < 60 && second < 60;
        if !valid {
            return None;
        }
        let y = year - i64::from(month <= 2);
        let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
        let mp = (month + 9) % 12;
        let doy = (153 * mp + 2) / 5 + day - 1;
        let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
        Some((era * ERA + doe - TO_EPOCH) * DAY + hour * 3600 + minute * 60 + second)
    }
}

/// A moment as it is written: any that RFC 3339 can tell, also those that a [`Timestamp`] does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    secs: i64,
    nanos: u32,
}

impl Moment {
    /// Reads RFC 3339 as Go does: four digits of a year, any fraction of a second, no leap seconds; and how many digits
    /// the fraction has.
    pub(crate) fn parse(text: &str) -> Option<(Moment, usize)> {
        let (clock, rest) = text.as_bytes().split_at_checked(19)?;
        let secs = civil::secs(clock)?;
        let digits = match rest.first()? {
            b'.' | b',' => rest[1..].iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => 0,
        };
        let (fraction, zone) =
            if digits > 0 { (&rest[1..=digits], &rest[digits + 1..]) } else { (&[][..], rest) };
        // Finer than a billionth is cut off.
        let nanos = (0..9)
            .fold(0, |nanos, at| 10 * nanos + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
        let number = |tens: u8, ones: u8| {
            (tens.is_ascii_digit() && ones.is_ascii_digit())
                .then(|| 10 * i64::from(tens - b'0') + i64::from(ones - b'0'))
        };
        let east = match *zone {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
                let (hours, minutes) = (number(a, b)?, number(c, d)?);
                // Go lets people write these.
                if hours > 24 || minutes > 60 {
                    return None;
                }
                (hours * 3600 + minutes * 60) * if sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        Some((Moment { secs: secs - east, nanos }, digits))
    }

    /// Seconds since the epoch, and billionths of the next one.
    #[cfg(feature = "schema")]
    pub(crate) fn parts(self) -> (i64, u32) {
        (self.secs, self.nanos)
    }

    /// In UTC, with whole seconds, or microseconds where `micro`; `None` for years that have no four digits.
    #[cfg(feature = "schema")]
    pub(crate) fn text(self, micro: bool) -> Option<String> {
        let text = String::from_utf8(civil::text(self.secs)?.to_vec()).ok()?;
        if !micro {
            return Some(text);
        }
        Some(format!("{}.{:06}Z", text.trim_end_matches('Z'), self.nanos / 1000))
    }
}

/// A text that is not an RFC 3339 time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time in RFC 3339 form, such as 2026-01-01T00:00:00Z")]
pub struct InvalidTimestamp(String);

impl std::str::FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// A moment that is too early or too late to be held, before 1677 or after 2262, is the first or last that can be.
    fn from_str(s: &str) -> Result<Timestamp, InvalidTimestamp> {
        let nanos = Timestamp::nanos_of(s)?.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
        i64::try_from(nanos).map(Timestamp).map_err(|_| InvalidTimestamp(s.to_owned()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        struct Text;

        impl de::Visitor<'_> for Text {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339 form")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Where time comes from. Nothing in Orlop reads any other clock.
///
/// Decisions take `now` as an argument; only shells hold a clock. The simulator's is a [`ManualClock`].
pub trait Clock: Send + Sync {
    /// The present moment. Never runs backwards.
    fn now(&self) -> Timestamp;

    /// Completes once `now() >= at`.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A clock that stands still until it is told to move.
///
/// # Guarantees
/// Who waits is woken in the order of the moments, and for one moment in the order of asking. A sleep that is dropped
/// leaves nothing behind.
#[derive(Clone, Default)]
pub struct ManualClock(Arc<Mutex<Manual>>);

#[derive(Default)]
struct Manual {
    now: Timestamp,
    next: u64,
    sleepers: BTreeMap<(Timestamp, u64), Waker>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn at(now: Timestamp) -> ManualClock {
        ManualClock(Arc::new(Mutex::new(Manual { now, ..Manual::default() })))
    }

    /// Moves forward to `now` and wakes whoever waited for that; a moment that has passed changes nothing.
    pub fn advance_to(&self, now: Timestamp) {
        let mut due = Vec::new();
        {
            let mut inner = self.0.lock();
            inner.now = inner.now.max(now);
            let now = inner.now;
            while let Some(first) = inner.sleepers.first_entry().filter(|first| first.key().0 <= now) {
                due.push(first.remove());
            }
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// The earliest moment for which somebody waits.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.0.lock().sleepers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves forward by `step`.
    pub fn advance(&self, step: Duration) {
        self.advance_to(self.now() + step);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().now
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(Sleep { clock: self.clone(), at, place: None })
    }
}

struct Sleep {
    clock: ManualClock,
    at: Timestamp,
    /// Its number among those who wait for the same moment.
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut inner = clock.0.lock();
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let place = *self.place.get_or_insert_with(|| {
            inner.next += 1;
            inner.next
        });
        let before = inner.sleepers.insert((self.at, place), cx.waker().clone());
        drop(inner);
        // A waker may be the last to hold a task, and the task a sleep.
        drop(before);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let waker = self.clock.0.lock().sleepers.remove(&(self.at, place));
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_kubernetes_prints() {
        let t: Timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        assert_eq!(t.to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(t.to_micro_string(), "2026-01-01T00:00:00.123456Z");
        assert_eq!("2026-01-01T01:00:00+01:00".parse::<Timestamp>().unwrap(), t.truncate_to_secs());
        assert!("2026-01-01".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_common_form_is_the_library_s() {
        let days = [0, 58, 59, 60, 365, 789, 10_957, 11_016, 11_017, 47_540, 2_932_000, -719_162, -25_508];
        for secs in days.iter().flat_map(|day| [day * 86_400, day * 86_400 + 86_399]) {
            let text = jiff::Timestamp::from_second(secs).unwrap().to_string();
            assert_eq!(civil::secs(&text.as_bytes()[..19]), Some(secs));
            assert_eq!(civil::text(secs).as_ref().map(|text| &text[..]), Some(text.as_bytes()));
        }
        for bad in
            ["2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z"]
        {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    /// They were refused, so that whoever used them for "never" could store nothing.
    #[test]
    fn moments_beyond_what_is_held_are_the_last_ones() {
        let parse = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(parse("9999-12-31T23:59:59Z"), Timestamp::MAX);
        assert_eq!(parse("0001-01-01T00:00:00Z"), Timestamp(i64::MIN));
        assert_eq!(parse("0000-02-29T00:00:00Z"), Timestamp(i64::MIN));
        assert_eq!(parse("1677-09-21T00:12:43.5-24:00").to_string(), "1677-09-22T00:12:43Z");
        assert_eq!(parse("2026-01-01T00:00:00,25+00:60"), parse("2025-12-31T23:00:00.250000000999Z"));
        for bad in [
            "2026-01-01T00:00:00+25:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00",
            "2026-01-01t00:00:00z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sleepers_wake_when_their_moment_comes() {
        let clock = ManualClock::at(Timestamp::from_secs(10));
        let mut sleep = clock.sleep_until(Timestamp::from_secs(11));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        clock.advance(Duration::from_secs(1));
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn a_dropped_sleep_is_forgotten() {
        let clock = ManualClock::default();
        let mut sleeps = [3, 2].map(|secs| clock.sleep_until(Timestamp::from_secs(secs)));
        let mut cx = Context::from_waker(Waker::noop());
        for sleep in &mut sleeps {
            assert!(sleep.as_mut().poll(&mut cx).is_pending());
        }
        let [late, early] = sleeps;
        assert_eq!(clock.next_deadline(), Some(Timestamp::from_secs(2)));
        drop(early);
        assert_eq!(clock.next_deadline(), Some(Timestamp::from_secs(3)));
        drop(late);
        assert_eq!(clock.next_deadline(), None);
    }
}
