//! What does the store cost: a commit alone and among 32 writers, in memory and on disk; a list of 1,000; a change
//! that 100 watch; a list of the past; opening a file; and the memory of 100,000 pods?
//!
//! `cargo bench -p orlop-benches --bench store`; the memory alone: `... --bench store -- memory`.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use criterion::{BatchSize, Criterion, Throughput};
use orlop_core::store::{Compare, Limits, LogStore, MemoryLog, MemoryStore, Op, Revision, Store, Txn, drain};
use orlop_core::{Body, ManualClock};
use orlop_store_redb::RedbStore;

fn main() {
    let memory_alone = std::env::args().any(|arg| arg == "memory");
    // Before anything else has grown the heap.
    memory();
    if memory_alone {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    commits(&mut criterion);
    reads(&mut criterion);
    watches(&mut criterion);
    opening(&mut criterion);
    criterion.final_summary();
}

/// A pod of about 2 kB, as a Deployment makes them.
fn pod(n: usize) -> Arc<Body> {
    let filler = "x".repeat(1120);
    let json = format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-7d9c5b8f6d-{n:06}","namespace":"ns-{ns}","uid":"5f0e6d0c-8f3b-4b57-9a67-{n:012x}","generation":1,"creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"web","pod-template-hash":"7d9c5b8f6d"}},"annotations":{{"note":"{filler}"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-7d9c5b8f6d","uid":"0b8f7a52-2f7c-4a6e-9f4e-0123456789ab","controller":true,"blockOwnerDeletion":true}}]}},"spec":{{"containers":[{{"name":"web","image":"nginx:1.27","ports":[{{"containerPort":80,"protocol":"TCP"}}],"resources":{{"requests":{{"cpu":"100m","memory":"128Mi"}}}},"imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","serviceAccountName":"default","schedulerName":"default-scheduler","nodeName":"node-{ns}"}},"status":{{"phase":"Running","podIP":"10.244.1.7","startTime":"2026-01-01T00:00:00Z"}}}}"#,
        ns = n % 50
    );
    Arc::new(Body::parse(Box::<[u8]>::from(json.as_bytes()).into()).expect("the pod is well-formed"))
}

fn key(n: usize) -> Arc<str> {
    format!("/registry/pods/ns-{}/web-7d9c5b8f6d-{n:06}", n % 50).into()
}

fn put(n: usize) -> Txn {
    Txn { compares: Vec::new(), ops: vec![Op::Put(key(n), pod(n))] }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::default())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Writes `count` pods, many to a transaction.
fn fill<S: Store>(store: &S, count: usize) {
    for first in (0..count).step_by(500) {
        let ops = (first..count.min(first + 500)).map(|n| Op::Put(key(n), pod(n))).collect();
        block_on(store.commit(Txn { compares: Vec::new(), ops })).expect("the store takes pods");
    }
}

fn memory() {
    const PODS: usize = 100_000;
    let before = resident();
    let store = MemoryStore::new(clock());
    for n in 0..PODS {
        store.commit_now(put(n)).expect("the store takes pods");
    }
    let after = resident();
    let size = pod(0).bytes().len();
    println!(
        "memory: {PODS} pods of {size} bytes, one commit each: {} MB (goal 400)",
        (after - before) >> 20
    );
    for n in 0..PODS {
        store.commit_now(put(n)).expect("the store takes pods");
    }
    println!("memory: after a change of each, with their history: {} MB", (resident() - before) >> 20);
}

/// Resident memory in bytes; 0 where there is no /proc.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn commits(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    let memory = MemoryStore::new(clock());
    let redb = RedbStore::open(dir.path(), clock()).expect("an empty directory can be opened");
    commit("memory", &memory, criterion);
    commit("redb", &redb, criterion);
}

fn commit<S: Store>(name: &str, store: &S, criterion: &mut Criterion) {
    fill(store, 10_000);
    let mut next = 0;
    // Every transaction writes another pod, with the precondition that the API sets.
    let mut txn = |_| {
        next = (next + 7919) % 10_000;
        let revision = store.view().get(&key(next)).map_or(Revision(0), |entry| entry.object.revision);
        let compares = vec![Compare { key: key(next), revision }];
        Txn { compares, ..put(next) }
    };
    let mut group = criterion.benchmark_group(format!("commit/{name}"));
    group.bench_function("alone", |b| {
        b.iter_batched(|| txn(0), |txn| block_on(store.commit(txn)), BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(32));
    group.bench_function("32 writers", |b| {
        let batch = |txns: Vec<Txn>| {
            block_on(futures_util::future::join_all(txns.into_iter().map(|t| store.commit(t))))
        };
        b.iter_batched(|| (0..32).map(&mut txn).collect(), batch, BatchSize::PerIteration);
    });
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let store = MemoryStore::new(clock());
    fill(&store, 100_000);
    let view = store.view();
    let past = view.revision();
    for n in 0..5_000 {
        store.commit_now(put(n)).expect("the store takes pods");
    }
    let mut group = criterion.benchmark_group("read of 100,000");
    group.bench_function("get", |b| b.iter(|| view.get(black_box(&key(77_777)))));
    group.bench_function("view", |b| b.iter(|| store.view().revision()));
    group.bench_function("range of 1,000", |b| b.iter(|| view.range("/registry/pods/", "", 1000).len()));
    group.bench_function("count", |b| b.iter(|| view.count("/registry/pods/", black_box(&key(50)))));
    group.bench_function("the past, 5,000 commits back, again", |b| {
        b.iter(|| store.view_at(past).map(|view| view.count("", "")));
    });
    group.sample_size(10);
    group.bench_function("the past, 5,000 commits back, first", |b| {
        // Each revision is another one to the store, and equally far back but for a few.
        let mut back = 0;
        b.iter(|| {
            back = (back + 97) % 90;
            store.view_at(Revision(past.0 + back)).map(|view| view.revision())
        });
    });
    group.finish();
}

fn watches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch");
    for (name, prefix) in
        [("100 watch the key", "/registry/pods/"), ("100 watch other keys", "/registry/nodes/")]
    {
        let limits = Limits::default();
        let store = LogStore::inline(MemoryLog, clock(), limits).expect("the memory log loads");
        fill(&store, 10_000);
        let latest = store.view().revision();
        let mut watches: Vec<_> = (0..100).map(|_| store.watch(prefix, latest).expect("a watch")).collect();
        let told = |watches: &mut Vec<_>| watches.iter_mut().map(|watch| drain(watch).len()).sum::<usize>();
        told(&mut watches);
        let body = pod(7);
        group.bench_function(name, |b| {
            b.iter(|| {
                let ops = vec![Op::Put(key(7), body.clone())];
                store.commit_now(Txn { compares: Vec::new(), ops }).expect("the store takes pods");
                // Who watches other keys is not woken, and so does not look.
                if prefix == "/registry/pods/" { told(&mut watches) } else { 0 }
            });
        });
    }
    group.finish();
}

fn opening(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory for temporary files");
    fill(&RedbStore::open(dir.path(), clock()).expect("an empty directory can be opened"), 100_000);
    let mut group = criterion.benchmark_group("open");
    group.sample_size(10);
    group.bench_function("redb with 100,000 pods", |b| {
        b.iter(|| RedbStore::open(dir.path(), clock()).expect("what was closed opens").view().revision());
    });
    group.finish();
}
