//! Which moment of a schedule is due, and how many have been missed.

use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::rules::schedule::Schedule;

use super::view::CronJobView;

/// The next look comes a little after the moment that it waits for.
const DELTA: Duration = Duration::from_millis(100);
/// More missed moments than this are worth a warning.
const MANY: i64 = 100;

/// How many moments have been missed, apart from the one that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// None.
    None,
    /// Up to a hundred.
    Few,
    /// More.
    Many,
}

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Where the search began.
    pub earliest: Timestamp,
    /// The last moment that has come; `None`: nothing is due.
    pub most_recent: Option<Timestamp>,
    /// How many have been missed.
    pub missed: Missed,
}

/// A schedule whose moments cannot be told apart, or never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time difference between two schedules is less than 1 second")]
pub struct Unusable;

/// Finds what is due at `now`: since the last Job, and, where asked for, within `startingDeadlineSeconds`.
///
/// # Errors
/// When the schedule cannot be used.
pub fn due(
    cron: &CronJobView,
    schedule: &Schedule,
    now: Timestamp,
    with_deadline: bool,
) -> Result<Due, Unusable> {
    let since = cron.status.last_schedule_time.or(cron.metadata.creation_timestamp);
    let mut earliest = since.unwrap_or(Timestamp::EPOCH);
    if let Some(seconds) = cron.spec.starting_deadline_seconds.filter(|_| with_deadline) {
        earliest = earliest.max(now - Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    }
    let found = |most_recent, missed| Ok(Due { earliest, most_recent, missed });
    let first = schedule.next(earliest).ok_or(Unusable)?;
    if now < first {
        return found(None, Missed::None);
    }
    let second = schedule.next(first);
    if second.is_some_and(|second| now < second) {
        return found(Some(first), Missed::None);
    }
    let step = second.map_or(0, |second| second.secs() - first.secs());
    if step < 1 {
        return Err(Unusable);
    }
    // Moments are not evenly spaced: from about the last but one they are looked at one by one.
    let count = (now.secs() - first.secs()) / step + 1;
    let mut last = None;
    let mut at = schedule.next(Timestamp::from_secs(first.secs() + (count - 2) * step));
    while let Some(moment) = at.filter(|moment| *moment <= now) {
        last = Some(moment);
        at = schedule.next(moment);
    }
    found(last, if count > MANY { Missed::Many } else { Missed::Few })
}

/// When to look again.
pub fn next_look(cron: &CronJobView, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
    let from = match due(cron, schedule, now, false) {
        Ok(Due { most_recent: Some(moment), .. }) => moment,
        Ok(Due { earliest, missed: Missed::None, .. }) => earliest,
        _ => now,
    };
    Some(schedule.next(from)? + DELTA)
}

/// The name of the Job for a moment: two that are begun for one moment are one.
pub fn job_name(cron: &str, moment: Timestamp) -> String {
    format!("{cron}-{}", moment.secs() / 60)
}
