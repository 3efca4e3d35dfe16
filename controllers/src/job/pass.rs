//! One look at a Job: [`Pass`]. Follows the order in which Kubernetes decides and writes.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_core::kinds::{JobCondition, Pod};
use orlop_core::rules::pod::{is_active, is_ready, is_terminal};
use orlop_core::{Name, Timestamp};

use super::failure::{self, has_failed, index_of, judge};
use super::indexes::Indexes;
use super::pod::{NewPod, is_tracked, to_remove};
use super::view::{JobStatus, JobView};

/// As many pods are made or deleted in one pass.
const BURST: usize = 500;
/// As many ended pods are counted in one pass.
const UNCOUNTED_MAX: usize = 500;

/// What a pass is told beside the Job.
pub struct Facts<'a> {
    /// Its pods.
    pub pods: &'a [&'a Pod],
    /// Whether pods that have been counted still delay the next one. Without, only what has newly ended does.
    pub remembers: bool,
    /// The present moment.
    pub now: Timestamp,
}

/// What one look says should change.
pub struct Pass<'a> {
    job: &'a JobView,
    facts: &'a Facts<'a>,
    active: Vec<&'a Pod>,
    /// Ended pods that are not counted yet, by how they ended.
    new: (Vec<&'a Pod>, Vec<&'a Pod>),
    succeeded_before: Indexes,
    succeeded: Indexes,
    failed: Option<Indexes>,
    /// The last failed pod of each index that has none, is to have another, and has to learn from it of its failures.
    replaced: BTreeMap<i32, &'a Pod>,
    verdict: Option<JobCondition>,
    /// Pods to create.
    pub create: Vec<NewPod>,
    /// Pods to delete, and to count no more.
    pub drop: Vec<&'a Pod>,
    /// Pods to delete; they count as failed.
    pub end: Vec<&'a Pod>,
    /// The status to write first.
    pub before: Option<JobStatus>,
    /// Pods that need not be kept any longer.
    pub release: Vec<&'a Pod>,
    /// The status to write then.
    pub after: Option<JobStatus>,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

