//! One simulated container and what it has printed.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use orlop_core::Timestamp;
use orlop_core::runtime::{
    ContainerId, ContainerSpec, ContainerStatus, Exit, ExitReason, LogLine, LogOptions, LogSource, RunState,
    SandboxId,
};

use crate::exec::Files;
use crate::machine::{Process, Ticket};
use crate::script::Script;

/// How many lines of a log are kept.
const LOG_LINES_MAX: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) sandbox: SandboxId,
    pub(crate) spec: ContainerSpec,
    pub(crate) image_id: orlop_core::Name,
    pub(crate) script: Script,
    pub(crate) state: RunState,
    /// When starting is done, and whom that is answered.
    pub(crate) starting: Option<(Timestamp, Ticket)>,
    /// When it ends, how, and by which signal.
    pub(crate) ending: Option<(Timestamp, i32, Option<i32>)>,
    /// Since when it has been told to stop.
    pub(crate) stopping: Option<Timestamp>,
    /// What runs in it, where that is more than the script.
    pub(crate) process: Option<Process>,
    /// Lines that are no part of the script, such as the requests that it answered.
    said: VecDeque<LogLine>,
    /// How many of them are kept no more.
    unkept: usize,
    /// What commands have written into it.
    pub(crate) files: Files,
}

impl Container {
    pub(crate) fn new(
        id: ContainerId,
        sandbox: SandboxId,
        spec: ContainerSpec,
        image_id: orlop_core::Name,
        script: Script,
    ) -> Container {
        Container {
            id,
            sandbox,
            spec,
            image_id,
            script,
            state: RunState::Created,
            starting: None,
            ending: None,
            stopping: None,
            process: None,
            said: VecDeque::new(),
            unkept: 0,
            files: Files::default(),
        }
    }

    pub(crate) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            attempt: self.spec.attempt,
            image: self.spec.image.clone(),
            image_id: self.image_id.clone(),
            state: self.state.clone(),
        }
    }

    pub(crate) fn running_since(&self) -> Option<Timestamp> {
        match self.state {
            RunState::Running(since) => Some(since),
            _ => None,
        }
    }

    /// When this container must be looked at again.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        let starting = self.starting.map(|(at, _)| at);
        let goes_on = self.process.as_ref().and_then(|process| process.wake);
        starting.or([self.ending.map(|(at, _, _)| at), goes_on].into_iter().flatten().min())
    }

    /// It runs from `at` on.
    pub(crate) fn run(&mut self, at: Timestamp) {
        self.state = RunState::Running(at);
        self.ending = self.script.end_of(self.spec.attempt).map(|(after, code)| (at + after, code, None));
    }

    /// It was told to stop; after `grace` it is killed.
    pub(crate) fn stop(&mut self, now: Timestamp, grace: Duration) {
        self.stopping.get_or_insert(now);
        let killed = (now + grace, 137, Some(9));
        let by_itself = self.script.stop.map(|after| (now + after, self.script.stop_code, None));
        let next = match by_itself {
            Some(end) if end.0 <= killed.0 => end,
            _ => killed,
        };
        // An end that comes anyhow comes no later by being asked for.
        match self.ending {
            Some((at, ..)) if at <= next.0 => {}
            _ => self.ending = Some(next),
        }
    }

    /// It has ended at `at`.
    pub(crate) fn end(&mut self, at: Timestamp, code: i32, signal: Option<i32>) -> Exit {
        let started = self.running_since();
        let reason = match (started, code) {
            (None, _) => ExitReason::StartError,
            (_, 0) => ExitReason::Completed,
            _ => ExitReason::Error,
        };
        let message = if code == 0 || signal.is_some() { String::new() } else { self.script.message.clone() };
        let exit = Exit { code, signal, reason, message, started, finished: at };
        self.state = RunState::Exited(exit.clone());
        self.starting = None;
        self.ending = None;
        self.process = None;
        exit
    }

    pub(crate) fn say(&mut self, at: Timestamp, text: &str) {
        self.keep(line(at, LogSource::Stdout, text));
    }

    /// Prints bytes. A line whose break is not there yet, such as a prompt, is shown as far as it goes.
    pub(crate) fn print(&mut self, at: Timestamp, source: LogSource, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.keep(LogLine { at, source, text: Bytes::copy_from_slice(part) });
        }
    }

    fn keep(&mut self, line: LogLine) {
        if self.said.len() >= LOG_LINES_MAX {
            self.said.pop_front();
            self.unkept += 1;
        }
        self.said.push_back(line);
    }

    /// Since when the line goes that has no end yet: who attaches sees it, as a prompt is written but once.
    pub(crate) fn open_line(&self) -> Option<Timestamp> {
        self.said.back().filter(|line| !line.text.ends_with(b"\n")).map(|line| line.at)
    }

    /// From when to when it ran; `None` if it did not.
    fn span(&self, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        match &self.state {
            RunState::Created => None,
            RunState::Running(since) => Some((*since, now)),
            RunState::Exited(exit) => Some((exit.started?, exit.finished)),
        }
    }

    /// What it has printed by `now`, each line with its place in the order of all. A scripted log is not kept: it
    /// follows from the script and the clock.
    pub(crate) fn log(&self, now: Timestamp) -> Vec<(LogPlace, LogLine)> {
        let Some((from, to)) = self.span(now) else { return Vec::new() };
        let mut lines = Vec::new();
        for (i, step) in self.script.log.iter().enumerate() {
            let first = from + step.after;
            if first > to {
                continue;
            }
            let count = match step.every {
                Some(every) => 1 + to.since(first).as_nanos() / every.as_nanos().max(1),
                None => 1,
            };
            let skip = count.saturating_sub(LOG_LINES_MAX as u128);
            for n in skip..count {
                let at = match step.every {
                    Some(every) => first + Duration::from_nanos((every.as_nanos() * n) as u64),
                    None => first,
                };
                lines.push((LogPlace(at, 0, i), line(at, step.source, &step.text)));
            }
        }
        let said = self.said.iter().filter(|line| line.at <= now).enumerate();
        lines.extend(said.map(|(i, line)| (LogPlace(line.at, 1, self.unkept + i), line.clone())));
        lines.sort_by_key(|(place, _)| *place);
        lines.drain(..lines.len().saturating_sub(LOG_LINES_MAX));
        lines
    }

    /// When the next scripted line after `now` comes.
    pub(crate) fn next_line(&self, now: Timestamp) -> Option<Timestamp> {
        let from = self.running_since()?;
        let next = self.script.log.iter().filter_map(|step| {
            let first = from + step.after;
            if first > now {
                return Some(first);
            }
            let every = step.every?.as_nanos().max(1);
            let n = now.since(first).as_nanos() / every + 1;
            Some(first + Duration::from_nanos(u64::try_from(every * n).ok()?))
        });
        next.min()
    }
}

/// A line's place in the order of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPlace(Timestamp, u8, usize);

impl LogPlace {
    /// Before every line.
    pub(crate) const START: LogPlace = LogPlace(Timestamp::EPOCH, 0, 0);
}

fn line(at: Timestamp, source: LogSource, text: &str) -> LogLine {
    LogLine { at, source, text: Bytes::from(format!("{text}\n")) }
}

/// Leaves of `lines` what `options` ask for.
pub(crate) fn cut(lines: &mut Vec<(LogPlace, LogLine)>, options: &LogOptions) {
    if let Some(since) = options.since {
        lines.retain(|(_, line)| line.at >= since);
    }
    if let Some(tail) = options.tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
}
