//! Lets something go wrong every now and then.

use std::time::Duration;

use orlop_core::runtime::RuntimeError;
use orlop_core::{Entropy, Name};
use orlop_runtime_mock::Fault;

use super::Faults;
use crate::cluster::{Component, Control};

#[derive(Clone, Copy)]
enum Kind {
    Restart,
    Runtime,
    Store,
    Clock,
}

/// Runs until faults are switched off.
pub(crate) async fn drive_faults(control: Control, faults: Faults, mut entropy: Entropy) {
    let kinds: Vec<Kind> = [
        (faults.restarts, Kind::Restart),
        (faults.runtime, Kind::Runtime),
        (faults.runtime, Kind::Runtime),
        (faults.store, Kind::Store),
        (faults.clocks, Kind::Clock),
    ]
    .into_iter()
    .filter_map(|(on, kind)| on.then_some(kind))
    .collect();
    if kinds.is_empty() {
        return;
    }
    let nodes = control.nodes() as u64;
    loop {
        // A large cluster sees more of everything.
        let millis = 1_000 + entropy.below(60_000) / nodes.clamp(1, 10);
        control.sleep(Duration::from_millis(millis)).await;
        if !control.faults_on() {
            return;
        }
        match kinds[entropy.below(kinds.len() as u64) as usize] {
            Kind::Restart => restart(&control, &mut entropy).await,
            Kind::Runtime => break_runtime(&control, &mut entropy).await,
            Kind::Store => crash_store(&control, &mut entropy).await,
            Kind::Clock => {
                let node = entropy.below(nodes) as usize;
                control.jump(node, Duration::from_millis(entropy.below(20_000)));
            }
        }
    }
}

async fn restart(control: &Control, entropy: &mut Entropy) {
    let component = match entropy.below(4) {
        0 => Component::Controllers,
        1 => Component::Scheduler,
        _ => Component::Node(entropy.below(control.nodes() as u64) as usize),
    };
    if !control.is_up(component) {
        return;
    }
    control.stop(component);
    control.sleep(Duration::from_millis(entropy.below(3_000))).await;
    control.start(component);
}

async fn break_runtime(control: &Control, entropy: &mut Entropy) {
    let node = entropy.below(control.nodes() as u64) as usize;
    let count = 1 + entropy.below(3) as u32;
    let fault = match entropy.below(10) {
        0 | 1 => {
            const CALLS: [&str; 5] = ["", "create_sandbox", "create_container", "start_container", "list"];
            let call = Name::new_static(CALLS[entropy.below(5) as usize]);
            let error = RuntimeError::Unavailable("the simulated runtime is busy".to_owned());
            Fault::FailCalls { count, call, error }
        }
        2 => Fault::LoseReplies(count),
        3 => Fault::LoseEvents(count),
        4 => Fault::SlowStarts { count, by: Duration::from_millis(entropy.below(20_000)) },
        5 => match control.sandbox_of(node, entropy).await {
            Some(sandbox) => Fault::LoseSandbox(sandbox),
            None => return,
        },
        6 => Fault::Reboot,
        _ => match control.container_of(node, entropy).await {
            Some(container) => Fault::KillContainer(container),
            None => return,
        },
    };
    control.inject(node, fault);
}

/// The disk breaks within one of the next writes; a while later the machine is there again.
async fn crash_store(control: &Control, entropy: &mut Entropy) {
    control.store().break_after(entropy.below(20_000));
    control.sleep(Duration::from_millis(500 + entropy.below(8_000))).await;
    control.restart_store(entropy.below(8_000) as usize);
}
