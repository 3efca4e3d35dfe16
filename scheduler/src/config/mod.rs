//! A scheduler as users configure it: [`Configuration`], read from a `KubeSchedulerConfiguration` of
//! `kubescheduler.config.k8s.io/v1`.
//!
//! ```
//! use orlop_scheduler::config::{Configuration, Registry};
//! use serde_json::json;
//!
//! let read = |value| Configuration::from_value(&value, &Registry::default());
//! let packing = read(json!({
//!     "apiVersion": "kubescheduler.config.k8s.io/v1",
//!     "kind": "KubeSchedulerConfiguration",
//!     "podMaxBackoffSeconds": 30,
//!     "profiles": [{
//!         "schedulerName": "packing",
//!         "plugins": {"score": {"disabled": [{"name": "ImageLocality"}]}},
//!         "pluginConfig": [{"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}],
//!     }],
//! }))?;
//! assert_eq!(packing.profiles[0].name(), "packing");
//! assert!(packing.profiles[0].scores().all(|(name, _)| name != "ImageLocality"));
//!
//! let wrong = read(json!({
//!     "apiVersion": "kubescheduler.config.k8s.io/v1",
//!     "kind": "KubeSchedulerConfiguration",
//!     "percentageOfNodesToScore": 130,
//! }));
//! assert_eq!(
//!     wrong.unwrap_err().to_string(),
//!     "percentageOfNodesToScore: Invalid value: 130: not in valid range [0-100]",
//! );
//! # Ok::<(), orlop_scheduler::config::InvalidConfiguration>(())
//! ```
//!
//! A plugin of one's own is made known with [`Registry::plugin`]; it may then be named like a built-in one, and be given
//! arguments.

mod args;
mod read;
mod registry;
mod sets;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use orlop_core::Name;
use serde_json::Value;

pub use read::{Invalid, Wrong};
pub use registry::{Plugin, Registry};
pub use sets::Point;

use crate::profile::{Profile, Weighted};
use crate::queue::Backoff;
use crate::scheduler::Scheduler;
use read::{Problems, Reader};
use sets::{Enabled, Set};

/// The group and version that are read.
pub const API_VERSION: &str = "kubescheduler.config.k8s.io/v1";
/// The kind that is read.
pub const KIND: &str = "KubeSchedulerConfiguration";

/// A scheduler to be made.
#[derive(Debug)]
pub struct Configuration {
    /// The profiles, at least one; the first is that of pods that name none.
    pub profiles: Vec<Profile>,
    /// How long pods wait that failed.
    pub backoff: Backoff,
}

impl Default for Configuration {
    /// The default profile alone.
    fn default() -> Configuration {
        Configuration { profiles: vec![Profile::default()], backoff: Backoff::default() }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidConfiguration {
    /// At least one thing, in the order in which they were found.
    pub problems: Vec<Invalid>,
}

impl fmt::Display for InvalidConfiguration {
    /// One problem as it is, several in brackets, as Kubernetes lists them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problems[..] {
            [one] => one.fmt(f),
            all => {
                let all: Vec<String> = all.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", all.join(", "))
            }
        }
    }
}

impl std::error::Error for InvalidConfiguration {}

impl Configuration {
    /// From text in JSON.
    ///
    /// # Errors
    /// Names everything that is wrong.
    pub fn from_json(text: &str, registry: &Registry) -> Result<Configuration, InvalidConfiguration> {
        let value = serde_json::from_str(text).map_err(|error| InvalidConfiguration {
            problems: vec![Invalid {
                field: "<root>".to_owned(),
                what: Wrong::Value("text".to_owned(), format!("this is not JSON: {error}")),
            }],
        })?;
        Configuration::from_value(&value, registry)
    }

    /// From a tree, as YAML or JSON is read into.
    ///
    /// `parallelism`, `leaderElection`, `clientConnection`, the profiling flags and `delayCacheUntilActive` are checked
    /// and have no meaning in one process. `percentageOfNodesToScore` is honoured; where it is not given, every node is
    /// scored.
    ///
    /// # Errors
    /// Names everything that is wrong.
    pub fn from_value(value: &Value, registry: &Registry) -> Result<Configuration, InvalidConfiguration> {
        let problems = Problems::default();
        let configuration = read_all(&Reader::new(value, "", &problems), registry);
        let problems = problems.into_inner();
        if problems.is_empty() { Ok(configuration) } else { Err(InvalidConfiguration { problems }) }
    }

    /// The scheduler; `seed` breaks ties.
    ///
    /// # Panics
    /// As [`Scheduler::new`] does.
    pub fn into_scheduler(self, seed: u64) -> Scheduler {
        Scheduler::new(self.profiles, seed).with_backoff(self.backoff)
    }
}

