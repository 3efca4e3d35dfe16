//! Which plugins take part at which point: sets of enabled and disabled plugins, and how they are combined.

use super::read::Reader;

/// The extension points under the names that a configuration uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// `preEnqueue`
    PreEnqueue,
    /// `queueSort`
    QueueSort,
    /// `preFilter`: what preparing a predicate alone says.
    PreFilter,
    /// `filter`
    Filter,
    /// `postFilter`
    PostFilter,
    /// `preScore`: nothing of its own here; preparing goes with scoring.
    PreScore,
    /// `score`
    Score,
    /// `reserve`
    Reserve,
    /// `permit`
    Permit,
    /// `preBind`
    PreBind,
    /// `bind`
    Bind,
    /// `postBind`
    PostBind,
}

impl Point {
    /// Every point, in the order in which they are asked.
    pub const ALL: [Point; 12] = [
        Point::PreEnqueue,
        Point::QueueSort,
        Point::PreFilter,
        Point::Filter,
        Point::PostFilter,
        Point::PreScore,
        Point::Score,
        Point::Reserve,
        Point::Permit,
        Point::PreBind,
        Point::Bind,
        Point::PostBind,
    ];

    /// The name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Point::PreEnqueue => "preEnqueue",
            Point::QueueSort => "queueSort",
            Point::PreFilter => "preFilter",
            Point::Filter => "filter",
            Point::PostFilter => "postFilter",
            Point::PreScore => "preScore",
            Point::Score => "score",
            Point::Reserve => "reserve",
            Point::Permit => "permit",
            Point::PreBind => "preBind",
            Point::Bind => "bind",
            Point::PostBind => "postBind",
        }
    }
}

/// A plugin that is enabled, and the weight that is given with it; 0: none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Enabled {
    pub(super) name: String,
    pub(super) weight: i64,
    /// Where it stands, for errors.
    pub(super) path: String,
}

/// What a configuration says of one point.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) enabled: Vec<Enabled>,
    pub(super) disabled: Vec<String>,
}

impl Set {
    pub(super) fn read(set: &Reader<'_>, known: impl Fn(&Reader<'_>) -> Option<String>) -> Set {
        set.object(&["enabled", "disabled"]);
        let mut read = Set::default();
        for plugin in set.get("enabled").items() {
            plugin.object(&["name", "weight"]);
            let weight = plugin.get("weight").int_in(0..=i64::from(i32::MAX), "must not be negative");
            if let Some(name) = known(&plugin.get("name")) {
                if read.enabled.iter().any(|e| e.name == name) {
                    plugin.complain(super::read::Wrong::Duplicate(name.clone()));
                }
                read.enabled.push(Enabled {
                    name,
                    weight: weight.unwrap_or(0),
                    path: plugin.path().to_owned(),
                });
            }
        }
        for plugin in set.get("disabled").items() {
            plugin.object(&["name", "weight"]);
            if plugin.get("name").raw() == "*" {
                read.disabled.push("*".to_owned());
            } else if let Some(name) = known(&plugin.get("name")) {
                read.disabled.push(name);
            }
        }
        read
    }

    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|d| d == name)
    }

    /// These plugins with what this set takes away, puts in another's place, and adds.
    pub(super) fn over(&self, defaults: &[Enabled]) -> Vec<Enabled> {
        let own = |name: &str| self.enabled.iter().find(|e| e.name == name);
        let mut all = Vec::new();
        if !self.disables("*") {
            for plugin in defaults.iter().filter(|d| !self.disables(&d.name)) {
                all.push(own(&plugin.name).unwrap_or(plugin).clone());
            }
        }
        for plugin in &self.enabled {
            if !all.iter().any(|p| p.name == plugin.name) {
                all.push(plugin.clone());
            }
        }
        all
    }

    /// The plugins of one point, in order, given those of `multiPoint`: first what both name, in this set's order; then
    /// the rest of `multiPoint`; then the rest of this set.
    pub(super) fn at_point(&self, multi: &[Enabled], extends: impl Fn(&str) -> bool) -> Vec<Enabled> {
        let from_multi: Vec<&Enabled> = match self.disables("*") {
            true => Vec::new(),
            false => multi.iter().filter(|e| extends(&e.name) && !self.disables(&e.name)).collect(),
        };
        let in_multi = |name: &str| from_multi.iter().any(|e| e.name == name);
        let own = |name: &str| self.enabled.iter().any(|e| e.name == name);
        let mut all: Vec<Enabled> = self.enabled.iter().filter(|e| in_multi(&e.name)).cloned().collect();
        all.extend(from_multi.iter().filter(|e| !own(&e.name)).map(|e| (*e).clone()));
        all.extend(self.enabled.iter().filter(|e| !in_multi(&e.name)).cloned());
        all
    }
}
