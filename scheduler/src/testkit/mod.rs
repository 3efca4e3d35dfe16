//! Property tests for scheduling rules of one's own: strategies for clusters, and laws that every plugin must keep.
//!
//! ```
//! use orlop_scheduler::{Depends, Filter, NodeView, PodFacts, Verdict, testkit};
//!
//! /// Keeps pods off nodes that are nearly full.
//! struct NotFull;
//!
//! impl Filter for NotFull {
//!     fn name(&self) -> &str {
//!         "NotFull"
//!     }
//!     fn filter(&self, _: &PodFacts, node: &NodeView<'_>) -> Verdict {
//!         // Counts what is free in shares of ten: 10 free CPUs of 100 are as good as 1 of 10.
//!         let (free, all) = (node.free("cpu"), node.allocatable("cpu"));
//!         Verdict::fits_or(all == 0 || free * 10 / all > 1, || Verdict::refuse("node(s) were nearly full"))
//!     }
//!     fn depends_on(&self) -> Depends {
//!         Depends::NODE_CAPACITY.and(Depends::PODS_THERE)
//!     }
//!     fn is_monotone(&self) -> bool {
//!         true
//!     }
//! }
//!
//! testkit::check(NotFull);
//! ```
//!
//! # A plausible wrong plugin
//! "One database to each zone" is easily written so that it looks right on every cluster of one's own:
//!
//! ```
//! use orlop_scheduler::{Depends, Filter, NodeView, PodFacts, Verdict, testkit};
//!
//! struct OneDatabasePerZone;
//!
//! impl Filter for OneDatabasePerZone {
//!     fn name(&self) -> &str {
//!         "OneDatabasePerZone"
//!     }
//!     fn filter(&self, pod: &PodFacts, node: &NodeView<'_>) -> Verdict {
//!         let is_db = |pod: &PodFacts| pod.label("app") == Some("db");
//!         let zone = node.label("topology.kubernetes.io/zone");
//!         let neighbours = node.cluster().nodes().filter(|n| n.label("topology.kubernetes.io/zone") == zone);
//!         let taken = neighbours.flat_map(|n| n.pods()).any(is_db);
//!         Verdict::fits_or(!is_db(pod) || !taken, || Verdict::refuse("zone(s) had a database"))
//!     }
//!     /// Forgotten: the pods on the zone's other nodes.
//!     fn depends_on(&self) -> Depends {
//!         Depends::NODE_LABELS.and(Depends::PODS_THERE)
//!     }
//! }
//!
//! let failure = testkit::Suite::of(OneDatabasePerZone).run().unwrap_err();
//! assert_eq!(failure.to_string(), "\
//! OneDatabasePerZone breaks the law: a filter depends only on what it declares
//!   default/p1: it does not declare other nodes and their pods, but when they change for node n0: \
//! first \"zone(s) had a database\", then it fits
//! in this cluster:
//!   node n0 zone=y
//!   node n4 zone=y
//!   pod b3 app=db on=n4
//!   pod p1 app=db
//! ");
//! ```
//! The cluster is as small as it can be and may be pasted into a test: `text.parse::<Scene>()`.
//!
//! # What is checked
//! Each [`Law`] says what it asks. [`check`] runs all that apply to a plugin of one trait; [`Suite`] takes several
//! traits of one plugin together, and whole profiles.

mod laws;
mod notation;
pub mod strategies;
mod subject;

use std::cell::RefCell;
use std::fmt;

use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::facts::{NodeFacts, PodFacts};
use crate::framework::{QueueingHint, Reserve};
use crate::profile::Profile;

pub use laws::{Broken, Law};
pub use notation::{BadLine, Line, Scene};
pub use strategies::Size;
pub use subject::{AsFilter, AsPreFilter, AsPreScore, AsProfile, AsReserve, AsScore, Subject};

use laws::{Exempt, Trial};

/// How many clusters a law is tried on unless told otherwise.
const CASES: u32 = 512;

/// Runs every law that applies to a plugin, or to all plugins of a profile.
///
/// A plugin that is several things at once says which is meant, `check::<AsScore>(plugin)`, or goes through a
/// [`Suite`].
///
/// # Panics
/// When one is broken: with the law, the plugin and the smallest cluster found that shows it.
pub fn check<M>(subject: impl Subject<M>) {
    if let Err(failure) = Suite::of(subject).run() {
        panic!("{failure}");
    }
}

