//! A cluster whose time is ours: [`Simulation`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use orlop::assembly::InvalidSpec;
use orlop::spec::{ClusterSpec, default_nodes};
use orlop_api::local::{Config, Served};
use orlop_api::{Link, LocalApi, Status};
use orlop_core::store::LogError;
use orlop_core::{Clock, Entropy, ManualClock, Timestamp};
use orlop_runtime_mock::Policy;
use parking_lot::{Mutex, MutexGuard};

use crate::cluster::{Component, Control, Ground, Profiles};
use crate::executor::Executor;
use crate::faults::{Faults, Switch, drive_faults};
use crate::invariants::{Monitor, Violation};
use crate::store::SimStore;
use crate::workload::Workload;

/// When every simulation begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_secs(1_767_225_600);
/// How often is checked what time alone can break.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often is looked whether all is quiet.
const SETTLE_STEP: Duration = Duration::from_secs(10);

/// What is simulated.
#[derive(Clone)]
pub struct Options {
    /// The cluster: its nodes and networks, and which components run. Its own seed is not used.
    pub spec: ClusterSpec,
    /// What goes wrong.
    pub faults: Faults,
    /// Makes the scheduler's profiles.
    pub profiles: Profiles,
    /// What containers do where their pods do not say.
    pub policy: Policy,
    /// Keeps a line for each change; see [`crate::History::take_log`].
    pub log: bool,
}

impl Options {
    /// A cluster of `nodes` workers in three zones with Kubernetes' default profile, in which nothing goes wrong.
    pub fn nodes(nodes: usize) -> Options {
        Options {
            spec: ClusterSpec { nodes: default_nodes(0, nodes), ..ClusterSpec::default() },
            faults: Faults::NONE,
            profiles: Arc::new(|| vec![orlop_scheduler::Profile::default()]),
            policy: Policy::default(),
            log: false,
        }
    }

    /// These, with faults.
    pub fn faults(self, faults: Faults) -> Options {
        Options { faults, ..self }
    }
}