impl<'a> Pass<'a> {
    /// Looks once at a Job that has not ended.
    pub fn run(job: &'a JobView, facts: &'a Facts<'a>) -> Pass<'a> {
        let mut pass = Pass {
            job,
            facts,
            active: facts.pods.iter().copied().filter(|pod| is_active(pod)).collect(),
            new: (Vec::new(), Vec::new()),
            succeeded_before: Indexes::default(),
            succeeded: Indexes::default(),
            failed: None,
            replaced: BTreeMap::new(),
            verdict: None,
            create: Vec::new(),
            drop: Vec::new(),
            end: Vec::new(),
            before: None,
            release: Vec::new(),
            after: None,
            wake: None,
        };
        pass.look();
        pass
    }

    fn look(&mut self) {
        let (job, now) = (self.job, self.facts.now.truncate_to_secs());
        let mut status = job.status.clone();
        let uncounted = &job.status.uncounted_terminated_pods;
        self.new = self.ended(is_tracked);
        let policy = job.spec.pod_failure_policy.as_ref();
        let counted = self.new.1.iter().filter(|pod| judge(policy, pod).counts()).count();
        let mut succeeded = job.status.succeeded + size(self.new.0.len()) + size(uncounted.succeeded.len());
        let failed = job.status.failed + size(counted) + size(uncounted.failed.len());
        if status.start_time.is_none() && !job.spec.suspend {
            status.start_time = Some(now);
        }
        self.judge_failures(failed, status.start_time);
        if job.is_indexed() {
            self.judge_indexes();
            succeeded = self.succeeded.count();
        }

        let mut active = size(self.active.len());
        let mut ready = size(self.active.iter().filter(|pod| is_ready(pod)).count());
        let going = |pod: &&&Pod| pod.metadata.is_terminating() && !is_terminal(pod);
        let mut terminating = size(self.facts.pods.iter().filter(going).count());
        let mut suspension_changed = false;
        if self.verdict.is_some() {
            self.end = self.active.clone();
            ready -= size(self.end.iter().filter(|pod| is_ready(pod)).count());
            terminating += active;
            active = 0;
        } else {
            let manages = !job.metadata.is_terminating();
            if manages {
                active = self.manage(active, terminating, succeeded);
                ready -= size(self.drop.iter().filter(|pod| is_ready(pod)).count());
                terminating += size(self.drop.len());
            }
            let complete = active == 0
                && match job.spec.completions {
                    None => succeeded > 0,
                    Some(completions) => succeeded >= completions,
                };
            if complete {
                let message = "Reached expected number of succeeded pods";
                self.verdict = Some(condition("SuccessCriteriaMet", "CompletionsReached", message, now));
            } else if manages {
                suspension_changed = self.suspend(&mut status, now);
            }
        }
        let changed = suspension_changed
            || status.active != active
            || status.ready != Some(ready)
            || status.terminating != Some(terminating);
        status.active = active;
        status.ready = Some(ready);
        status.terminating = Some(terminating);
        self.count(status, changed);
    }

    /// Pods that have ended and that `wanted` picks, by how: those that have succeeded, those that have failed.
    fn ended(&self, wanted: impl Fn(&Pod) -> bool) -> (Vec<&'a Pod>, Vec<&'a Pod>) {
        let uncounted = &self.job.status.uncounted_terminated_pods;
        let (mut succeeded, mut failed) = (Vec::new(), Vec::new());
        for pod in self.facts.pods.iter().copied().filter(|pod| wanted(pod) && self.has_place(pod)) {
            if pod.status.phase == "Succeeded" && !uncounted.succeeded.contains(&pod.metadata.uid) {
                succeeded.push(pod);
            }
            if has_failed(pod, self.job) && !uncounted.failed.contains(&pod.metadata.uid) {
                failed.push(pod);
            }
        }
        (succeeded, failed)
    }

    /// Whether the pod counts at all: in an indexed Job it needs an index.
    fn has_place(&self, pod: &Pod) -> bool {
        !self.job.is_indexed() || self.place(pod).is_some()
    }

    fn place(&self, pod: &Pod) -> Option<i32> {
        index_of(pod).filter(|index| *index < self.job.completions())
    }

    /// Whether the Job as a whole has failed.
    fn judge_failures(&mut self, failed: i32, start: Option<Timestamp>) {
        let (job, now) = (self.job, self.facts.now.truncate_to_secs());
        if let Some(met) = job.status.condition("SuccessCriteriaMet") {
            self.verdict = Some(met.clone());
            return;
        }
        if let Some(target) = job.status.condition("FailureTarget") {
            self.verdict = Some(condition("Failed", &target.reason, &target.message, now));
            return;
        }
        if let Some(policy) = &job.spec.pod_failure_policy {
            let mut failed = self.facts.pods.iter().filter(|pod| has_failed(pod, job));
            if let Some(message) = failed.find_map(|pod| judge(Some(policy), pod).message) {
                self.verdict = Some(condition("FailureTarget", "PodFailurePolicy", &message, now));
                return;
            }
        }
        let deadline = job.spec.active_deadline_seconds.filter(|_| !job.spec.suspend);
        let deadline = deadline
            .zip(start)
            .map(|(seconds, start)| start + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
        if failed > job.spec.backoff_limit.unwrap_or(6) || failure::restarted_too_often(job, self.facts.pods)
        {
            let message = "Job has reached the specified backoff limit";
            self.verdict = Some(condition("FailureTarget", "BackoffLimitExceeded", message, now));
        } else if deadline.is_some_and(|deadline| deadline <= self.facts.now) {
            let message = "Job was active longer than specified deadline";
            self.verdict = Some(condition("FailureTarget", "DeadlineExceeded", message, now));
        } else if let Some(deadline) = deadline {
            self.wake_at(deadline);
        }
    }

    /// Which indexes have succeeded and failed, and what that means for the Job.
    fn judge_indexes(&mut self) {
        let (job, now) = (self.job, self.facts.now.truncate_to_secs());
        let completions = job.completions();
        self.succeeded_before = Indexes::parse(&job.status.completed_indexes, completions);
        self.succeeded = self.succeeded_before.clone();
        let pods = self.facts.pods;
        for pod in pods.iter().filter(|pod| pod.status.phase == "Succeeded" && is_tracked(pod)) {
            self.place(pod).into_iter().for_each(|index| self.succeeded.insert(index));
        }
        if job.is_per_index() {
            let mut failed = Indexes::parse(job.status.failed_indexes.as_deref().unwrap_or(""), completions);
            for pod in pods.iter().filter(|pod| is_tracked(pod) && failure::fails_index(pod, job)) {
                self.place(pod).into_iter().for_each(|index| failed.insert(index));
            }
            let count = failed.count();
            let target = |reason: &str, message: &str| condition("FailureTarget", reason, message, now);
            if self.verdict.is_none() && job.spec.max_failed_indexes.is_some_and(|most| count > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                self.verdict = Some(target("MaxFailedIndexesExceeded", message));
            }
            if self.verdict.is_none() && count > 0 && count + self.succeeded.count() >= completions {
                self.verdict = Some(target("FailedIndexes", "Job has failed indexes"));
            }
            self.replaced = self.to_be_replaced(&failed);
            self.failed = Some(failed);
        }
        if self.verdict.is_none()
            && let Some(message) = self.success()
        {
            self.verdict = Some(condition("SuccessCriteriaMet", "SuccessPolicy", &message, now));
        }
    }

    fn to_be_replaced(&self, failed: &Indexes) -> BTreeMap<i32, &'a Pod> {
        let active: Indexes = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        let total = |pod: &Pod| {
            let (counted, ignored) = failure::failures_before(pod);
            counted + ignored
        };
        let mut replaced: BTreeMap<i32, &'a Pod> = BTreeMap::new();
        let pods = self.facts.pods.iter().copied();
        for pod in pods.filter(|pod| is_tracked(pod) && has_failed(pod, self.job)) {
            let Some(index) = self.place(pod) else { continue };
            if self.succeeded.contains(index) || failed.contains(index) || active.contains(index) {
                continue;
            }
            let later = replaced.get(&index).is_none_or(|other| {
                total(other) <= total(pod) && failure::ended_at(pod) >= failure::ended_at(other)
            });
            if later {
                replaced.insert(index, pod);
            }
        }
        replaced
    }

    /// The rule by which enough indexes have succeeded.
    fn success(&self) -> Option<String> {
        let policy = self.job.spec.success_policy.as_ref()?;
        if self.succeeded.count() == 0 {
            return None;
        }
        let matched = policy.rules.iter().position(|rule| {
            let Some(wanted) = &rule.succeeded_indexes else {
                return rule.succeeded_count.is_some_and(|count| self.succeeded.count() >= count);
            };
            let wanted = Indexes::parse(wanted, self.job.completions());
            let met = wanted.iter().filter(|index| self.succeeded.contains(*index)).count();
            size(met) >= rule.succeeded_count.unwrap_or(wanted.count())
        })?;
        Some(format!("Matched rules at index {matched}"))
    }

    /// Creates or deletes pods, and answers how many are active then.
    fn manage(&mut self, active: i32, terminating: i32, succeeded: i32) -> i32 {
        let job = self.job;
        if job.spec.suspend {
            self.drop = to_remove(job, &self.active, self.active.len());
            return active - size(self.drop.len());
        }
        let terminating = if job.waits_for_failure() { terminating } else { 0 };
        let parallelism = job.spec.parallelism.unwrap_or(1);
        let wanted = match job.spec.completions {
            None if succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - succeeded).min(parallelism).max(0),
        };
        let surplus = usize::try_from(active - wanted).unwrap_or(0);
        self.drop = to_remove(job, &self.active, surplus);
        self.drop.truncate(BURST);
        if !self.drop.is_empty() {
            return active - size(self.drop.len());
        }
        let Ok(missing @ 1..) = usize::try_from(wanted - terminating - active) else { return active };
        if !job.is_per_index() {
            let until = self.backoff();
            if until > self.facts.now {
                self.wake_at(until);
                return 0;
            }
        }
        let missing = missing.min(BURST);
        if !job.is_indexed() {
            self.create = vec![NewPod::default(); missing];
            return active + size(missing);
        }
        let indexes = self.pending(missing);
        let due = |index: &i32| {
            self.replaced.get(index).map_or(Timestamp::EPOCH, |pod| {
                let (counted, ignored) = failure::failures_before(pod);
                failure::backoff_until(counted + ignored + 1, failure::ended_at(pod))
            })
        };
        let (now_due, later): (Vec<i32>, Vec<i32>) =
            indexes.iter().partition(|index| due(index) <= self.facts.now);
        let soonest = later.iter().map(due).min();
        if let Some(soonest) = soonest {
            self.wake_at(soonest);
            if now_due.is_empty() {
                return 0;
            }
        }
        self.create = now_due.iter().map(|index| self.new_pod(*index)).collect();
        active + size(self.create.len())
    }

