//! Which run of a container a log is wanted of: [`Run`].

use orlop_core::kinds::PodStatus;
use orlop_core::runtime::ContainerStatus;

/// One run of a container, told by how many restarts were before it: that is the number by which a runtime knows it,
/// too ([`ContainerStatus::attempt`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// The run after that many restarts.
    After(u32),
    /// The last one that the runtime still has before that run.
    Before(u32),
}

impl Run {
    /// The run whose log shows what a pod's status tells of this container, or with `previous` the end that it keeps as
    /// the last one. While a container waits for its next run, the one that has just ended is both.
    ///
    /// # Errors
    /// A sentence for the user, as a kubelet puts it: there is no such run, or not yet.
    pub fn of(pod: &str, status: &PodStatus, container: &str, previous: bool) -> Result<Run, String> {
        let mut all = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses);
        let what = format!("container \"{container}\" in pod \"{pod}\"");
        let Some(told) = all.find(|told| told.name == container) else {
            return Err(format!("{what} is not available"));
        };
        let (state, ended) = (&told.state, told.last_state.terminated.is_some());
        let restarts = u32::try_from(told.restart_count).unwrap_or(0);
        let lives = state.running.is_some() || state.terminated.is_some();
        match (previous, lives, ended) {
            (true, true, true) => Ok(Run::Before(restarts)),
            (true, _, false) => Err(format!("previous terminated {what} not found")),
            (false, true, _) | (_, false, true) => Ok(Run::After(restarts)),
            (false, false, false) => {
                let reason = state.waiting.as_ref().map_or("", |waiting| waiting.reason.as_str());
                Err(match reason {
                    "" => format!("{what} is waiting to start - no logs yet"),
                    "ErrImagePull" => format!("{what} is waiting to start: image can't be pulled"),
                    "ImagePullBackOff" => {
                        format!("{what} is waiting to start: trying and failing to pull image")
                    }
                    reason => format!("{what} is waiting to start: {reason}"),
                })
            }
        }
    }

    /// This run among those that a runtime has of the container.
    pub fn among<'a>(
        self,
        instances: impl IntoIterator<Item = &'a ContainerStatus>,
    ) -> Option<&'a ContainerStatus> {
        let fits = |attempt: u32| match self {
            Run::After(restarts) => attempt == restarts,
            Run::Before(restarts) => attempt < restarts,
        };
        instances
            .into_iter()
            .filter(|instance| fits(instance.attempt))
            .max_by_key(|instance| instance.attempt)
    }
}
