//! The cluster's own loops on `/metrics`, and their health on `/readyz`.

use std::fmt;
use std::sync::Arc;

use orlop_api::LocalApi;
use orlop_apiserver::{Check, Shell};
use orlop_core::store::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::stats::{LoopStats, PartStats, Watched};

/// As far as a part may be behind before the cluster counts as not ready, in revisions.
const LAG_MAX: u64 = 10_000;

type Latest = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Shows the parts' figures on the server.
pub(super) fn register<S: Store + Clone>(shell: &Shell, api: LocalApi<S>, parts: Vec<(String, Watched)>) {
    let latest: Latest = Arc::new(move || api.store().view().revision().0);
    shell.metrics().register(Box::new(Loops { parts: parts.clone(), latest: latest.clone() }));
    shell.add_check(Check {
        name: "parts",
        live: false,
        run: Arc::new(move || {
            for (name, watched) in &parts {
                let stats = watched.stats();
                if stats.follows == 0 {
                    return Err(format!("{name} does not follow the API yet"));
                }
                let lag = latest().saturating_sub(stats.seen.0);
                if lag > LAG_MAX {
                    return Err(format!("{name} is {lag} revisions behind"));
                }
            }
            Ok(())
        }),
    });
}

struct Loops {
    parts: Vec<(String, Watched)>,
    latest: Latest,
}

impl fmt::Debug for Loops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(name, _)| name)).finish()
    }
}

/// The name and the help of a metric, and its value for a part.
type Figure<T> = (&'static str, &'static str, fn(&PartStats, u64) -> T);

const PART_GAUGES: [Figure<i64>; 3] = [
    ("orlop_part_watch_lag", "Revisions that the part has not seen yet", |stats, latest| {
        signed(latest.saturating_sub(stats.seen.0))
    }),
    ("orlop_part_jobs", "Jobs under way", |stats, _| signed(stats.jobs as u64)),
    ("orlop_part_malformed", "Objects that the part cannot read and does not see", |stats, _| {
        signed(stats.malformed as u64)
    }),
];

/// The name and the help of a metric, and its value for a decider.
type LoopFigure = (&'static str, &'static str, fn(&LoopStats) -> f64);

const LOOP_COUNTERS: [LoopFigure; 4] = [
    ("orlop_loop_looks", "Looks taken", |l| l.looks as f64),
    ("orlop_loop_failures", "Plans that failed", |l| l.failures as f64),
    ("orlop_loop_panics", "Looks that panicked", |l| l.panics as f64),
    ("orlop_loop_busy_seconds", "Time spent looking", |l| l.busy.as_secs_f64()),
];

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Collector for Loops {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let latest = (self.latest)();
        let parts: Vec<(&str, PartStats)> =
            self.parts.iter().map(|(name, w)| (name.as_str(), w.stats())).collect();
        for (name, help, value) in PART_GAUGES {
            let gauge = ConstGauge::new(0i64);
            let mut family = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            for (part, stats) in &parts {
                ConstGauge::new(value(stats, latest)).encode(family.encode_family(&[("part", *part)])?)?;
            }
        }
        let loops = || parts.iter().flat_map(|(_, stats)| &stats.loops);
        let mut depth = encoder.encode_descriptor(
            "orlop_loop_queue_depth",
            "Keys that wait for their turn",
            None,
            ConstGauge::new(0i64).metric_type(),
        )?;
        for figures in loops() {
            let gauge = ConstGauge::new(signed(figures.depth as u64));
            gauge.encode(depth.encode_family(&[("loop", figures.name)])?)?;
        }
        for (name, help, value) in LOOP_COUNTERS {
            let mut family =
                encoder.encode_descriptor(name, help, None, ConstCounter::new(0f64).metric_type())?;
            for figures in loops() {
                ConstCounter::new(value(figures)).encode(family.encode_family(&[("loop", figures.name)])?)?;
            }
        }
        Ok(())
    }
}
