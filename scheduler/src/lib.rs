//! Chooses a node for each pending pod.
//!
//! [`schedule`]`(pod, snapshot, profile, seed) -> `[`Decision`]: no I/O, no clock, no locks. Predicates say where the
//! pod may run, priorities say where it would run best; both are plugins, and adding one takes a few lines.
//!
//! ```
//! use orlop_scheduler::{Change, Filter, NodeFacts, NodeView, PodFacts, Profile, Snapshot, Verdict, schedule};
//! use serde_json::json;
//!
//! /// A predicate: databases only where disks are fast.
//! struct FastDisk;
//!
//! impl Filter for FastDisk {
//!     fn name(&self) -> &str {
//!         "FastDisk"
//!     }
//!     fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
//!         Verdict::fits_or(pod.label("tier") != Some("db") || node.label("disk") == Some("nvme"), || {
//!             Verdict::refuse_firmly("node(s) had no fast disk")
//!         })
//!     }
//! }
//!
//! let mut cluster = Snapshot::new();
//! for (name, disk) in [("a", "hdd"), ("b", "nvme")] {
//!     cluster.apply(Change::Node(NodeFacts::from_json(&json!({
//!         "metadata": {"name": name, "labels": {"disk": disk}},
//!         "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}},
//!     }))?));
//! }
//! let pod = PodFacts::from_json(&json!({
//!     "metadata": {"name": "db-0", "namespace": "default", "labels": {"tier": "db"}},
//!     "spec": {"containers": [{"name": "db", "resources": {"requests": {"cpu": "1"}}}]},
//! }))?;
//! let profile = Profile::default().filter(FastDisk);
//! assert_eq!(schedule(&pod, &cluster, &profile, 1).to_string(), "default/db-0 -> b");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! Start at [`schedule()`]; then read one plugin, [`plugins::taint_toleration`], and the extension points in
//! [`framework`]. [`Scheduler`] puts a queue and bindings around it, still without I/O.

mod bitset;
mod change; // what a snapshot is told
mod columns; // what is known of all nodes, column by column
pub mod config; // a scheduler as users configure it
mod crowds; // pods that no term can tell apart, counted
mod decision; // what came of it
pub mod explain; // and why, for people
mod facts; // what is known of a pod, of a node
pub mod framework; // the extension points, one small trait each
mod journal; // what has changed of late
mod others; // what else there is
mod placer; // decisions one after the other, faster
pub mod plugins;
mod preempt; // what a post-filter may look at
mod profile; // which plugins, in which order
mod queue; // who is tried next, and when
mod resources;
mod ring; // who is first among equals
mod schedule; // the whole algorithm, top to bottom
mod scheduler; // cuts in, bindings out
mod snapshot; // the cluster, kept change by change
mod view; // one node, as it is and as it would be
mod volumes; // of volumes, claims, storage classes
pub mod what_if; // what would be if

#[cfg(feature = "oracle")]
pub mod oracle; // answers to recorded cases

#[cfg(feature = "testkit")]
pub mod testkit; // laws for plugins of one's own

pub use bitset::NodeSet;
pub use change::{BudgetFacts, Change, GroupFacts, WorkloadFacts, pod_group, watched};
pub use columns::{Columns, ImageRow, LabelColumn, ResourceId, TaintSet};
pub use crowds::Crowd;
pub use decision::{Decision, Fault, Narrowed, PostFilterResult, Rejection};
pub use explain::{Explanation, Objection};
pub use facts::{AffinityTerm, ClaimRef, HostPort, NodeFacts, PodFacts, SpreadConstraint};
pub use framework::{
    Bind, Code, Depends, Event, Filter, Hint, MAX_SCORE, Permission, Permit, PostBind, PostFilter,
    PostFiltered, PreBind, PreEnqueue, PreFilter, PreScore, Predicate, Prepared, Priority, QueueSort,
    QueueingHint, Reach, Reason, Refusal, Reserve, Scale, Score, Verdict,
};
pub use placer::Placer;
pub use preempt::PostFilterContext;
pub use profile::Profile;
pub use queue::{Backoff, Depth, Pending, Place, Queue, backoff};
pub use resources::Resources;
pub use schedule::{place, schedule};
pub use scheduler::{Scheduler, Stats};
pub use snapshot::{Delta, NodeId, NodeView, PodId, Snapshot};
pub use volumes::{Attachable, AttachmentFacts, ClaimFacts, ClassFacts, CsiNodeFacts, Disk, VolumeFacts};
