//! `/livez`, `/readyz`, `/healthz`.

use std::fmt::Write;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::body::{Answer, answer};
use crate::query::Query;

/// The media type of `/metrics`.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One thing that must be well.
#[derive(Clone)]
pub struct Check {
    /// The name in the answer.
    pub name: &'static str,
    /// Whether the process is of no use while this is not well; otherwise it only must not be asked.
    pub live: bool,
    /// Says what is wrong.
    pub run: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Everything that must be well.
#[derive(Default)]
pub(crate) struct Health(Mutex<Vec<Check>>);

impl Health {
    pub(crate) fn add(&self, check: Check) {
        self.0.lock().push(check);
    }

    /// Answers `/livez`, `/readyz/NAME`, with `?verbose` and `?exclude=NAME`.
    pub(crate) fn answer(&self, path: &str, query: &Query) -> Answer {
        let mut parts = path.trim_matches('/').split('/');
        let endpoint = parts.next().unwrap_or_default();
        let only = parts.next();
        let checks: Vec<Check> =
            self.0.lock().iter().filter(|check| check.live || endpoint != "livez").cloned().collect();
        if only.is_some_and(|name| name != "ping" && checks.iter().all(|check| check.name != name)) {
            return answer(404, TEXT, "404 page not found\n");
        }
        let mut lines = String::new();
        let mut well = true;
        let ping = Check { name: "ping", live: true, run: Arc::new(|| Ok(())) };
        for check in
            std::iter::once(&ping).chain(&checks).filter(|check| only.is_none_or(|name| name == check.name))
        {
            if query.all("exclude").any(|name| name == check.name) {
                let _ = writeln!(lines, "[+]{} excluded: ok", check.name);
                continue;
            }
            match (check.run)() {
                Ok(()) => {
                    let _ = writeln!(lines, "[+]{} ok", check.name);
                }
                Err(why) => {
                    well = false;
                    let _ = writeln!(lines, "[-]{} failed: {why}", check.name);
                }
            }
        }
        match (well, query.flag("verbose")) {
            (false, _) => answer(500, TEXT, format!("{lines}{endpoint} check failed\n")),
            (true, true) => answer(200, TEXT, format!("{lines}{endpoint} check passed\n")),
            (true, false) => answer(200, TEXT, "ok"),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