fn read_all(root: &Reader<'_>, registry: &Registry) -> Configuration {
    root.object(&[
        "apiVersion",
        "kind",
        "parallelism",
        "leaderElection",
        "clientConnection",
        "enableProfiling",
        "enableContentionProfiling",
        "percentageOfNodesToScore",
        "podInitialBackoffSeconds",
        "podMaxBackoffSeconds",
        "profiles",
        "extenders",
        "delayCacheUntilActive",
    ]);
    for (field, expected) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        if root.get(field).required_text().is_some() {
            root.get(field).one_of(&[expected]);
        }
    }
    let percent = without_meaning(root);
    let read_one = |profile: &Reader<'_>| {
        let own = profile.raw().get("percentageOfNodesToScore").and_then(Value::as_i64);
        let percent = own.or(percent).and_then(|n| u32::try_from(n).ok()).unwrap_or(100);
        Some(read_profile(profile, registry)?.score_percent(percent))
    };
    let backoff = read_backoff(root);
    let read: Vec<Option<Profile>> = match root.get("profiles").items() {
        none if none.is_empty() => {
            let alone = Reader::new(&Value::Null, "profiles[0]", root.problems());
            vec![read_one(&alone)]
        }
        all => all.iter().map(read_one).collect(),
    };
    let profiles: Vec<Profile> = read.into_iter().flatten().collect();
    for (at, profile) in profiles.iter().enumerate() {
        let field =
            |name: &str| Reader::new(&Value::Null, &format!("profiles[{at}].{name}"), root.problems());
        if profiles[..at].iter().any(|other| other.name == profile.name) {
            field("schedulerName").complain(Wrong::Duplicate(profile.name.to_string()));
        }
        let (own, first) = (profile.queue_sort.name(), profiles[0].queue_sort.name());
        if own != first {
            let detail = format!("must be that of all profiles, and profiles[0] has {first:?}");
            field("plugins.queueSort").complain(Wrong::Value(format!("{own:?}"), detail));
        }
    }
    Configuration { profiles, backoff }
}

/// What is checked and then left alone, but for how many of a hundred nodes are to be scored.
fn without_meaning(root: &Reader<'_>) -> Option<i64> {
    root.get("parallelism").int_in(1.., "should be an integer value greater than zero");
    let percent = root.get("percentageOfNodesToScore").int_in(0..=100, "not in valid range [0-100]");
    for flag in ["enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"] {
        root.get(flag).flag();
    }
    let election = root.get("leaderElection");
    election.object(&[
        "leaderElect",
        "leaseDuration",
        "renewDeadline",
        "retryPeriod",
        "resourceLock",
        "resourceName",
        "resourceNamespace",
    ]);
    election.get("leaderElect").flag();
    let client = root.get("clientConnection");
    client.object(&["kubeconfig", "acceptContentTypes", "contentType", "qps", "burst"]);
    if !root.get("extenders").items().is_empty() {
        root.get("extenders").complain(Wrong::Forbidden(
            "decisions make no calls over the network; write a plugin instead".to_owned(),
        ));
    }
    percent
}

fn read_backoff(root: &Reader<'_>) -> Backoff {
    let default = Backoff::default();
    let seconds = |field: &str, default: Duration| {
        let given = root.get(field).int_in(1.., "must be greater than 0");
        given.map_or(default, |n| Duration::from_secs(n.unsigned_abs()))
    };
    let first = seconds("podInitialBackoffSeconds", default.first);
    let max = seconds("podMaxBackoffSeconds", default.max);
    if max < first {
        let field = root.get("podMaxBackoffSeconds");
        let detail = "must be greater than or equal to PodInitialBackoffSeconds";
        field.complain(Wrong::Value(max.as_secs().to_string(), detail.to_owned()));
    }
    Backoff { first, max }
}

