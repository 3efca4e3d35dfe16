//! The arguments of the built-in plugins.

use orlop_core::kinds::{self, NodeSelectorTerm};
use orlop_core::rules::{Operator, Requirement, names};
use orlop_core::{Labels, Name};
use serde::de::DeserializeOwned;

use super::read::{Reader, Wrong};
use crate::facts::SpreadConstraint;
use crate::plugins::{BalancedAllocation, Fit, InterPodAffinity, NodeAffinity, PodTopologySpread, Strategy};

/// Checks the fields of `args`, which may name their version and kind.
fn fields(args: &Reader<'_>, kind: &str, known: &[&str]) {
    args.object(&[&["apiVersion", "kind"], known].concat());
    args.get("apiVersion").one_of(&[super::API_VERSION]);
    args.get("kind").one_of(&[kind]);
}

pub(super) fn fit(args: &Reader<'_>) -> Fit {
    fields(args, "NodeResourcesFitArgs", &["ignoredResources", "ignoredResourceGroups", "scoringStrategy"]);
    let ignored = args.get("ignoredResources").items();
    let ignored = ignored.iter().filter_map(|name| {
        let text = name.required_text()?;
        let wrong = names::label_key(text);
        if !wrong.is_empty() {
            name.refuse(wrong.join("; "));
        }
        Some(Name::from(text))
    });
    let ignored = ignored.collect();
    let groups = args.get("ignoredResourceGroups").items();
    let groups = groups.iter().filter_map(|group| {
        let text = group.required_text()?;
        if text.contains('/') {
            group.refuse("resource group name can't contain '/'");
        }
        Some(Name::from(text))
    });
    let ignored_groups = groups.collect();
    let strategy = args.get("scoringStrategy");
    strategy.object(&["type", "resources", "requestedToCapacityRatio"]);
    let resources = resources(&strategy.get("resources"), 100);
    let ratio = strategy.get("requestedToCapacityRatio");
    ratio.object(&["shape"]);
    let kinds = ["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"];
    let strategy = match strategy.get("type").one_of(&kinds) {
        Some("MostAllocated") => Strategy::MostAllocated,
        Some("RequestedToCapacityRatio") => Strategy::RequestedToCapacityRatio(shape(&ratio.get("shape"))),
        _ => Strategy::LeastAllocated,
    };
    let default = Fit::default();
    let resources = if resources.is_empty() { default.resources.clone() } else { resources };
    Fit { strategy, resources, ignored, ignored_groups }
}

/// Resources with weights from 1 to `max`; one that gives none has 1.
fn resources(list: &Reader<'_>, max: i64) -> Vec<(Name, i64)> {
    let mut all: Vec<(Name, i64)> = Vec::new();
    for item in list.items() {
        item.object(&["name", "weight"]);
        let Some(name) = item.get("name").required_text() else { continue };
        if all.iter().any(|(n, _)| n == name) {
            item.get("name").complain(Wrong::Duplicate(name.to_owned()));
        }
        let weight = match item.get("weight").int() {
            None | Some(0) => 1,
            Some(weight) => weight,
        };
        if !(1..=max).contains(&weight) {
            item.get("weight").refuse(format!("resource weight of {name} not in valid range [1, {max}]"));
        }
        all.push((Name::from(name), weight));
    }
    all
}

/// The corners of a curve from per cent used to a score of 0 to 10.
fn shape(list: &Reader<'_>) -> Vec<(i64, i64)> {
    let mut curve: Vec<(i64, i64)> = Vec::new();
    let points = list.items();
    if points.is_empty() {
        list.complain(Wrong::Required("at least one point must be specified".to_owned()));
    }
    for point in points {
        point.object(&["utilization", "score"]);
        let (utilization, score) = (point.get("utilization"), point.get("score"));
        let x = utilization.int_in(0..=100, "not in valid range [0, 100]").unwrap_or(0);
        let y = score.int_in(0..=10, "not in valid range [0, 10]").unwrap_or(0);
        if curve.last().is_some_and(|(before, _)| *before >= x) {
            utilization.refuse("utilization values must be sorted in increasing order");
        }
        curve.push((x, y));
    }
    curve
}

pub(super) fn balanced(args: &Reader<'_>) -> BalancedAllocation {
    fields(args, "NodeResourcesBalancedAllocationArgs", &["resources"]);
    let given = resources(&args.get("resources"), 1);
    match given.is_empty() {
        true => BalancedAllocation::default(),
        false => BalancedAllocation { resources: given.into_iter().map(|(name, _)| name).collect() },
    }
}

pub(super) fn inter_pod_affinity(args: &Reader<'_>) -> InterPodAffinity {
    fields(args, "InterPodAffinityArgs", &["hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"]);
    let weight = args.get("hardPodAffinityWeight").int_in(0..=100, "not in valid range [0, 100]");
    let default = InterPodAffinity::default();
    InterPodAffinity {
        hard_weight: weight.unwrap_or(default.hard_weight),
        ignore_preferred_of_existing: args
            .get("ignorePreferredTermsOfExistingPods")
            .flag()
            .unwrap_or(default.ignore_preferred_of_existing),
    }
}

/// Every candidate is examined here, so that how many are has no meaning; it is checked all the same.
pub(super) fn preemption(args: &Reader<'_>) {
    fields(args, "DefaultPreemptionArgs", &["minCandidateNodesPercentage", "minCandidateNodesAbsolute"]);
    let (percent, absolute) =
        (args.get("minCandidateNodesPercentage"), args.get("minCandidateNodesAbsolute"));
    let p = percent.int_in(0..=100, "not in valid range [0, 100]");
    let a = absolute.int_in(0.., "not in valid range [0, inf)");
    if (p, a) == (Some(0), Some(0)) {
        percent.refuse("cannot be zero at the same time as minCandidateNodesAbsolute");
    }
}