    fn new_pod(&self, index: i32) -> NewPod {
        let failures = self.job.is_per_index().then(|| match self.replaced.get(&index) {
            None => (0, 0),
            Some(pod) => {
                let (counted, ignored) = failure::failures_before(pod);
                if judge(self.job.spec.pod_failure_policy.as_ref(), pod).counts() {
                    (counted + 1, ignored)
                } else {
                    (counted, ignored + 1)
                }
            }
        });
        NewPod { index: Some(index), failures }
    }

    /// The first indexes that have neither ended nor a pod.
    fn pending(&self, count: usize) -> Vec<i32> {
        let mut taken = self.succeeded.clone();
        self.active.iter().filter_map(|pod| index_of(pod)).for_each(|index| taken.insert(index));
        if self.job.waits_for_failure() {
            let going =
                self.facts.pods.iter().filter(|pod| pod.metadata.is_terminating() && !is_terminal(pod));
            going.filter_map(|pod| index_of(pod)).for_each(|index| taken.insert(index));
        }
        if let Some(failed) = &self.failed {
            taken.extend(failed);
        }
        taken.first_absent(count, self.job.completions())
    }

    fn backoff(&self) -> Timestamp {
        if self.facts.remembers {
            let (succeeded, failed) = self.ended(|_| true);
            return failure::backoff(&succeeded, &failed);
        }
        failure::backoff(&self.new.0, &self.new.1)
    }

