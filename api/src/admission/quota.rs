//! ResourceQuotas: what a namespace may take in all.
//!
//! What a write takes is charged before it is written, so that no two writes can both take what is left. What is given
//! back (objects that end or go) the ResourceQuota controller finds out by counting anew.

use orlop_core::Object;
use orlop_core::kinds::ResourceQuota;
use orlop_core::rules::pod_resources::Resources;
use orlop_core::rules::quota::Counted;
use orlop_core::{Scope, Stored};

use super::{Operation, Review};
use crate::status::Status;

/// A quota that a write draws on, with what is used of it afterwards.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    /// The quota as it was seen.
    pub(crate) quota: Stored,
    /// Its name.
    pub(crate) name: orlop_core::Name,
    /// What is used from now on; `None`: as much as is noted already.
    pub(crate) used: Option<Resources>,
    /// How much of it this write takes.
    pub(crate) asked: Resources,
}

/// Whether a write can take anything: objects count as they are created; what some of them take can change later.
fn concerns(review: &Review<'_>) -> bool {
    let kind = (review.kind.group.as_str(), review.kind.plural.as_str());
    review.kind.scope == Scope::Namespaced
        && match (review.operation, review.subresource) {
            (Operation::Create, "") => true,
            (Operation::Update, "") => matches!(
                kind,
                ("", "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
            ),
            (Operation::Update, "resize") => kind == ("", "pods"),
            _ => false,
        }
}

/// Refuses what goes beyond a quota, and charges what does not.
pub(super) fn judge(review: &mut Review<'_>) -> Result<(), Status> {
    if !concerns(review) {
        return Ok(());
    }
    let quotas = review.all_in(&ResourceQuota::KIND, &review.key.namespace);
    if quotas.is_empty() {
        return Ok(());
    }
    let charged = charge(review, &quotas)?;
    review.charges.extend(charged);
    Ok(())
}

fn charge(review: &Review<'_>, quotas: &[Stored]) -> Result<Vec<Charge>, Status> {
    let counted = Counted::read(review.kind, review.object);
    let mut interesting = Vec::new();
    for stored in quotas {
        // What is no quota limits nothing; validation lets none in.
        let Ok(quota) = stored.decode::<ResourceQuota>() else { continue };
        if !counted.falls_under(&quota) {
            continue;
        }
        let name = &quota.metadata.name;
        let limited: Vec<&str> =
            quota.status.hard.keys().map(|r| r.as_str()).filter(|r| counted.counts(r)).collect();
        if let Err(missing) = counted.check_stated(limited.iter().copied()) {
            return Err(review.forbidden(&format!("failed quota: {name}: {missing}")));
        }
        if limited.iter().any(|resource| !quota.status.used.contains_key(*resource)) {
            return Err(review
                .forbidden(&format!("status unknown for quota: {name}, resources: {}", limited.join(","))));
        }
        interesting.push((stored, quota));
    }
    if interesting.is_empty() {
        return Ok(Vec::new());
    }
    let mut taken = counted.usage(review.now);
    let negative: Vec<&str> =
        taken.iter().filter(|(_, amount)| amount.signum() < 0).map(|(name, _)| name.as_str()).collect();
    if !negative.is_empty() {
        let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
        return Err(review.forbidden(&why));
    }
    if let (Operation::Update, Some(old)) = (review.operation, review.old) {
        for (name, amount) in Counted::read(review.kind, old).usage(review.now) {
            let left = taken.remove(&name).unwrap_or_default();
            taken.insert(name, left - amount);
        }
    }
    taken.retain(|_, amount| !amount.is_zero());
    let mut charges = Vec::new();
    for (stored, quota) in interesting {
        let status = quota.status;
        let asked: Resources = taken
            .iter()
            .filter(|(n, _)| status.hard.contains_key(*n))
            .map(|(n, a)| (n.clone(), a.clone()))
            .collect();
        if asked.is_empty() {
            continue;
        }
        // What was charged for this very write already is none of what others use.
        let mut before = status.used.clone();
        for (name, amount) in review.paid.get(&quota.metadata.name).into_iter().flatten() {
            *before.entry(name.clone()).or_default() -= amount;
        }
        let mut used = before.clone();
        for (name, amount) in &asked {
            *used.entry(name.clone()).or_default() += amount;
        }
        let exceeded: Vec<_> =
            asked.iter().filter(|(name, _)| used[*name] > status.hard[*name]).map(|(name, _)| name).collect();
        if !exceeded.is_empty() {
            let told = |amounts: &Resources| {
                let each = exceeded.iter().filter_map(|name| Some(format!("{name}={}", amounts.get(*name)?)));
                each.collect::<Vec<_>>().join(",")
            };
            return Err(review.forbidden(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.metadata.name,
                told(&asked),
                told(&before),
                told(&status.hard)
            )));
        }
        let used = Some(used).filter(|used| *used != status.used);
        charges.push(Charge { quota: stored.clone(), name: quota.metadata.name, used, asked });
    }
    Ok(charges)
}
