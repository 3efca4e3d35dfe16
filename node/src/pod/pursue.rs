//! Has the containers run: first a sandbox, then the init containers, then all else.

use std::net::IpAddr;
use std::time::Duration;

use orlop_core::Timestamp;
use orlop_core::runtime::Call;

use super::restart::Restarts;
use super::unit::Role;
use super::{Env, Op, Out, PodMachine, RETRY, Sandbox, Verdict};
use crate::{spec, volumes};

impl PodMachine {
    /// Has the containers run.
    pub(super) fn pursue(&mut self, env: &mut Env<'_>, out: &mut Out) {
        if self.start_time.is_none() {
            self.start_time = Some(env.now.truncate_to_secs());
        }
        if let Some(limit) = self.item.spec.active_deadline_seconds {
            let until =
                self.start_time.unwrap_or(env.now) + Duration::from_secs(u64::try_from(limit).unwrap_or(0));
            if env.now >= until {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                self.note(out, false, "DeadlineExceeded", message.clone());
                self.verdict = Some(Verdict { reason: "DeadlineExceeded", message });
                return self.begin_ending(env);
            }
            out.wake_at(until);
        }
        if !self.have_sandbox(env, out) {
            return;
        }
        if self.anew && !self.clear_for_anew(env, out) {
            return;
        }
        let restarts = Restarts::of(env.config, &self.item);
        let mut all_again = false;
        // Who looks into a pod may do so while it does not get on with its init containers.
        for i in self.own_count()..self.units.len() {
            self.at(i, env, out, |unit, cx| {
                unit.ensure(i, cx, restarts);
            });
        }
        if !self.initialized {
            for i in 0..self.init_count {
                self.at(i, env, out, |unit, cx| all_again |= unit.ensure(i, cx, restarts));
                let unit = &self.units[i];
                let done = match unit.role {
                    Role::Sidecar => unit.started(),
                    _ => unit.exit().is_some_and(|exit| exit.code == 0),
                };
                if all_again || !done {
                    return self.run_anew(all_again, env, out);
                }
            }
            self.initialized = true;
        }
        for i in 0..self.own_count() {
            if self.units[i].role == Role::Init {
                continue;
            }
            self.at(i, env, out, |unit, cx| all_again |= unit.ensure(i, cx, restarts));
            if env.config.probes && self.units[i].holds_up_the_next() {
                break;
            }
        }
        self.run_anew(all_again, env, out);
    }

    /// Has all containers run again, if one has ended in a way that asks for it.
    fn run_anew(&mut self, all_again: bool, env: &mut Env<'_>, out: &mut Out) {
        if all_again {
            self.anew = true;
            self.clear_for_anew(env, out);
            out.wake_at(env.now);
        }
    }

    /// Ends what still runs, without its hooks and its grace, and forgets that any container has run (KEP-5532).
    /// Whether that is done, so that the pod begins with its first init container in the sandbox that it has.
    fn clear_for_anew(&mut self, env: &mut Env<'_>, out: &mut Out) -> bool {
        let now = env.now;
        self.each(env, out, |i, unit, cx| {
            unit.give_up();
            if unit.running().is_some() {
                unit.end_by(i, cx, now);
            }
        });
        if !self.quiet() {
            return false;
        }
        self.each(env, out, |_, unit, cx| unit.begin_anew(cx));
        self.anew = false;
        self.initialized = false;
        true
    }

    /// Whether there is a sandbox to run containers in; does what is needed to have one.
    fn have_sandbox(&mut self, env: &mut Env<'_>, out: &mut Out) -> bool {
        match self.sandbox.clone() {
            Sandbox::Up(_) => return true,
            Sandbox::None(Some(not_before)) if env.now < not_before => {
                out.wake_at(not_before);
                return false;
            }
            Sandbox::None(_) => {}
            Sandbox::Stopped(id) => {
                // It died: the next one starts from scratch. What has to run no more needs none.
                let restarts = Restarts::of(env.config, &self.item);
                if self.mains().iter().all(|unit| unit.is_over(restarts)) {
                    return false;
                }
                self.sandbox = Sandbox::Removing(id.clone());
                self.note(
                    out,
                    false,
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.".into(),
                );
                out.call(Op::RemoveSandbox, Call::RemoveSandbox(id));
                return false;
            }
            Sandbox::Creating | Sandbox::Stopping(_) | Sandbox::Removing(_) => return false,
        }
        if env.config.volumes
            && let Some((volume, what)) = volumes::missing(&self.item, env.objects)
        {
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {what}");
            if self.volume_told.as_ref() != Some(&message) {
                self.note(out, true, "FailedMount", message.clone());
                self.volume_told = Some(message);
            }
            return false;
        }
        if self.addresses.is_empty() {
            match self.take_addresses(env) {
                Ok(addresses) => self.addresses = addresses,
                Err((why, retry)) => {
                    if self.volume_told.as_deref() != Some(why) {
                        self.note(out, true, "NetworkNotReady", why.to_owned());
                        self.volume_told = Some(why.to_owned());
                    }
                    self.sandbox = Sandbox::None(Some(retry));
                    out.wake_at(retry);
                    return false;
                }
            }
        }
        let spec = spec::sandbox(env.config, &self.item, self.sandbox_attempt, self.addresses.clone());
        self.sandbox_attempt += 1;
        self.sandbox = Sandbox::Creating;
        out.call(Op::Sandbox, Call::CreateSandbox(Box::new(spec)));
        false
    }

    fn take_addresses(&self, env: &mut Env<'_>) -> Result<Vec<IpAddr>, (&'static str, Timestamp)> {
        if self.is_host_network() {
            return Ok(env.config.addresses.clone());
        }
        let Some(pool) = env.addresses else {
            return Err(("network is not ready: the node has no pod range yet", env.now + RETRY));
        };
        pool.allocate(env.now).ok_or_else(|| {
            let retry = pool.next_free_at().unwrap_or(env.now + RETRY).max(env.now + RETRY);
            ("network is not ready: no address of the node's pod range is free", retry)
        })
    }
}
