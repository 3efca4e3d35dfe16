//! What the controller reads of CronJobs. Templates stay as they are stored, so that copying one changes nothing.

use orlop_core::{Kind, Meta, Name, Object, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A CronJob.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CronJobView {
    /// Metadata.
    pub metadata: Meta,
    /// What should be.
    pub spec: CronJobSpec,
    /// What is.
    pub status: CronJobStatus,
}

/// What a CronJob should do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobSpec {
    /// When.
    pub schedule: Name,
    /// The time zone of that; UTC if absent.
    pub time_zone: Option<Name>,
    /// How late a Job may begin, in seconds.
    pub starting_deadline_seconds: Option<i64>,
    /// `Allow` (also if absent), `Forbid` or `Replace`: what becomes of a Job that is still running.
    pub concurrency_policy: Name,
    /// Whether no Job is begun.
    pub suspend: bool,
    /// What a Job looks like.
    pub job_template: Value,
    /// How many Jobs are kept that have succeeded; all if absent.
    pub successful_jobs_history_limit: Option<i32>,
    /// How many Jobs are kept that have failed; all if absent.
    pub failed_jobs_history_limit: Option<i32>,
}

/// The state of a CronJob.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CronJobStatus {
    /// Jobs that have not ended.
    pub active: Vec<Active>,
    /// The moment for which a Job was last begun.
    pub last_schedule_time: Option<Timestamp>,
    /// When a Job last succeeded.
    pub last_successful_time: Option<Timestamp>,
}

/// A Job that has not ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Active {
    /// `Job`.
    pub kind: Name,
    /// Its namespace.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its UID.
    pub uid: Name,
    /// `batch/v1`.
    pub api_version: Name,
    /// At which revision it was seen first.
    #[serde(skip_serializing_if = "Name::is_empty")]
    pub resource_version: Name,
}

impl Object for CronJobView {
    const KIND: Kind = Kind::namespaced("batch", "v1", "CronJob", "cronjobs");
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
