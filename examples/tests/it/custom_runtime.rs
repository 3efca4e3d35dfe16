//! The example's runtime keeps the contract of every runtime.

#[path = "../../custom_runtime/container.rs"]
mod container;
#[path = "../../custom_runtime/processes.rs"]
mod processes;

use std::sync::Arc;
use std::time::Duration;

use orlop::SystemClock;
use orlop::base::Name;
use orlop::base::conformance::runtime::{Fixture, suite};
use orlop::base::runtime::Runtime;
use processes::Processes;

struct OnThisMachine(Arc<Processes>);

#[async_trait::async_trait]
impl Fixture for OnThisMachine {
    fn runtime(&self) -> Arc<dyn Runtime> {
        self.0.clone()
    }

    async fn tick(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    fn image(&self) -> Name {
        "host".into()
    }

    fn missing_image(&self) -> Name {
        "registry.test/missing:1".into()
    }
}

#[tokio::test]
async fn processes_keep_the_contract() {
    suite(&OnThisMachine(Arc::new(Processes::new(Arc::new(SystemClock::new()))))).await;
}
