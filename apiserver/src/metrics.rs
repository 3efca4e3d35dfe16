//! What the server has been doing, for Prometheus.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Upper bounds of request durations, in seconds: Kubernetes' own.
const BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The metrics of a server, and of whatever else registers with it.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<VerbLabels, Histogram, Buckets>,
    watches: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct VerbLabels {
    verb: &'static str,
    resource: String,
}

#[derive(Clone)]
struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations = Family::new_with_constructor(Buckets);
        let watches = Gauge::default();
        registry.register(
            "apiserver_request",
            "Requests by verb, resource and status code",
            requests.clone(),
        );
        registry.register(
            "apiserver_request_duration_seconds",
            "How long requests took, but for watches",
            durations.clone(),
        );
        registry.register("apiserver_longrunning_requests", "Watches under way", watches.clone());
        Metrics { registry: Arc::new(Mutex::new(registry)), requests, durations, watches }
    }
}

impl Metrics {
    /// Adds metrics of another part of the process, which are asked for at each scrape.
    pub fn register(&self, collector: Box<dyn Collector>) {
        self.registry.lock().register_collector(collector);
    }

    /// The exposition in OpenMetrics' text form.
    ///
    /// # Errors
    /// When a collector fails to write.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }

    pub(crate) fn answered(&self, verb: &'static str, resource: &str, code: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { verb, resource: resource.to_owned(), code }).inc();
        if verb != "WATCH" {
            self.durations
                .get_or_create(&VerbLabels { verb, resource: resource.to_owned() })
                .observe(took.as_secs_f64());
        }
    }

    /// Counts a watch until the answer is dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watches.inc();
        Watching(self.watches.clone())
    }
}

pub(crate) struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}
