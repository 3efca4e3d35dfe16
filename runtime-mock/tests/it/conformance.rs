//! The suite that every runtime runs.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use orlop_core::conformance::runtime::{Fixture, suite};
use orlop_core::runtime::Runtime;
use orlop_core::{ManualClock, Name, Timestamp};
use orlop_runtime_mock::{MockRuntime, Policy};

struct Mock {
    clock: ManualClock,
    runtime: MockRuntime,
}

#[async_trait]
impl Fixture for Mock {
    fn runtime(&self) -> Arc<dyn Runtime> {
        Arc::new(self.runtime.clone())
    }

    async fn tick(&self) {
        self.clock.advance(Duration::from_millis(10));
    }

    fn image(&self) -> Name {
        "registry.test/shell:1".into()
    }

    fn missing_image(&self) -> Name {
        "registry.test/shell:missing".into()
    }
}

#[test]
fn the_mock_runtime_keeps_the_contract() {
    let clock = ManualClock::at(Timestamp::from_secs(1_000_000));
    let runtime = MockRuntime::new(Policy::default(), Arc::new(clock.clone()));
    futures_executor(suite(&Mock { clock, runtime }));
}

/// No executor is needed: whoever waits moves the clock on.
fn futures_executor<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
