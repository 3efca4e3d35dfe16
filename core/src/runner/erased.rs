//! Controllers of any type of effect, as one.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;

use super::{EffectFuture, Executor};
use crate::controller::{Context, Controller};
use crate::object::Key;
use crate::plan::{Failure, Plan, Write};
use crate::world::World;

/// A controller with its effect type erased.
pub(super) trait AnyController: Send {
    fn name(&self) -> &'static str;
    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan<EffectFuture>;
}

pub(super) struct Erased<C: Controller> {
    pub(super) controller: C,
    pub(super) executor: Arc<dyn Executor<C::Effect>>,
}

impl<C: Controller> AnyController for Erased<C> {
    fn name(&self) -> &'static str {
        self.controller.name()
    }

    fn reconcile(&self, key: &Key, world: &World, ctx: &mut Context<'_>) -> Plan<EffectFuture> {
        let Plan { writes, events, effects, wake } = self.controller.reconcile(key, world, ctx);
        let effects = effects
            .into_iter()
            .map(|effect| {
                let executor = self.executor.clone();
                Box::pin(async move { executor.execute(effect).await }) as EffectFuture
            })
            .collect();
        Plan { writes, events, effects, wake }
    }
}

pub(super) struct NoEffects;

#[async_trait]
impl Executor<Infallible> for NoEffects {
    async fn execute(&self, effect: Infallible) -> Result<Vec<Write>, Failure> {
        match effect {}
    }
}