/// A simulation that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] InvalidSpec),
    /// The empty store cannot be opened.
    #[error("store: {0}")]
    Store(#[from] LogError),
    /// The API refuses what every cluster has.
    #[error("bootstrap: {0}")]
    Api(#[from] Status),
}

/// A whole cluster on a virtual clock: store, API, controllers, scheduler and node agents, without sockets or threads.
///
/// # Guarantees
/// The same seed, options and calls give the same history, to the byte; see [`crate::History`]. Every commit is checked
/// against the invariants; the first that breaks one halts the run.
pub struct Simulation {
    executor: Executor,
    clock: ManualClock,
    control: Control,
    monitor: Arc<Mutex<Monitor>>,
    faults_on: Switch,
    load_on: Switch,
    entropy: Entropy,
}

impl Simulation {
    /// A cluster at the moment when its components start.
    ///
    /// # Errors
    /// When the specification cannot be carried out.
    pub fn new(seed: u64, options: Options) -> Result<Simulation, StartError> {
        let Options { mut spec, faults, profiles, policy, log } = options;
        spec.seed = Some(seed);
        let entropy = Entropy::seeded(seed);
        let clock = ManualClock::at(BEGINNING);
        let mut executor = Executor::new(clock.clone());
        let handle = executor.handle();
        let scheme = Served::builtin().scheme.clone();
        let monitor = Arc::new(Mutex::new(Monitor::new(scheme, handle.clone(), faults.any(), log)));
        let observer = {
            let (monitor, clock) = (monitor.clone(), clock.clone());
            Box::new(move |event: &orlop_core::store::Event| monitor.lock().on_event(clock.now(), event))
        };
        let store = SimStore::new(faults.store, Arc::new(clock.clone()), observer)?;
        let config = Config { service_ranges: spec.networks.services.clone(), ..Config::default() };
        let api = LocalApi::new(store, Arc::new(clock.clone()), entropy.child("api"), config);
        let faults_on = Switch::new(faults.any());
        let control = Control::new(Ground {
            handle: handle.clone(),
            clock: clock.clone(),
            api: api.clone(),
            spec,
            entropy: entropy.clone(),
            profiles,
            policy,
            faults,
            faults_on: faults_on.clone(),
            monitor: monitor.clone(),
        })?;
        // The store commits at once, so this takes no time.
        let booted = executor.block_on(async move { api.bootstrap().await }, BEGINNING);
        booted.unwrap_or(Ok(()))?;
        for component in control.components() {
            control.start(component);
        }
        let checks = (monitor.clone(), clock.clone());
        handle.spawn(async move {
            let (monitor, clock) = checks;
            loop {
                clock.sleep_until(clock.now() + CHECK_EVERY).await;
                monitor.lock().on_time(clock.now());
            }
        });
        handle.spawn(drive_faults(control.clone(), faults, entropy.child("faults")));
        let load_on = Switch::new(true);
        Ok(Simulation { executor, clock, control, monitor, faults_on, load_on, entropy })
    }

    /// The present moment.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// For how long the cluster has been running.
    pub fn age(&self) -> Duration {
        self.now().since(BEGINNING)
    }

    /// A way to the API.
    pub fn link(&self) -> Link {
        self.control.link()
    }

    /// Stops, starts and breaks components.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// What was seen: history, figures, violations. Must be dropped before the simulation goes on.
    pub fn monitor(&self) -> MutexGuard<'_, Monitor> {
        self.monitor.lock()
    }

    /// The digest of everything that was committed.
    pub fn digest(&self) -> String {
        self.monitor.lock().history.digest()
    }

    /// How often a task was run.
    pub fn polls(&self) -> u64 {
        self.executor.polls()
    }

    /// Lets a random workload loose, until [`Simulation::settle`].
    pub fn load(&mut self, workload: Workload) {
        let entropy = self.entropy.child("workload");
        let task = workload.run(self.control.clone(), entropy, self.load_on.clone());
        self.executor.handle().spawn(task);
    }

    /// Lets `time` pass.
    ///
    /// # Errors
    /// The first violation of an invariant; the moment is then that of the violation.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        self.executor.run_until(self.now() + time);
        match self.monitor.lock().violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Carries a scenario out, and lets as much time pass as that takes, at most `limit`; `None`: it takes longer.
    pub fn block_on<T: Send + 'static>(
        &mut self,
        scenario: impl Future<Output = T> + Send + 'static,
        limit: Duration,
    ) -> Option<T> {
        let end = self.now() + limit;
        self.executor.block_on(scenario, end)
    }

    /// Ends workload and faults, mends what is broken, and waits until all is as it must be. Answers how long that took.
    ///
    /// # Errors
    /// What is not as it must be when `limit` has passed, or was violated on the way.
    pub fn settle(&mut self, limit: Duration) -> Result<Duration, Vec<Violation>> {
        let begin = self.now();
        self.faults_on.turn_off();
        self.load_on.turn_off();
        // Whoever was about to do something does it, and ends.
        let pause = crate::workload::PAUSE_MAX + Duration::from_secs(70);
        self.run_for(pause).map_err(|violation| vec![violation])?;
        self.control.restart_store(usize::MAX);
        for component in self.control.components() {
            self.control.start(component);
        }
        let control = self.control.clone();
        self.block_on(async move { crate::workload::uncordon_all(&control).await }, limit);
        loop {
            self.run_for(SETTLE_STEP).map_err(|violation| vec![violation])?;
            let unsettled = self.monitor.lock().unsettled(self.now());
            if unsettled.is_empty() {
                return Ok(self.now().since(begin));
            }
            if self.now().since(begin) >= limit {
                return Err(unsettled);
            }
        }
    }

    /// Whether a component runs.
    pub fn is_up(&self, component: Component) -> bool {
        self.control.is_up(component)
    }
}
