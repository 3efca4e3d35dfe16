//! When a container is probed, and what follows from the answers.

use std::time::Duration;

use orlop_core::kinds::{Container, Probe as ProbeSpec};
use orlop_core::rules::IntOrString;
use orlop_core::runtime::{Check, Probe, ProbeAnswer, ProbePurpose};
use orlop_core::{Name, Timestamp};

/// One probe of one running container.
#[derive(Clone, Debug)]
pub(crate) struct Prober {
    pub(crate) purpose: ProbePurpose,
    spec: ProbeSpec,
    pub(crate) next: Timestamp,
    pub(crate) asking: bool,
    successes: i32,
    failures: i32,
    /// What counts; `None` before the first verdict.
    pub(crate) verdict: Option<bool>,
}

impl Prober {
    pub(crate) fn new(purpose: ProbePurpose, spec: &ProbeSpec, since: Timestamp) -> Prober {
        let delay = Duration::from_secs(u64::try_from(spec.initial_delay_seconds.unwrap_or(0)).unwrap_or(0));
        Prober {
            purpose,
            spec: spec.clone(),
            next: since + delay,
            asking: false,
            successes: 0,
            failures: 0,
            verdict: None,
        }
    }

    /// The probes of a container that runs since then.
    pub(crate) fn all(container: &Container, since: Timestamp) -> Vec<Prober> {
        [
            (ProbePurpose::Startup, &container.startup_probe),
            (ProbePurpose::Readiness, &container.readiness_probe),
            (ProbePurpose::Liveness, &container.liveness_probe),
        ]
        .into_iter()
        .filter_map(|(purpose, spec)| Some(Prober::new(purpose, spec.as_ref()?, since)))
        .collect()
    }

    /// The question, if it is time to ask it.
    pub(crate) fn ask(&mut self, now: Timestamp, container: &Container) -> Option<Probe> {
        if self.asking || self.next > now {
            return None;
        }
        self.asking = true;
        self.next = now + seconds(self.spec.period_seconds, 10);
        Some(Probe {
            purpose: self.purpose,
            check: check(&self.spec, container)?,
            timeout: seconds(self.spec.timeout_seconds, 1),
        })
    }

    /// Takes an answer in; tells whether the verdict is another one now.
    pub(crate) fn heed(&mut self, answer: &ProbeAnswer) -> bool {
        let at_least = |threshold: Option<i32>, default: i32| threshold.unwrap_or(default).max(1);
        let verdict = match answer {
            ProbeAnswer::Success => {
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                (self.successes >= at_least(self.spec.success_threshold, 1)).then_some(true)
            }
            ProbeAnswer::Failure(_) => {
                self.successes = 0;
                self.failures = self.failures.saturating_add(1);
                (self.failures >= at_least(self.spec.failure_threshold, 3)).then_some(false)
            }
        };
        let changed = verdict.is_some() && verdict != self.verdict;
        self.verdict = verdict.or(self.verdict);
        changed
    }

    /// The grace of a stop that this probe causes, if it has one of its own.
    pub(crate) fn grace(&self) -> Option<Duration> {
        self.spec
            .termination_grace_period_seconds
            .and_then(|s| u64::try_from(s).ok())
            .map(Duration::from_secs)
    }
}

/// The word in events.
pub(crate) fn word(purpose: ProbePurpose) -> &'static str {
    match purpose {
        ProbePurpose::Startup => "Startup",
        ProbePurpose::Readiness => "Readiness",
        ProbePurpose::Liveness => "Liveness",
        ProbePurpose::Hook => "Hook",
    }
}

fn seconds(given: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(given.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0).unwrap_or(default))
}

fn check(spec: &ProbeSpec, container: &Container) -> Option<Check> {
    if let Some(exec) = &spec.exec {
        return Some(Check::Exec(exec.command.clone()));
    }
    if let Some(http) = &spec.http_get {
        return Some(http_check(http, container));
    }
    if let Some(tcp) = &spec.tcp_socket {
        return Some(Check::Tcp { host: tcp.host.clone(), port: port(&tcp.port, container) });
    }
    let grpc = spec.grpc.as_ref()?;
    Some(Check::Grpc { port: u16::try_from(grpc.port).unwrap_or(0), service: grpc.service.clone() })
}

pub(crate) fn http_check(http: &orlop_core::kinds::HTTPGetAction, container: &Container) -> Check {
    Check::Http {
        host: http.host.clone(),
        port: port(&http.port, container),
        tls: http.scheme.eq_ignore_ascii_case("https"),
        path: if http.path.is_empty() { Name::new_static("/") } else { http.path.clone() },
        headers: http.http_headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect(),
    }
}

/// A port by number or by the name that the container gives it.
pub(crate) fn port(port: &IntOrString, container: &Container) -> u16 {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => container
            .ports
            .iter()
            .find(|p| p.name == *name)
            .map(|p| p.container_port)
            .or_else(|| name.parse().ok())
            .unwrap_or(0),
    };
    u16::try_from(number).unwrap_or(0)
}
