//! Query parameters.

use orlop_api::status::Cause;
use orlop_api::{DeleteOptions, ListOptions, LogOptions, Options, Status};

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
