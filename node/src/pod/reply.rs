//! What the runtime answers.

use orlop_core::runtime::{ProbeAnswer, Reply, RuntimeError};

use super::unit::Work;
use super::{Env, Op, Out, PodMachine, RETRY, Sandbox};

impl PodMachine {
    /// A reply of the runtime.
    pub(crate) fn on_reply(
        &mut self,
        env: &mut Env<'_>,
        op: Op,
        reply: Result<Reply, RuntimeError>,
        out: &mut Out,
    ) {
        let probed = |reply: Result<Reply, RuntimeError>| -> Result<ProbeAnswer, RuntimeError> {
            match reply? {
                Reply::Probe(answer) => Ok(answer),
                other => Err(confused(&other)),
            }
        };
        match op {
            Op::Sandbox => self.on_sandbox(env, reply, out),
            Op::StopSandbox => {
                if let (Sandbox::Stopping(id), Ok(_)) = (&self.sandbox, &reply) {
                    self.sandbox = Sandbox::Stopped(id.clone());
                } else if let Sandbox::Stopping(id) = &self.sandbox {
                    self.sandbox = Sandbox::Up(id.clone());
                    out.wake_at(env.now + RETRY);
                }
            }
            Op::RemoveSandbox => match (&self.sandbox, reply) {
                (Sandbox::Removing(_), Ok(_) | Err(RuntimeError::NotFound(_))) => {
                    self.sandbox = Sandbox::None(None);
                    self.free_addresses(env);
                }
                (Sandbox::Removing(id), Err(_)) => {
                    self.sandbox = Sandbox::Stopped(id.clone());
                    self.retry_write = Some(env.now + RETRY);
                }
                _ => {}
            },
            Op::Look(i) => {
                let found = match reply {
                    Ok(Reply::Image(image)) => Ok(image),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_look(i, cx, found));
            }
            Op::Pull(i) => {
                let pulled = match reply {
                    Ok(Reply::Image(image)) => Ok(image),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_pull(i, cx, pulled));
            }
            Op::Create(i) => {
                let created = match reply {
                    Ok(Reply::Container(id)) => Ok(id),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                // What was created for a pod that has to end by now is not started.
                let ending = self.ending.is_some();
                self.at(i, env, out, |unit, cx| match ending {
                    true => unit.work = Work::None,
                    false => unit.on_create(i, cx, created),
                });
            }
            Op::Start(i) => {
                let started = match reply {
                    Ok(Reply::Started(at)) => Ok(at),
                    Ok(other) => Err(confused(&other)),
                    Err(error) => Err(error),
                };
                self.at(i, env, out, |unit, cx| unit.on_start(i, cx, started));
            }
            Op::Stop(i) => {
                if reply.is_err() {
                    self.at(i, env, out, |unit, cx| unit.on_stop_failed(cx));
                }
            }
            Op::Kill | Op::Forget => {}
            Op::Probe(i, attempt, purpose) => {
                self.at(i, env, out, |unit, cx| unit.on_probe(i, cx, attempt, purpose, probed(reply)));
            }
            Op::PostStart(i, attempt) => {
                self.at(i, env, out, |unit, cx| unit.on_post_start(i, cx, attempt, probed(reply)));
            }
            Op::PreStop(i, attempt) => {
                let failed = !matches!(probed(reply), Ok(ProbeAnswer::Success));
                self.at(i, env, out, |unit, cx| {
                    if failed {
                        cx.note(i, &unit.spec.clone(), true, "FailedPreStopHook", "PreStopHook failed");
                    }
                    unit.on_pre_stop(cx, attempt);
                });
            }
        }
    }

    fn on_sandbox(&mut self, env: &mut Env<'_>, reply: Result<Reply, RuntimeError>, out: &mut Out) {
        if self.sandbox != Sandbox::Creating {
            return;
        }
        match reply {
            Ok(Reply::Sandbox(id)) => {
                self.sandbox = Sandbox::Up(id);
                self.sandbox_noticed = env.now;
            }
            Ok(_) => {}
            Err(error) => {
                let message = format!("Failed to create pod sandbox: {error}");
                self.note(out, true, "FailedCreatePodSandBox", message);
                self.sandbox = Sandbox::None(Some(env.now + RETRY));
                if matches!(error, RuntimeError::AlreadyExists(_) | RuntimeError::Unavailable(_)) {
                    // It may exist for all that; then the list tells.
                    out.relist = true;
                } else {
                    self.free_addresses(env);
                }
            }
        }
    }

    fn free_addresses(&mut self, env: &mut Env<'_>) {
        if !self.is_host_network()
            && let Some(pool) = env.addresses
        {
            for address in &self.addresses {
                pool.release(*address, env.now);
            }
        }
        self.addresses.clear();
    }
}

fn confused(reply: &Reply) -> RuntimeError {
    RuntimeError::Unavailable(format!("the runtime answered something else: {reply:?}"))
}