/// The writes are made with the binding, so that there is nothing to wait for; checked all the same.
pub(super) fn volume_binding(args: &Reader<'_>) {
    fields(args, "VolumeBindingArgs", &["bindTimeoutSeconds", "shape"]);
    args.get("bindTimeoutSeconds").int_in(0.., "invalid BindTimeoutSeconds, should not be a negative value");
    if args.get("shape").is_given() {
        shape(&args.get("shape"));
    }
}

pub(super) fn dynamic_resources(args: &Reader<'_>) {
    fields(args, "DynamicResourcesArgs", &["filterTimeout", "bindingTimeout"]);
}

pub(super) fn node_affinity(args: &Reader<'_>) -> NodeAffinity {
    fields(args, "NodeAffinityArgs", &["addedAffinity"]);
    let added = args.get("addedAffinity");
    let (required, preferred) =
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    added.object(&[required, preferred]);
    if !added.is_given() {
        return NodeAffinity::default();
    }
    let terms = added.get(required);
    terms.object(&["nodeSelectorTerms"]);
    if terms.is_given() && terms.get("nodeSelectorTerms").items().is_empty() {
        let detail = "must have at least one node selector term".to_owned();
        terms.get("nodeSelectorTerms").complain(Wrong::Required(detail));
    }
    terms.get("nodeSelectorTerms").items().iter().for_each(term);
    for wish in added.get(preferred).items() {
        wish.object(&["weight", "preference"]);
        wish.get("weight").int_in(1..=100, "must be in the range 1-100");
        term(&wish.get("preference"));
    }
    NodeAffinity { added: decoded(&added) }
}

/// Checks one node selector term.
fn term(term: &Reader<'_>) {
    term.object(&["matchExpressions", "matchFields"]);
    let Some(read) = decoded::<NodeSelectorTerm>(term) else { return };
    let expressions = term.get("matchExpressions").items();
    for (at, requirement) in expressions.iter().zip(&read.match_expressions) {
        at.object(&["key", "operator", "values"]);
        let operator = match at.get("operator").one_of(&["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])
        {
            Some("In") => Operator::In,
            Some("NotIn") => Operator::NotIn,
            Some("Exists") => Operator::Exists,
            Some("DoesNotExist") => Operator::DoesNotExist,
            Some("Gt") => Operator::GreaterThan,
            Some("Lt") => Operator::LessThan,
            _ => {
                if !at.get("operator").is_given() {
                    at.get("operator").complain(Wrong::Required(String::new()));
                }
                continue;
            }
        };
        if let Err(error) = Requirement::new(requirement.key.clone(), operator, requirement.values.clone()) {
            at.refuse(error.to_string());
        }
    }
    for at in term.get("matchFields").items() {
        at.object(&["key", "operator", "values"]);
        at.get("key").one_of(&["metadata.name"]);
        at.get("operator").one_of(&["In", "NotIn"]);
        if at.get("values").items().len() != 1 {
            at.get("values").refuse("must have one element");
        }
    }
}

/// The value as a type of the API; complains where it is not of its form.
fn decoded<T: DeserializeOwned>(value: &Reader<'_>) -> Option<T> {
    if !value.is_given() {
        return None;
    }
    match T::deserialize(value.raw()) {
        Ok(read) => Some(read),
        Err(error) => {
            value.refuse(error.to_string());
            None
        }
    }
}

pub(super) fn spread(args: &Reader<'_>) -> PodTopologySpread {
    fields(args, "PodTopologySpreadArgs", &["defaultConstraints", "defaultingType"]);
    let kind = args.get("defaultingType").one_of(&["List", "System"]);
    let list = args.get("defaultConstraints");
    let items = list.items();
    let system = kind != Some("List");
    if system && !items.is_empty() {
        list.refuse("when .defaultingType is System");
    }
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let mut defaults = Vec::new();
    for item in &items {
        item.object(&[
            "maxSkew",
            "topologyKey",
            "whenUnsatisfiable",
            "labelSelector",
            "minDomains",
            "nodeAffinityPolicy",
            "nodeTaintsPolicy",
            "matchLabelKeys",
        ]);
        let skew = item.get("maxSkew");
        if skew.int().is_none_or(|skew| skew <= 0) {
            let given = skew.raw().as_i64().unwrap_or(0);
            skew.complain(Wrong::Value(given.to_string(), "not in valid range (0, inf)".to_owned()));
        }
        let key = item.get("topologyKey");
        let key_text = key.required_text().unwrap_or_default();
        let wrong = names::label_key(key_text);
        if !key_text.is_empty() && !wrong.is_empty() {
            key.refuse(wrong.join("; "));
        }
        let when = item.get("whenUnsatisfiable");
        let when_text = match when.required_text() {
            Some(_) => when.one_of(&["DoNotSchedule", "ScheduleAnyway"]).unwrap_or_default(),
            None => "",
        };
        if item.get("labelSelector").is_given() {
            let detail = "constraint must not define a selector, as they deduced for each pod";
            item.get("labelSelector").complain(Wrong::Forbidden(detail.to_owned()));
        }
        if seen.contains(&(key_text, when_text)) {
            item.complain(Wrong::Duplicate(format!("{{{key_text}, {when_text}}}")));
        }
        seen.push((key_text, when_text));
        let read = decoded::<kinds::TopologySpreadConstraint>(item);
        defaults.extend(read.map(|constraint| SpreadConstraint::new(&constraint, &Labels::new())));
    }
    match system {
        true => PodTopologySpread::default(),
        false => PodTopologySpread { defaults, system: false },
    }
}
