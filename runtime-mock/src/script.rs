//! What a simulated container does: [`Script`].

use std::time::Duration;

use orlop_core::Name;
use orlop_core::runtime::{LogSource, ProbePurpose};

/// The annotation of a pod that scripts its containers; see [`parse`] for the form.
pub const SCRIPT_ANNOTATION: &str = "mock.orlop.dev/script";

/// What a container does from its start on. Times count from the moment it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// How long starting takes.
    pub start_up: Duration,
    /// When it ends by itself, and with which code; `None`: it runs until it is stopped.
    pub exit: Option<(Duration, i32)>,
    /// An end as in `exit` that only the first so many starts come to.
    pub first_exits: Option<(u32, Duration, i32)>,
    /// How long it goes on when it is told to stop; `None`: until it is killed.
    pub stop: Option<Duration>,
    /// The code with which it ends when it is told to stop.
    pub stop_code: i32,
    /// What it answers to probes: of those that concern a probe and have begun, the last counts. None: in good health.
    pub probes: Vec<ProbeStep>,
    /// What it prints.
    pub log: Vec<LogStep>,
    /// Its last words when it ends by itself with another code than 0.
    pub message: String,
    /// The command that it is, where the runtime's [`ExecPolicy`](crate::ExecPolicy) can run it: what that prints is
    /// logged, its end is the container's, and it reads what is sent by `attach`. Empty: it is this script alone.
    pub program: Vec<Name>,
}

/// From when on a probe is answered how.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeStep {
    /// The probe.
    pub purpose: ProbePurpose,
    /// Since when.
    pub after: Duration,
    /// How.
    pub health: Health,
}

/// An answer to a probe.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    /// In good health.
    Good,
    /// Not in good health, and what is seen.
    Bad(String),
    /// No answer: the probe runs into its timeout.
    Silent,
}

/// A line, or a line that comes again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct LogStep {
    /// When it is printed first.
    pub after: Duration,
    /// How often again.
    pub every: Option<Duration>,
    /// Where.
    pub source: LogSource,
    /// The text, without the line break.
    pub text: String,
}

/// How an image arrives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pull {
    /// How long that takes.
    pub time: Duration,
    /// Why it does not; then `time` passes before this is known.
    pub failure: Option<PullFailure>,
}

/// Why an image does not arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullFailure {
    /// The registry does not have it, or cannot be reached.
    Missing(String),
    /// The registry wants credentials.
    Unauthorized(String),
}

/// How long a container takes to start where nothing else is said.
pub const START_UP: Duration = Duration::from_millis(150);
/// How long a container goes on after it was told to stop where nothing else is said.
pub const STOP: Duration = Duration::from_millis(100);

impl Default for Script {
    /// A server: starts in 150 ms, runs until it is stopped, ends 100 ms later with code 0.
    fn default() -> Script {
        Script {
            start_up: START_UP,
            exit: None,
            first_exits: None,
            stop: Some(STOP),
            stop_code: 0,
            probes: Vec::new(),
            log: Vec::new(),
            message: String::new(),
            program: Vec::new(),
        }
    }
}

impl Script {
    /// A server; see [`Script::default`].
    pub fn server() -> Script {
        Script::default()
    }

    /// Something that ends by itself.
    pub fn ends(after: Duration, code: i32) -> Script {
        Script { exit: Some((after, code)), ..Script::default() }
    }

    /// This, with another start-up time.
    pub fn start_up(mut self, time: Duration) -> Script {
        self.start_up = time;
        self
    }

    /// This, but the first `starts` starts end after `after` with `code`.
    pub fn crashes(mut self, starts: u32, after: Duration, code: i32) -> Script {
        self.first_exits = Some((starts, after, code));
        self
    }

    /// This, ending `after` it was told to stop; `None`: only when killed.
    pub fn stops(mut self, after: Option<Duration>) -> Script {
        self.stop = after;
        self
    }

    /// This, answering a probe so from `after` on.
    pub fn health(mut self, purpose: ProbePurpose, after: Duration, health: Health) -> Script {
        self.probes.push(ProbeStep { purpose, after, health });
        self
    }

    /// This, ready only from `after` on.
    pub fn ready_after(self, after: Duration) -> Script {
        let not_yet = Health::Bad("not ready yet".to_owned());
        self.health(ProbePurpose::Readiness, Duration::ZERO, not_yet).health(
            ProbePurpose::Readiness,
            after,
            Health::Good,
        )
    }