/// What to try, and on what.
pub struct Suite {
    profile: Profile,
    only: Option<String>,
    cases: u32,
    seed: u64,
    scenes: BoxedStrategy<Scene>,
    laws: Vec<Law>,
    exempt: Box<Exempt>,
}

/// A law that a plugin breaks, with the smallest cluster found that shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What is broken.
    pub broken: Broken,
    /// The cluster.
    pub scene: Scene,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { law, plugin, pod, what } = &self.broken;
        writeln!(f, "{plugin} breaks the law: {law}")?;
        writeln!(f, "  {pod}: {what}")?;
        writeln!(f, "in this cluster:")?;
        self.scene.lines.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

impl std::error::Error for Failure {}

impl Suite {
    /// A plugin beside those of the default profile, or a whole profile.
    pub fn of<M>(subject: impl Subject<M>) -> Suite {
        let (profile, only) = subject.into_profile();
        Suite {
            profile,
            only,
            cases: CASES,
            seed: 0,
            scenes: strategies::scenes(Size::default()).boxed(),
            laws: Law::ALL.to_vec(),
            exempt: Box::new(|_, _| false),
        }
    }

    /// This, and how the same plugin reserves.
    pub fn reserve(mut self, plugin: impl Reserve + 'static) -> Suite {
        self.profile = self.profile.reserve(plugin);
        self
    }

    /// This, and what the plugin says of events.
    pub fn hint(mut self, plugin: impl QueueingHint + 'static) -> Suite {
        self.profile = self.profile.hint(plugin);
        self
    }

    /// This, on so many clusters.
    pub fn cases(mut self, cases: u32) -> Suite {
        self.cases = cases;
        self
    }

    /// This, on other clusters.
    pub fn seed(mut self, seed: u64) -> Suite {
        self.seed = seed;
        self
    }

    /// This, on clusters of a strategy of one's own.
    pub fn scenes(mut self, scenes: impl Strategy<Value = Scene> + 'static) -> Suite {
        self.scenes = scenes.boxed();
        self
    }

    /// This, with these laws alone.
    pub fn laws(mut self, laws: impl IntoIterator<Item = Law>) -> Suite {
        self.laws = laws.into_iter().collect();
        self
    }

    /// This, without expecting a pod to fit a node made for it where `exempt` says so: where the plugin asks more of a
    /// node than Kubernetes knows of.
    pub fn exempt(mut self, exempt: impl Fn(&PodFacts, &NodeFacts) -> bool + Send + Sync + 'static) -> Suite {
        self.exempt = Box::new(exempt);
        self
    }

    /// Tries one cluster.
    ///
    /// # Errors
    /// The first law that is broken on it.
    pub fn try_on(&self, scene: &Scene) -> Result<(), Broken> {
        self.try_laws(scene, &self.laws)
    }

    fn try_laws(&self, scene: &Scene, laws: &[Law]) -> Result<(), Broken> {
        Trial::new(&self.profile, self.only.as_deref(), scene, self.seed, &*self.exempt).run(laws)
    }

    /// Tries as many clusters as were asked for; the same each time.
    ///
    /// # Errors
    /// The first law that is broken, on the smallest cluster found that shows it.
    #[expect(clippy::result_large_err, reason = "a failure is made once, at the end of a test")]
    pub fn run(&self) -> Result<(), Failure> {
        let config =
            Config { cases: self.cases, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let first: RefCell<Option<Broken>> = RefCell::new(None);
        let outcome = runner.run(&self.scenes, |scene| {
            self.try_on(&scene).map_err(|found| {
                let error = TestCaseError::fail(found.law.to_string());
                *first.borrow_mut() = Some(found);
                error
            })
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(TestError::Fail(_, scene)) => {
                let broken = first.into_inner().expect("what is broken was noted when it was found");
                Err(self.smallest(scene, broken))
            }
            Err(TestError::Abort(reason)) => panic!("the clusters cannot be made: {reason}"),
        }
    }

    /// The smallest scene that comes of a broken one by leaving out lines and words, one after the other, and on which
    /// the same law is broken.
    fn smallest(&self, mut scene: Scene, mut broken: Broken) -> Failure {
        loop {
            let law = [broken.law];
            let smaller = scene
                .smaller()
                .find_map(|smaller| self.try_laws(&smaller, &law).err().map(|found| (smaller, found)));
            match smaller {
                Some(found) => (scene, broken) = found,
                None => return Failure { broken, scene },
            }
        }
    }
}
