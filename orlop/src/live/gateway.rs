//! The API's way to the nodes of this process: logs come straight from their runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use orlop_api::node::{NodeGateway, PodAt};
use orlop_api::{ByteStream, LogOptions, Status};
use orlop_core::runtime::Runtime;
use orlop_core::{Clock, Name};

/// The runtimes of this process's nodes.
pub(super) struct Runtimes {
    pub(super) by_node: BTreeMap<Name, Arc<dyn Runtime>>,
    pub(super) clock: Arc<dyn Clock>,
}

#[async_trait]
impl NodeGateway for Runtimes {
    async fn logs(&self, pod: &PodAt, options: &LogOptions) -> Result<ByteStream, Status> {
        let runtime = self
            .by_node
            .get(&pod.node)
            .ok_or_else(|| Status::internal(&format!("no node agent is known for node \"{}\"", pod.node)))?;
        crate::logs::logs(runtime.as_ref(), pod, options, self.clock.now()).await
    }
}
