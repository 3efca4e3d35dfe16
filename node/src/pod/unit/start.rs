//! From an image to an instance that has started.

use std::time::Duration;

use orlop_core::runtime::{Call, ContainerId, Exit, ExitReason, ImageInfo, ImagePull, RuntimeError};
use orlop_core::{Name, Timestamp};

use super::{RETRY, RETRY_CONFIG, Unit, Wait, Work};
use crate::pod::{Cx, Op};
use crate::spec;

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(1);
impl Unit {
    pub(super) fn begin(&mut self, i: usize, cx: &mut Cx<'_>) {
        if self.spec.image_pull_policy == "Always" {
            self.pull(i, cx);
        } else {
            self.work = Work::Looking;
            cx.out.call(Op::Look(i), Call::Image(self.spec.image.clone()));
        }
    }

    fn pull(&mut self, i: usize, cx: &mut Cx<'_>) {
        let image = self.spec.image.clone();
        cx.note(i, &self.spec, false, "Pulling", format!("Pulling image \"{image}\""));
        self.work = Work::Pulling { since: cx.now };
        let annotations = cx.facts.pod.metadata.annotations.clone();
        cx.out.call(Op::Pull(i), Call::PullImage(ImagePull { image, auth: None, annotations }));
    }

    pub(crate) fn on_look(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        found: Result<Option<ImageInfo>, RuntimeError>,
    ) {
        if self.work != Work::Looking {
            return;
        }
        match found {
            Ok(Some(image)) => {
                let name = &self.spec.image;
                cx.note(
                    i,
                    &self.spec,
                    false,
                    "Pulled",
                    format!("Container image \"{name}\" already present on machine"),
                );
                self.create(i, cx, image.id);
            }
            Ok(None) if self.spec.image_pull_policy == "Never" => {
                let message = format!(
                    "Container image \"{}\" is not present with pull policy of Never",
                    self.spec.image
                );
                cx.note(i, &self.spec, true, "ErrImageNeverPull", message.clone());
                self.fail(cx, "ErrImageNeverPull", message, cx.now + RETRY_CONFIG);
            }
            Ok(None) => self.pull(i, cx),
            Err(error) => self.fail(cx, "ImageInspectError", error.to_string(), cx.now + RETRY),
        }
    }

    pub(crate) fn on_pull(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        pulled: Result<Option<ImageInfo>, RuntimeError>,
    ) {
        let Work::Pulling { since } = self.work else { return };
        let name = self.spec.image.clone();
        match pulled {
            Ok(image) => {
                let image = image.unwrap_or_default();
                let took = cx.now.since(since).as_millis();
                let took =
                    if took < 1000 { format!("{took}ms") } else { format!("{:.3}s", took as f64 / 1e3) };
                cx.note(
                    i,
                    &self.spec,
                    false,
                    "Pulled",
                    format!(
                        "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {} bytes.",
                        image.size_bytes
                    ),
                );
                self.create(i, cx, image.id);
            }
            Err(RuntimeError::InvalidImageName(_)) => {
                let message = format!("Failed to apply default image \"{name}\": couldn't parse image name");
                cx.note(i, &self.spec, true, "InspectFailed", message.clone());
                self.fail(cx, "InvalidImageName", message, cx.now + RETRY_CONFIG);
            }
            Err(error) => {
                cx.note(i, &self.spec, true, "Failed", format!("Failed to pull image \"{name}\": {error}"));
                cx.note(i, &self.spec, true, "Failed", "Error: ErrImagePull");
                self.pulls.next(cx.now, cx.now);
                let until = cx.now + self.pulls.delay();
                let then = cx.now + PULL_ERROR_SHOWN;
                cx.out.wake_at(then.min(until));
                let later = format!("Back-off pulling image \"{name}\": ErrImagePull: {error}");
                self.work = Work::Failed(Wait {
                    reason: "ErrImagePull",
                    message: error.to_string(),
                    from: cx.now,
                    then: Some((then, "ImagePullBackOff", later)),
                    until,
                    on_change: false,
                });
            }
        }
    }

    fn create(&mut self, i: usize, cx: &mut Cx<'_>, image_id: Name) {
        match spec::container(&cx.facts, &self.spec, self.next_attempt(), self.role) {
            Ok(spec) => {
                self.work = Work::Creating { image_id };
                let sandbox = cx.sandbox.clone();
                cx.out.call(Op::Create(i), Call::CreateContainer(sandbox, Box::new(spec)));
            }
            Err(message) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {message}"));
                let until = cx.now + RETRY_CONFIG;
                cx.out.wake_at(until);
                self.work = Work::Failed(Wait {
                    reason: "CreateContainerConfigError",
                    message,
                    from: cx.now,
                    then: None,
                    until,
                    on_change: true,
                });
            }
        }
    }

    pub(crate) fn on_create(
        &mut self,
        i: usize,
        cx: &mut Cx<'_>,
        created: Result<ContainerId, RuntimeError>,
    ) {
        let Work::Creating { image_id } = &self.work else { return };
        match created {
            Ok(id) => {
                cx.note(i, &self.spec, false, "Created", "Container created");
                self.work = Work::Starting { id: id.clone(), image_id: image_id.clone() };
                cx.out.call(Op::Start(i), Call::StartContainer(id));
            }
            Err(RuntimeError::AlreadyExists(_)) => {
                self.work = Work::Finding;
                cx.out.relist = true;
            }
            Err(error) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {error}"));
                if matches!(error, RuntimeError::NotFound(_)) {
                    cx.out.relist = true;
                }
                let wait = if matches!(error, RuntimeError::InvalidSpec(_)) { RETRY_CONFIG } else { RETRY };
                self.fail(cx, "CreateContainerError", error.to_string(), cx.now + wait);
            }
        }
    }

    pub(crate) fn on_start(&mut self, i: usize, cx: &mut Cx<'_>, started: Result<Timestamp, RuntimeError>) {
        let Work::Starting { id, image_id } = self.work.clone() else { return };
        match started {
            Ok(since) => {
                cx.note(i, &self.spec, false, "Started", "Container started");
                self.run(cx, id, image_id, since);
            }
            Err(RuntimeError::StartFailed(message) | RuntimeError::InvalidSpec(message)) => {
                cx.note(i, &self.spec, true, "Failed", format!("Error: {message}"));
                self.run(cx, id, image_id, cx.now);
                self.on_exit(Exit {
                    code: 128,
                    signal: None,
                    reason: ExitReason::StartError,
                    message,
                    started: None,
                    finished: cx.now,
                });
            }
            Err(_) => {
                // Whether it runs is for the next list to tell.
                self.work = Work::Finding;
                cx.out.relist = true;
            }
        }
    }
}
