//! What a write draws from quotas.
//!
//! A quota is charged by a commit of its own before the object is written: so no two writes take what is left, and the
//! quota has a state, and a revision, of its own in between, as clients of Kubernetes know it. Where the object is not
//! written after all, the charge is taken back; should the process end in between, the ResourceQuota controller finds
//! out by counting.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::kinds::ResourceQuota;
use orlop_core::rules::pod_resources::Resources;
use orlop_core::store::{Compare, Op, Store, StoreError, Txn};
use orlop_core::{Key, Name, Object, Stored, Timestamp};
use serde_json::json;

use super::commit::ATTEMPTS;
use super::{LocalApi, Served};
use crate::admission::Charge;
use crate::managed_fields::{self, Writer};
use crate::status::Status;
use crate::tree::object;

/// What was charged already for a write that is decided anew, by quota.
pub(crate) type Paid = BTreeMap<Name, Resources>;

/// The new state of a quota, provided that it is as it was seen.
fn state(
    served: &Served,
    now: Timestamp,
    key: &Key,
    quota: &Stored,
    used: &Resources,
) -> Result<(Compare, Op), Status> {
    let scheme = &served.scheme;
    let place: Arc<str> =
        scheme.storage_key(&ResourceQuota::KIND, key).ok_or_else(Status::no_resource)?.into();
    let resource = scheme.storage(&ResourceQuota::KIND).ok_or_else(Status::no_resource)?;
    let live = quota.to_value();
    let mut value = live.clone();
    object(&mut value, "status").insert("used".into(), json!(used));
    let by =
        Writer { manager: "kube-apiserver", api_version: "v1", subresource: "status", now, reset: &["spec"] };
    managed_fields::update_on_write(Some(&live), &mut value, &by, &resource.schema, resource.ty);
    let body = super::convert::encode(served, resource, &value)?;
    Ok((Compare { key: place.clone(), revision: quota.revision }, Op::Put(place, body)))
}

/// The transaction that charges all quotas, and what is paid by it.
pub(super) fn transaction(
    served: &Served,
    now: Timestamp,
    namespace: &Name,
    charges: Vec<Charge>,
) -> Result<(Txn, Paid), Status> {
    let (mut txn, mut paid) = (Txn::default(), Paid::new());
    for charge in charges {
        if let Some(used) = &charge.used {
            let key = Key { namespace: namespace.clone(), name: charge.name.clone() };
            let (compare, op) = state(served, now, &key, &charge.quota, used)?;
            txn.compares.push(compare);
            txn.ops.push(op);
        }
        paid.insert(charge.name, charge.asked);
    }
    Ok((txn, paid))
}

impl<S: Store> LocalApi<S> {
    /// Takes charges back for a write that was refused after all.
    pub(super) async fn refund(&self, namespace: &Name, paid: Paid) {
        for (name, amounts) in paid {
            let key = Key { namespace: namespace.clone(), name };
            for _ in 0..ATTEMPTS {
                let Some(txn) = self.refunded(&key, &amounts) else { break };
                match self.shared.store.commit(txn).await {
                    Err(StoreError::Conflict { .. }) => {}
                    // The ResourceQuota controller mends what cannot be mended now.
                    _ => break,
                }
            }
        }
    }

    fn refunded(&self, key: &Key, amounts: &Resources) -> Option<Txn> {
        let served = self.shared.served();
        let place = served.scheme.storage_key(&ResourceQuota::KIND, key)?;
        let stored = self.shared.store.view().get(&place)?.object;
        let mut used = stored.decode::<ResourceQuota>().ok()?.status.used;
        for (name, amount) in amounts {
            if let Some(used) = used.get_mut(name) {
                *used -= amount;
            }
        }
        let (compare, op) = state(&served, self.now(), key, &stored, &used).ok()?;
        Some(Txn { compares: vec![compare], ops: vec![op] })
    }
}
