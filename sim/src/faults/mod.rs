//! What goes wrong, by seed and choice: [`Faults`].

mod api;
mod driver;

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use api::FaultyApi;
pub(crate) use driver::drive_faults;

/// Which kinds of faults happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Requests take their time; some fail, some fail though they have happened.
    pub api: bool,
    /// Watches end, and begin anew some seconds later with everything.
    pub watches: bool,
    /// The controllers, the scheduler and node agents are dropped and begin anew.
    pub restarts: bool,
    /// Containers and sandboxes die, calls of the runtime fail, answers and events are lost, machines reboot.
    pub runtime: bool,
    /// The store's disk breaks at any byte; what was being written may or may not be found afterwards.
    pub store: bool,
    /// Clocks of nodes jump forward.
    pub clocks: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults =
        Faults { api: false, watches: false, restarts: false, runtime: false, store: false, clocks: false };
    /// Everything does.
    pub const ALL: Faults =
        Faults { api: true, watches: true, restarts: true, runtime: true, store: true, clocks: true };

    /// Whether anything goes wrong.
    pub fn any(&self) -> bool {
        *self != Faults::NONE
    }
}

/// A name that is no kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of fault: there are api, watches, restarts, runtime, store, clocks, and all")]
pub struct UnknownFault(String);

impl FromStr for Faults {
    type Err = UnknownFault;

    /// `all`, or names separated by commas.
    fn from_str(text: &str) -> Result<Faults, UnknownFault> {
        let mut faults = Faults::NONE;
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "all" => faults = Faults::ALL,
                "api" => faults.api = true,
                "watches" => faults.watches = true,
                "restarts" => faults.restarts = true,
                "runtime" => faults.runtime = true,
                "store" => faults.store = true,
                "clocks" => faults.clocks = true,
                other => return Err(UnknownFault(other.to_owned())),
            }
        }
        Ok(faults)
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Faults::ALL {
            return f.write_str("all");
        }
        let all = [
            ("api", self.api),
            ("watches", self.watches),
            ("restarts", self.restarts),
            ("runtime", self.runtime),
            ("store", self.store),
            ("clocks", self.clocks),
        ];
        let named: Vec<&str> = all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        f.write_str(&named.join(","))
    }
}

/// Something that is on until it is switched off. Clones are the same switch.
#[derive(Clone)]
pub(crate) struct Switch(Arc<AtomicBool>);

impl Switch {
    pub(crate) fn new(on: bool) -> Switch {
        Switch(Arc::new(AtomicBool::new(on)))
    }

    pub(crate) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn turn_off(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