    /// Says whether the Job is held; answers whether that is news.
    fn suspend(&mut self, status: &mut JobStatus, now: Timestamp) -> bool {
        let (value, reason, message) = match self.job.spec.suspend {
            true => ("True", "JobSuspended", "Job suspended"),
            false => ("False", "JobResumed", "Job resumed"),
        };
        let mut new = condition("Suspended", reason, message, now);
        new.status = value.into();
        match status.conditions.iter_mut().find(|c| c.r#type == "Suspended") {
            Some(present) if present.status == value => return false,
            Some(present) => *present = new,
            None if value == "False" => return false,
            None => status.conditions.push(new),
        }
        // A deadline runs from the resumption.
        status.start_time = (value == "False").then_some(now);
        true
    }

    /// Counts what has ended. A pod is first noted as uncounted, then let go, then counted: so that it counts once,
    /// whatever happens in between.
    fn count(&mut self, mut status: JobStatus, mut changed: bool) {
        let (job, now) = (self.job, self.facts.now.truncate_to_secs());
        let mut tracked: Vec<&Name> =
            self.facts.pods.iter().filter(|pod| is_tracked(pod)).map(|pod| &pod.metadata.uid).collect();
        changed |= settle(&mut status, &tracked);
        let known = job.status.uncounted_terminated_pods.clone();
        let fails = self.verdict.as_ref().is_some_and(|verdict| verdict.r#type != "SuccessCriteriaMet");
        let mut pods: Vec<&'a Pod> = self.facts.pods.to_vec();
        if job.is_indexed() {
            pods.sort_by_key(|pod| index_of(pod).unwrap_or(-1));
        }
        let mut indexes = Indexes::default();
        let mut full = false;
        for pod in pods.into_iter().filter(|pod| is_tracked(pod)) {
            let failed = has_failed(pod, job);
            if !self.may_go(pod, failed) {
                continue;
            }
            self.release.push(pod);
            let uid = &pod.metadata.uid;
            let noted = &mut status.uncounted_terminated_pods;
            if pod.status.phase == "Succeeded" && !known.failed.contains(uid) {
                if job.is_indexed() {
                    let index = self.place(pod).filter(|index| !self.succeeded_before.contains(*index));
                    if let Some(index) = index {
                        indexes.insert(index);
                        changed = true;
                    }
                } else if !known.succeeded.contains(uid) {
                    noted.succeeded.push(uid.clone());
                    changed = true;
                }
            } else if (failed || fails) && self.has_place(pod) && !known.failed.contains(uid) {
                let counts = judge(job.spec.pod_failure_policy.as_ref(), pod).counts();
                if counts {
                    noted.failed.push(uid.clone());
                    changed = true;
                }
            }
            let pending = usize::try_from(indexes.count()).unwrap_or(0);
            if pending + noted.succeeded.len() + noted.failed.len() >= UNCOUNTED_MAX {
                full = true;
                break;
            }
        }
        if job.is_indexed() {
            self.succeeded.extend(&indexes);
            let completed = Name::from(self.succeeded.to_string());
            changed |= completed != status.completed_indexes;
            status.succeeded = self.succeeded.count();
            status.completed_indexes = completed;
            let failed = self.failed.as_ref().map(|failed| Name::from(failed.to_string()));
            changed |= failed != status.failed_indexes;
            status.failed_indexes = failed;
        }
        let mut last = self.verdict.clone();
        if let Some(verdict) = self.verdict.as_ref() {
            let end = match verdict.r#type.as_str() {
                "FailureTarget" => Some("Failed"),
                "SuccessCriteriaMet" => Some("Complete"),
                _ => None,
            };
            if let Some(end) = end {
                if status.condition(&verdict.r#type).is_none() {
                    status.conditions.push(verdict.clone());
                    changed = true;
                }
                last = Some(condition(end, &verdict.reason, &verdict.message, now));
            }
        }
        if changed {
            self.before = Some(status.clone());
        }
        tracked.retain(|uid| !self.release.iter().any(|pod| pod.metadata.uid == **uid));
        let mut changed = settle(&mut status, &tracked);
        let uncounted = &status.uncounted_terminated_pods;
        let at_rest = uncounted.succeeded.is_empty()
            && uncounted.failed.is_empty()
            && status.terminating.unwrap_or(0) == 0
            && !full;
        if let Some(end) = last.filter(|_| at_rest) {
            if end.r#type == "Complete" {
                status.completion_time = Some(now);
            }
            status.conditions.push(end);
            changed = true;
        }
        if changed {
            self.after = Some(status);
        }
    }

    /// Whether an ended pod may be counted now.
    fn may_go(&self, pod: &Pod, failed: bool) -> bool {
        if self.job.metadata.is_terminating() || self.verdict.is_some() || pod.status.phase == "Succeeded" {
            return true;
        }
        // The next pod of its index has to learn of its failures.
        let needed = index_of(pod).and_then(|index| self.replaced.get(&index));
        failed && needed.is_none_or(|needed| needed.metadata.uid != pod.metadata.uid)
    }

    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |already| already.min(at)));
    }
}

fn size(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Moves what is no longer tracked from the notes into the counts; answers whether there was anything.
fn settle(status: &mut JobStatus, tracked: &[&Name]) -> bool {
    let noted = &mut status.uncounted_terminated_pods;
    let before = (noted.succeeded.len(), noted.failed.len());
    noted.succeeded.retain(|uid| tracked.contains(&uid));
    noted.failed.retain(|uid| tracked.contains(&uid));
    let gone = (before.0 - noted.succeeded.len(), before.1 - noted.failed.len());
    status.succeeded += size(gone.0);
    status.failed += size(gone.1);
    gone != (0, 0)
}

fn condition(r#type: &str, reason: &str, message: &str, now: Timestamp) -> JobCondition {
    JobCondition {
        r#type: r#type.into(),
        status: Name::new_static("True"),
        reason: reason.into(),
        message: message.into(),
        last_probe_time: Some(now),
        last_transition_time: Some(now),
    }
}
