//! Query parameters.

use orlop_api::status::Cause;
use orlop_api::{DeleteOptions, ListOptions, LogOptions, Options, Status};
use orlop_core::rules::duration::go_duration;

/// The query parameters of a request, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL behind the question mark.
    pub(crate) fn parse(query: Option<&str>) -> Query {
        Query(form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// A parameter's text; `None` if it is absent. The first of several counts.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a parameter is switched on. As in Kubernetes, a parameter without a value is on.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    fn name(&self, name: &str) -> Option<orlop_core::Name> {
        self.get(name).filter(|text| !text.is_empty()).map(Into::into)
    }

    fn number(&self, name: &str) -> Result<Option<i64>, String> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
        }
    }

    /// A number that counts something; less than nothing is nothing.
    fn count(&self, name: &str) -> Result<Option<u64>, String> {
        Ok(self.number(name)?.map(|n| u64::try_from(n).unwrap_or(0)))
    }

    /// For how long a request that ends may take is up to its client, if it says so.
    ///
    /// # Errors
    /// What is no duration, in Go's words.
    pub(crate) fn check_timeout(&self) -> Result<(), Status> {
        let Some(text) = self.get("timeout").filter(|text| !text.is_empty()) else { return Ok(()) };
        if go_duration(text).is_some() {
            return Ok(());
        }
        let unsigned = text.trim_start_matches(['-', '+']);
        let unit = unsigned.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let why = match unit {
            "" if !unsigned.is_empty() => format!("time: missing unit in duration {text:?}"),
            unit if unit.len() < unsigned.len() => {
                let unit = &unit[..unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len())];
                format!("time: unknown unit {unit:?} in duration {text:?}")
            }
            _ => format!("time: invalid duration {text:?}"),
        };
        Err(Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))
    }

    /// What is asked of the options of a request for the log of `pod`, before the pod is looked for.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn check_log(&self, pod: &str) -> Result<(), Status> {
        let number = |name: &str| self.number(name).map_err(Status::bad_request);
        let mut causes = Vec::new();
        let mut least = |name: &str, least: i64, why: &str| -> Result<(), Status> {
            if let Some(n) = number(name)?.filter(|n| *n < least) {
                causes.push(Cause::invalid(name, &n.into(), why));
            }
            Ok(())
        };
        least("tailLines", 0, "must be greater than or equal to 0")?;
        least("limitBytes", 1, "must be greater than 0")?;
        if self.get("sinceSeconds").is_some() && self.get("sinceTime").is_some() {
            causes
                .push(Cause::forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"));
        } else {
            least("sinceSeconds", 1, "must be greater than 0")?;
        }
        match causes.is_empty() {
            true => Ok(()),
            false => Err(Status::invalid("", "PodLogOptions", pod, causes)),
        }
    }

    /// The options of a request; `kind` is the kind of object that they make, if the request writes.
    ///
    /// # Errors
    /// A value that cannot be read, or means nothing.
    pub(crate) fn options(&self, kind: Option<&'static str>) -> Result<Options, Status> {
        let values: Vec<&str> = self.all("dryRun").collect();
        if let Some(kind) = kind
            && values.iter().any(|value| *value != "All")
        {
            let cause = Cause::unsupported("dryRun", &values.into(), &["All"]);
            return Err(Status::invalid("meta.k8s.io", kind, "", vec![cause]));
        }
        let dry_run = kind.is_some() && !values.is_empty();
        self.read(dry_run).map_err(Status::bad_request)
    }

    fn read(&self, dry_run: bool) -> Result<Options, String> {
        Ok(Options {
            dry_run,
            field_manager: self.get("fieldManager").unwrap_or_default().into(),
            field_validation: self.get("fieldValidation").unwrap_or_default().into(),
            force: self.flag("force"),
            list: ListOptions {
                label_selector: self.text("labelSelector"),
                field_selector: self.text("fieldSelector"),
                limit: self.count("limit")?.unwrap_or(0),
                continue_token: self.text("continue"),
                resource_version: self.get("resourceVersion").map(str::to_owned),
                resource_version_match: self.text("resourceVersionMatch"),
                timeout_seconds: self.count("timeoutSeconds")?.filter(|seconds| *seconds > 0),
                allow_watch_bookmarks: self.flag("allowWatchBookmarks"),
                send_initial_events: self.get("sendInitialEvents").map(|_| self.flag("sendInitialEvents")),
            },
            delete: DeleteOptions {
                grace_period_seconds: self.number("gracePeriodSeconds")?,
                propagation_policy: self.name("propagationPolicy"),
                orphan_dependents: self.get("orphanDependents").map(|_| self.flag("orphanDependents")),
                ..DeleteOptions::default()
            },
            log: LogOptions {
                container: self.get("container").unwrap_or_default().into(),
                follow: self.flag("follow"),
                previous: self.flag("previous"),
                timestamps: self.flag("timestamps"),
                tail_lines: self.count("tailLines")?,
                since_seconds: self.number("sinceSeconds")?,
                since_time: self.name("sinceTime"),
                limit_bytes: self.count("limitBytes")?,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_clients_send() {
        let timeout = |text: &str| {
            let refused = Query::parse(Some(&format!("timeout={text}"))).check_timeout();
            refused.map_err(|status| status.message.split_once(" - ").map(|(_, why)| why.to_owned()))
        };
        assert_eq!(timeout("1m30s"), Ok(()));
        assert_eq!(timeout("x"), Err(Some("time: invalid duration \"x\"".into())));
        assert_eq!(timeout("5"), Err(Some("time: missing unit in duration \"5\"".into())));
        assert_eq!(timeout("5x"), Err(Some("time: unknown unit \"x\" in duration \"5x\"".into())));
        let query = Query::parse(Some(
            "labelSelector=app%3Dweb%2Ctier+in+%28a%29&limit=500&watch&sendInitialEvents=0",
        ));
        let options = query.options(None).unwrap();
        assert_eq!(options.list.label_selector, "app=web,tier in (a)");
        assert_eq!((options.list.limit, options.list.send_initial_events), (500, Some(false)));
        assert!(query.flag("watch") && !query.flag("force"));
        assert_eq!(Query::parse(Some("limit=many")).options(None).unwrap_err().code, 400);
        let refused = Query::parse(Some("dryRun=Some")).options(Some("CreateOptions")).unwrap_err();
        assert!(refused.message.contains("[\"Some\"]"), "{}", refused.message);
    }
}