fn read_profile(profile: &Reader<'_>, registry: &Registry) -> Option<Profile> {
    profile.object(&["schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig"]);
    profile.get("percentageOfNodesToScore").int_in(0..=100, "not in valid range [0-100]");
    let name = profile.get("schedulerName");
    let name = if profile.is_given() && profile.raw().get("schedulerName").is_some_and(|n| n == "") {
        name.required_text()?
    } else {
        name.text().unwrap_or(Profile::DEFAULT)
    };
    let mut plugins = read_arguments(&profile.get("pluginConfig"), registry);
    let sets = profile.get("plugins");
    let mut fields: Vec<&str> = Point::ALL.iter().map(|point| point.as_str()).collect();
    fields.push("multiPoint");
    sets.object(&fields);
    let known = |name: &Reader<'_>| {
        let text = name.required_text()?;
        if registry.knows(text) {
            return Some(text.to_owned());
        }
        name.complain(Wrong::Unsupported(text.to_owned(), registry.names().map(str::to_owned).collect()));
        None
    };
    let multi = Set::read(&sets.get("multiPoint"), known).over(&registry.defaults());
    for plugin in multi.iter().filter(|p| !plugins.contains_key(&p.name)).collect::<Vec<_>>() {
        plugins.extend(registry.make_default(&plugin.name).map(|made| (plugin.name.clone(), made)));
    }
    let mut enabled: BTreeMap<Point, Vec<Enabled>> = BTreeMap::new();
    for point in Point::ALL {
        let set = Set::read(&sets.get(point.as_str()), known);
        for plugin in &set.enabled {
            if !plugins.contains_key(&plugin.name) {
                plugins.extend(registry.make_default(&plugin.name).map(|made| (plugin.name.clone(), made)));
            }
            if plugins.get(&plugin.name).is_some_and(|p| !p.extends(point)) {
                let here = Reader::new(&Value::Null, &format!("{}.name", plugin.path), profile.problems());
                let detail = format!("the plugin does not extend {}", point.as_str());
                here.complain(Wrong::Value(format!("{:?}", plugin.name), detail));
            }
        }
        enabled
            .insert(point, set.at_point(&multi, |name| plugins.get(name).is_some_and(|p| p.extends(point))));
    }
    assemble(name, profile, enabled, plugins)
}

/// The plugins that are given arguments.
fn read_arguments(list: &Reader<'_>, registry: &Registry) -> BTreeMap<String, Plugin> {
    let mut plugins = BTreeMap::new();
    for item in list.items() {
        item.object(&["name", "args"]);
        let Some(name) = item.get("name").required_text() else { continue };
        if plugins.contains_key(name) {
            item.complain(Wrong::Duplicate(name.to_owned()));
            continue;
        }
        if !registry.knows(name) {
            let known = registry.names().map(str::to_owned).collect();
            item.get("name").complain(Wrong::Unsupported(name.to_owned(), known));
            continue;
        }
        plugins.extend(registry.make(name, &item.get("args")).map(|made| (name.to_owned(), made)));
    }
    plugins
}

/// A weight of 0 says nothing, which means 1.
fn weight(plugin: &Enabled) -> i64 {
    plugin.weight.max(1)
}

/// Puts the plugins where they belong.
fn assemble(
    name: &str,
    reader: &Reader<'_>,
    mut enabled: BTreeMap<Point, Vec<Enabled>>,
    mut plugins: BTreeMap<String, Plugin>,
) -> Option<Profile> {
    let mut profile = Profile::empty(Name::from(name));
    profile.bind.clear();
    let sorts = enabled.remove(&Point::QueueSort).unwrap_or_default();
    let binds = enabled.get(&Point::Bind).map_or(0, Vec::len);
    let sort_field = reader.get("plugins").get("queueSort");
    match &sorts[..] {
        [one] => {
            if let Some(sort) = plugins.get_mut(&one.name).and_then(|p| p.queue_sort.take()) {
                profile.queue_sort = sort;
            }
        }
        none_or_many => sort_field.complain(Wrong::Value(
            none_or_many.len().to_string(),
            format!("only one queue sort plugin required for profile with scheduler name {name:?}"),
        )),
    }
    if binds == 0 {
        let detail = format!("at least one bind plugin is needed for profile with scheduler name {name:?}");
        reader.get("plugins").get("bind").complain(Wrong::Required(detail));
    }
    let filters: Vec<String> =
        enabled.get(&Point::Filter).into_iter().flatten().map(|e| e.name.clone()).collect();
    for (point, list) in &enabled {
        for entry in list {
            let Some(plugin) = plugins.get_mut(&entry.name) else { continue };
            plugin.taken = true;
            profile.gangs |= plugin.gangs;
            match point {
                Point::PreEnqueue => profile.pre_enqueue.extend(plugin.pre_enqueue.take()),
                Point::PreFilter if filters.contains(&entry.name) => {}
                Point::PreFilter => profile.filters.extend(plugin.filter.take().map(registry::only_prepared)),
                Point::Filter => profile.filters.extend(plugin.filter.take()),
                Point::PostFilter => profile.post_filters.extend(plugin.post_filter.take()),
                Point::Score => {
                    let weight = weight(entry);
                    profile.scores.extend(plugin.score.take().map(|plugin| Weighted { plugin, weight }));
                }
                Point::Reserve => profile.reserve.extend(plugin.reserve.take()),
                Point::Permit => profile.permit.extend(plugin.permit.take()),
                Point::PreBind => profile.pre_bind.extend(plugin.pre_bind.take()),
                Point::Bind => profile.bind.extend(plugin.bind.take()),
                Point::PostBind => profile.post_bind.extend(plugin.post_bind.take()),
                Point::QueueSort | Point::PreScore => {}
            }
        }
    }
    for (_, plugin) in plugins.into_iter().filter(|(_, p)| p.taken) {
        profile.hints.extend(plugin.hints);
    }
    Some(profile)
}
