//! Containers that do not exist, and behave as if they did.
//!
//! [`MockMachine`] is a state machine on somebody else's clock: calls go in, replies and events come out when their
//! time has come. The simulator drives it directly; [`MockRuntime`] makes a [`Runtime`](orlop_core::runtime::Runtime)
//! of it. What a container does is said by a [`Script`], which comes from the pod's annotation
//! ([`SCRIPT_ANNOTATION`], see [`parse`]) over what the [`Policy`] makes of its command.
//!
//! ```
//! use orlop_core::Timestamp;
//! use orlop_core::runtime::{Call, Reply};
//! use orlop_runtime_mock::{MockMachine, Output, Policy};
//!
//! let mut machine = MockMachine::new(Policy::default());
//! let ticket = machine.call(Timestamp::EPOCH, Call::List);
//! let outputs = machine.poll(Timestamp::EPOCH);
//! assert_eq!(outputs, [Output::Reply(ticket, Ok(Reply::List(vec![])))]);
//! ```
//!
//! Commands that are run in a container (`kubectl exec`) are answered by an [`ExecPolicy`], by default a [`Toolbox`]: a
//! small shell with the usual tools.
//!
//! With the feature `serve`, running containers answer HTTP (and echo UDP) on their declared ports.

mod container;
mod exec;
mod fault;
mod machine;
mod policy;
mod runtime;
mod script;
#[cfg(feature = "serve")]
mod serve;
mod shell;

pub use exec::{ExecPolicy, Files, Input, Next, Place, Program, Toolbox};
pub use fault::Fault;
pub use machine::{MockMachine, Output, Ticket};
pub use policy::{CommandPolicy, ImagePolicy, Policy, RecordedPolicy, ShellLikePolicy, TagPolicy};
pub use runtime::MockRuntime;
pub use script::{
    Health, InvalidScript, LogStep, Overlay, ProbeStep, Pull, PullFailure, SCRIPT_ANNOTATION, START_UP, STOP,
    Script, parse,
};
