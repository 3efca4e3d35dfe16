//! Which profile a namespace wants, by its labels.

use std::fmt;

use serde_json::Value;

use crate::status::Cause;

/// The profiles of the Pod Security Standards, the laxest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything goes.
    #[default]
    Privileged,
    /// What is known to break out does not.
    Baseline,
    /// What is not known to be harmless does not.
    Restricted,
}

/// A profile as some minor version of Kubernetes had it; `None`: the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) level: Level,
    pub(super) version: Option<u32>,
}

/// What is done about pods that a profile forbids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Policy {
    /// They are refused.
    pub(super) enforce: Profile,
    /// They are noted in the audit log.
    pub(super) audit: Profile,
    /// Their author is warned.
    pub(super) warn: Profile,
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        })?;
        match self.version {
            Some(minor) => write!(f, ":v1.{minor}"),
            None => f.write_str(":latest"),
        }
    }
}

fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "privileged" => Ok(Level::Privileged),
        "baseline" => Ok(Level::Baseline),
        "restricted" => Ok(Level::Restricted),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn version(text: &str) -> Result<Option<u32>, &'static str> {
    if text == "latest" {
        return Ok(None);
    }
    let minor = text.strip_prefix("v1.").filter(|m| m.bytes().all(|b| b.is_ascii_digit()));
    let minor = minor.filter(|m| *m == "0" || !m.starts_with('0')).and_then(|m| m.parse().ok());
    minor.map(Some).ok_or("must be \"latest\" or \"v1.x\"")
}

impl Policy {
    /// Reads the labels. What cannot be read enforces the strictest profile and neither warns nor notes.
    pub(super) fn of(namespace: &Value) -> (Policy, Vec<Cause>) {
        let mut policy = Policy::default();
        let mut causes = Vec::new();
        let labels = &namespace["metadata"]["labels"];
        let modes = [
            ("enforce", &mut policy.enforce, Level::Restricted),
            ("audit", &mut policy.audit, Level::Privileged),
            ("warn", &mut policy.warn, Level::Privileged),
        ];
        for (mode, profile, unreadable) in modes {
            let mut wrong = |label: &str, text: &str, why: &str| {
                causes.push(Cause::invalid(&format!("metadata.labels[{label}]"), &text.into(), why));
            };
            let label = format!("pod-security.kubernetes.io/{mode}");
            if let Some(text) = labels.get(&label).and_then(Value::as_str) {
                profile.level = level(text).unwrap_or_else(|why| {
                    wrong(&label, text, why);
                    unreadable
                });
            }
            let label = format!("{label}-version");
            if let Some(text) = labels.get(&label).and_then(Value::as_str) {
                profile.version = version(text).unwrap_or_else(|why| {
                    wrong(&label, text, why);
                    None
                });
            }
        }
        (policy, causes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_latest_or_a_minor_of_1() {
        assert_eq!(version("latest"), Ok(None));
        assert_eq!(version("v1.36"), Ok(Some(36)));
        assert_eq!(version("v1.0"), Ok(Some(0)));
        for wrong in ["", "v1.", "v1.01", "v2.1", "1.20", "v1.-1", "v1.99999999999"] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}