    /// This, printing a line.
    pub fn says(mut self, after: Duration, text: impl Into<String>) -> Script {
        self.log.push(LogStep { after, every: None, source: LogSource::Stdout, text: text.into() });
        self
    }

    /// When and how the start with this number ends by itself.
    pub(crate) fn end_of(&self, attempt: u32) -> Option<(Duration, i32)> {
        match self.first_exits {
            Some((starts, after, code)) if attempt < starts => Some((after, code)),
            _ => self.exit,
        }
    }

    /// The answer to a probe after running for `age`.
    pub(crate) fn answer(&self, purpose: ProbePurpose, age: Duration) -> Option<&Health> {
        self.probes
            .iter()
            .filter(|step| step.purpose == purpose && step.after <= age)
            .max_by_key(|step| step.after)
            .map(|step| &step.health)
    }
}

/// A script that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {SCRIPT_ANNOTATION}: {statement:?}: {why}")]
pub struct InvalidScript {
    /// The statement.
    pub statement: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// One statement of a scripting annotation.
#[derive(Clone, Debug, PartialEq)]
enum Statement {
    Start(Duration),
    Exit { code: i32, after: Duration, starts: Option<u32> },
    Forever,
    Stop(Option<Duration>),
    StopCode(i32),
    Health(Vec<ProbeStep>),
    Log(LogStep),
    Pull(Pull),
}

/// The statements of a scripting annotation, each with the container that it is for; empty: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlay(Vec<(Name, Statement)>);

/// Reads a scripting annotation: statements, separated by `;` or line breaks, a line optionally begun with the name of
/// the container that its statements are for.
///
/// ```text
/// start 2s                          starting takes two seconds
/// web: exit 3 after 10s             container web ends after ten seconds with code 3
/// exit 1 after 1s for 4 starts      the first four starts crash, later ones go on
/// run                               it does not end by itself, whatever its command says
/// stop 500ms; stop never            how long it goes on when told to stop; only when killed
/// stop code 143                     the code with which it ends then
/// ready after 5s; ready never; ready until 1m
/// readiness|liveness|startup ok|fail|silent [after 10s]
/// log "hello" [after 1s] [every 2s]
/// pull 3s; pull missing; pull unauthorized
/// ```
///
/// # Errors
/// When a statement is none of these.
pub fn parse(text: &str) -> Result<Overlay, InvalidScript> {
    let mut overlay = Overlay::default();
    for line in text.lines() {
        let (name, rest) = match line.split_once(':') {
            Some((name, rest)) if is_name(name.trim()) => (Name::from(name.trim()), rest),
            _ => (Name::default(), line),
        };
        for statement in split_statements(rest) {
            let words = words(statement);
            if words.is_empty() {
                continue;
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let read =
                read(&words).map_err(|why| InvalidScript { statement: statement.trim().to_owned(), why })?;
            overlay.0.push((name.clone(), read));
        }
    }
    Ok(overlay)
}

impl Overlay {
    /// Lets the statements that concern `container` change `script`.
    pub fn apply(&self, container: &str, script: &mut Script) {
        for (_, statement) in self.0.iter().filter(|(name, _)| name.is_empty() || name == container) {
            match statement.clone() {
                Statement::Start(time) => script.start_up = time,
                Statement::Exit { code, after, starts: None } => {
                    script.exit = Some((after, code));
                    script.program.clear();
                }
                Statement::Exit { code, after, starts: Some(n) } => {
                    script.first_exits = Some((n, after, code))
                }
                Statement::Forever => {
                    script.exit = None;
                    script.program.clear();
                }
                Statement::Stop(time) => script.stop = time,
                Statement::StopCode(code) => script.stop_code = code,
                Statement::Health(steps) => script.probes.extend(steps),
                Statement::Log(step) => script.log.push(step),
                Statement::Pull(_) => {}
            }
        }
    }

    /// What is said of pulling images.
    pub fn pull(&self) -> Option<Pull> {
        self.0.iter().rev().find_map(|(_, statement)| match statement {
            Statement::Pull(pull) => Some(pull.clone()),
            _ => None,
        })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn split_statements(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|c| {
        quoted ^= c == '"';
        c == ';' && !quoted
    })
    .collect()
}

/// Words; a quoted text is one of them.
fn words(statement: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (i, part) in statement.split('"').enumerate() {
        if i % 2 == 1 {
            out.push(part.to_owned());
        } else {
            out.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    out
}

fn read(words: &[&str]) -> Result<Statement, &'static str> {
    let step = |purpose, after, health| ProbeStep { purpose, after, health };
    let bad = || Health::Bad("HTTP probe failed with statuscode: 503".to_owned());
    Ok(match words {
        ["start", time] => Statement::Start(duration(time)?),
        ["run"] => Statement::Forever,
        ["exit", code, rest @ ..] => {
            let code = code.parse().map_err(|_| "the exit code is a number")?;
            let (after, rest) = after(rest)?;
            match rest {
                [] => Statement::Exit { code, after, starts: None },
                ["for", n, "start" | "starts"] => {
                    let starts = n.parse().map_err(|_| "the number of starts is a number")?;
                    Statement::Exit { code, after, starts: Some(starts) }
                }
                _ => return Err("expected `exit CODE [after TIME] [for N starts]`"),
            }
        }
        ["stop", "never"] => Statement::Stop(None),
        ["stop", "code", code] => Statement::StopCode(code.parse().map_err(|_| "the exit code is a number")?),
        ["stop", time] => Statement::Stop(Some(duration(time)?)),
        ["ready", "never"] => Statement::Health(vec![step(ProbePurpose::Readiness, Duration::ZERO, bad())]),
        ["ready", "after", time] => Statement::Health(vec![
            step(ProbePurpose::Readiness, Duration::ZERO, bad()),
            step(ProbePurpose::Readiness, duration(time)?, Health::Good),
        ]),
        ["ready", "until", time] => {
            Statement::Health(vec![step(ProbePurpose::Readiness, duration(time)?, bad())])
        }
        [purpose @ ("readiness" | "liveness" | "startup"), health, rest @ ..] => {
            let purpose = match *purpose {
                "readiness" => ProbePurpose::Readiness,
                "liveness" => ProbePurpose::Liveness,
                _ => ProbePurpose::Startup,
            };
            let health = match *health {
                "ok" => Health::Good,
                "fail" => bad(),
                "silent" => Health::Silent,
                _ => return Err("a probe's answer is ok, fail or silent"),
            };
            match after(rest)? {
                (after, []) => Statement::Health(vec![step(purpose, after, health)]),
                _ => return Err("expected `after TIME`, or nothing"),
            }
        }
        ["log", text, rest @ ..] => {
            let (after, rest) = after(rest)?;
            let every = match rest {
                [] => None,
                ["every", time] => Some(duration(time)?).filter(|time| !time.is_zero()),
                _ => return Err("expected `log \"TEXT\" [after TIME] [every TIME]`"),
            };
            Statement::Log(LogStep { after, every, source: LogSource::Stdout, text: (*text).to_owned() })
        }
        ["pull", "missing"] => Statement::Pull(Pull {
            failure: Some(PullFailure::Missing("not found".to_owned())),
            ..Pull::default()
        }),
        ["pull", "unauthorized"] => Statement::Pull(Pull {
            failure: Some(PullFailure::Unauthorized("authentication required".to_owned())),
            ..Pull::default()
        }),
        ["pull", time] => Statement::Pull(Pull { time: duration(time)?, failure: None }),
        _ => return Err("not a statement"),
    })
}

fn after<'a, 'b>(words: &'b [&'a str]) -> Result<(Duration, &'b [&'a str]), &'static str> {
    match words {
        ["after", time, rest @ ..] => Ok((duration(time)?, rest)),
        rest => Ok((Duration::ZERO, rest)),
    }
}

/// `150ms`, `2s`, `1.5m`, `1h`, `1d`; a number alone means seconds, as for `sleep`.
pub(crate) fn duration(text: &str) -> Result<Duration, &'static str> {
    let why = "a time is written as 150ms, 2s, 1.5m, 1h or 1d";
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| why)?;
    let secs = match unit {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        "d" => number * 86400.0,
        _ => return Err(why),
    };
    // Longer than anything that is simulated, and far from overflowing a timestamp.
    Ok(Duration::from_secs_f64(secs.clamp(0.0, 3e9)))
}
