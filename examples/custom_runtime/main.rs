//! A container runtime of one's own: containers are ordinary processes of this machine.
//!
//! It has one image, `host`, and isolates nothing: no address of their own, no mounts, no limits. What it keeps of the
//! contract (`orlop::base::runtime::Runtime`) it keeps wholly: exit codes, logs, a stop with grace, each end told once.
//!
//! `cargo run -p orlop-examples --example custom_runtime`

mod container;
mod processes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use orlop::api::{Options, Request, ResourceId, Verb, request::Payload};
use orlop::base::{Key, Object, kinds::Pod};
use orlop::{Cluster, NodeSpec, SystemClock, manifest::Manifests};
use processes::Processes;

const HELLO: &str = "
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: host
      command: [sh, -c, 'echo hello from a process; sleep 1']
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder()
        .nodes(vec![NodeSpec::worker("this-machine")])
        .runtime(|_node| Arc::new(Processes::new(Arc::new(SystemClock::new()))))
        .start()
        .await?;
    let mut manifests = Manifests::default();
    manifests.add_text("hello", HELLO);
    for manifest in &manifests.objects {
        cluster.apply(manifest).await?;
    }
    let hello = Key::new("default", "hello");
    let over = |pod: &serde_json::Value| pod["status"]["phase"] == "Succeeded";
    cluster.wait_for(&Pod::KIND, &hello, Duration::from_secs(10), over).await?;

    let link = cluster.link("example");
    let log = Request {
        user: link.user,
        verb: Verb::Get,
        resource: ResourceId::from(&Pod::KIND),
        key: hello,
        subresource: "log".into(),
        options: Options::default(),
        body: None,
    };
    if let Payload::Stream(log) = link.api.call(log).await?.payload {
        let parts: Vec<_> = log.take().ok_or("the log was read before")?.try_collect().await?;
        print!("{}", String::from_utf8_lossy(&parts.concat()));
    }
    cluster.shutdown().await;
    Ok(())
}
