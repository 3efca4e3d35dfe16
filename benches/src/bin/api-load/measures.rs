//! What is measured, in the same way for every server.

use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::Outcome;
use crate::http::{Connection, Target};

/// Objects in the list that is read.
const LISTED: usize = 1000;
/// The pod that is read, the list, and what a client that wants it as a table takes.
pub(crate) const PROBE: &str = "/api/v1/namespaces/default/pods/probe";
pub(crate) const LIST: &str = "/api/v1/namespaces/list1k/configmaps";
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// Who create the objects that are watched.
const WRITERS: usize = 8;
/// How long watchers may take after the last write.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Measures {
    pub(crate) target: Target,
    pub(crate) seconds: Duration,
    /// Part of the names of what is created, so that one server can be measured again.
    pub(crate) run: u32,
    /// The sizes of answers, with the number of clients that read them.
    pub(crate) sizes: Vec<(usize, usize)>,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn now() -> Instant {
    Instant::now()
}

impl Measures {
    /// As many creations as the clients manage.
    pub(crate) async fn create(&self, plural: &'static str, clients: usize) -> Outcome<Value> {
        let path = format!("/api/v1/namespaces/default/{plural}");
        let (target, run) = (self.target.clone(), self.run);
        let body = move |client: usize, n: usize| match plural {
            "pods" => json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("many{run}-{client}-{n}"), "labels": {"app": "load"}},
                "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10",
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]}}),
            _ => {
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("one{run}-{client}-{n}")},
                "data": {"a": "b".repeat(200)}})
            }
        };
        let request =
            move |client: usize, n: usize| target.request("POST", &path, "*/*", &body(client, n).to_string());
        let (figures, _) = self.drive(clients, 201, request).await?;
        Ok(figures)
    }

    /// Creates an object, unless an earlier run has.
    async fn put(&self, connection: &mut Connection, path: &str, object: Value) -> Outcome<()> {
        let request = self.target.request("POST", path, "*/*", &object.to_string());
        let (status, _) = connection.call(&request).await?;
        if matches!(status, 201 | 409) { Ok(()) } else { Err(format!("{path} answered {status}").into()) }
    }

    /// What pods need where no controller makes it.
    pub(crate) async fn account(&self) -> Outcome<()> {
        let mut connection = self.target.connect().await?;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        self.put(&mut connection, "/api/v1/namespaces/default/serviceaccounts", account).await
    }

    /// The pod and the list that are read.
    pub(crate) async fn seed(&self) -> Outcome<()> {
        let mut connection = self.target.connect().await?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "list1k"}});
        self.put(&mut connection, "/api/v1/namespaces", namespace).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "c", "image": "x"}]}});
        self.put(&mut connection, "/api/v1/namespaces/default/pods", probe).await?;
        for n in 0..LISTED {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": format!("c{n}"), "labels": {"n": (n % 10).to_string()}},
                "data": {"a": "b".repeat(200)}});
            self.put(&mut connection, "/api/v1/namespaces/list1k/configmaps", object).await?;
        }
        Ok(())
    }

    /// As many reads of one path as the clients manage.
    pub(crate) async fn get(&mut self, path: &str, accept: &'static str, clients: usize) -> Outcome<Value> {
        let request = self.target.request("GET", path, accept, "");
        let (figures, size) = self.drive(clients, 200, move |_, _| request.clone()).await?;
        self.sizes.push((size, clients));
        Ok(figures)
    }

    /// The size of an answer.
    pub(crate) async fn size(&self, path: &str, accept: &str) -> Outcome<usize> {
        let mut connection = self.target.connect().await?;
        Ok(connection.call(&self.target.request("GET", path, accept, "")).await?.1)
    }

    /// Each client sends its next request when it has the answer to its last. Answers with the figures, and with the
    /// size of the last answer.
    async fn drive(
        &self,
        clients: usize,
        expected: u16,
        request: impl Fn(usize, usize) -> Vec<u8> + Clone + Send + 'static,
    ) -> Outcome<(Value, usize)> {
        let barrier = Arc::new(Barrier::new(clients + 1));
        let seconds = self.seconds;
        let mut tasks = Vec::new();
        for client in 0..clients {
            let mut connection = self.target.connect().await?;
            let (barrier, request) = (barrier.clone(), request.clone());
            tasks.push(tokio::spawn(async move {
                barrier.wait().await;
                let (mut took, mut failed, mut size) = (Vec::new(), 0usize, 0);
                let begun = now();
                let mut n = 0;
                while begun.elapsed() < seconds {
                    let asked = request(client, n);
                    let sent = now();
                    let (status, length) = connection.call(&asked).await?;
                    took.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                    failed += usize::from(status != expected);
                    size = length;
                    n += 1;
                }
                Ok::<_, std::io::Error>((took, failed, size))
            }));
        }
        barrier.wait().await;
        let begun = now();
        let (mut took, mut failed, mut size) = (Vec::new(), 0, 0);
        for task in tasks {
            let (more, bad, length) = task.await??;
            took.extend(more);
            failed += bad;
            size = length;
        }
        let spent = begun.elapsed().as_secs_f64();
        took.sort_unstable();
        let at = |part: f64| {
            f64::from(took.get((took.len() as f64 * part) as usize).copied().unwrap_or(0)) / 1000.0
        };
        let figures = json!({"rps": (took.len() as f64 / spent).round(), "p50_ms": at(0.5), "p99_ms": at(0.99),
            "done": took.len(), "unexpected": failed, "bytes": size});
        Ok((figures, size))
    }

    /// Objects are created while many watch them: how many events arrive in a second, over all watchers.
    pub(crate) async fn watch(&self, watchers: usize, writes: usize) -> Outcome<Value> {
        let label = format!("fan{}", self.run);
        let path = format!("/api/v1/namespaces/default/configmaps?watch=1&labelSelector=run%3D{label}");
        let request = self.target.request("GET", &path, "*/*", "");
        let delivered = Arc::new(AtomicIsize::new(0));
        let ready = Arc::new(Barrier::new(watchers + 1));
        let mut tasks = Vec::new();
        for _ in 0..watchers {
            let mut connection = self.target.connect().await?;
            let (request, ready, delivered) = (request.clone(), ready.clone(), delivered.clone());
            tasks.push(tokio::spawn(async move {
                connection.send(&request).await?;
                ready.wait().await;
                let mut buffer = vec![0; 1 << 16];
                let mut seen = 0;
                while seen < writes.cast_signed() {
                    let bytes = connection.read(&mut buffer).await?;
                    if bytes.is_empty() {
                        break;
                    }
                    let new = lines(bytes);
                    seen += new;
                    delivered.fetch_add(new, Ordering::Relaxed);
                }
                Ok::<_, std::io::Error>(())
            }));
        }
        ready.wait().await;
        let begun = now();
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let mut connection = self.target.connect().await?;
            let (target, label) = (self.target.clone(), label.clone());
            let share = writes / WRITERS + usize::from(writer < writes % WRITERS);
            writers.push(tokio::spawn(async move {
                for n in 0..share {
                    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": format!("{label}-{writer}-{n}"), "labels": {"run": label}},
                        "data": {"i": n.to_string()}});
                    let path = "/api/v1/namespaces/default/configmaps";
                    let request = target.request("POST", path, "*/*", &object.to_string());
                    let (status, _) = connection.call(&request).await?;
                    if status != 201 {
                        return Err(format!("a creation answered {status}").into());
                    }
                }
                Outcome::Ok(())
            }));
        }
        for writer in writers {
            writer.await??;
        }
        let written = begun.elapsed().as_secs_f64();
        let all = async {
            for task in tasks {
                task.await??;
            }
            Outcome::Ok(())
        };
        // Who has not been told all by then shows in the figures.
        if let Ok(ended) = tokio::time::timeout(PATIENCE, all).await {
            ended?;
        }
        let spent = begun.elapsed().as_secs_f64();
        let delivered = delivered.load(Ordering::Relaxed);
        Ok(json!({"watchers": watchers, "writes": writes, "delivered": delivered,
            "write_rps": (writes as f64 / written).round(), "delivered_per_s": (delivered as f64 / spent).round()}))
    }
}

/// How many lines of a watch end in these bytes. Each line is an object in which no line break stands; chunks begin and
/// end with `\r\n`. Where those two are read apart, the count is one too low or too high until both are there.
fn lines(bytes: &[u8]) -> isize {
    // In pieces, so that a byte is wide enough to count in and many are compared at once.
    let piece = |bytes: &[u8]| {
        let (ends, returns) = bytes.iter().fold((0u8, 0u8), |(ends, returns), byte| {
            (ends + u8::from(*byte == b'\n'), returns + u8::from(*byte == b'\r'))
        });
        isize::from(ends) - isize::from(returns)
    };
    bytes.chunks(255).map(piece).sum()
}
