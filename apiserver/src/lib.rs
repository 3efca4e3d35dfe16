//! The Kubernetes API over HTTP: TLS, authentication, streams. Decides nothing about objects; that is `orlop-api`.
//!
//! A [`Shell`] turns an HTTP request into a call of a [`Backend`] and the answer into bytes. A [`Server`] serves it over
//! TLS; [`Shell::in_process`] serves it to a client in this process, without a socket:
//!
//! ```
//! use std::sync::Arc;
//!
//! use http_body_util::BodyExt;
//! use orlop_api::{Config, LocalApi, User};
//! use orlop_apiserver::{Authentication, Shell};
//! use orlop_core::store::MemoryStore;
//! use orlop_core::{Entropy, ManualClock, Timestamp};
//! use tower::ServiceExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_767_225_600)));
//! let store = MemoryStore::new(clock.clone());
//! let api = LocalApi::new(store, clock.clone(), Entropy::seeded(1), Config::default());
//! api.bootstrap().await.map_err(|status| status.message)?;
//! let shell = Shell::new(Arc::new(api), Authentication::default(), clock);
//!
//! let me = User { name: "me".into(), ..User::default() };
//! let create = http::Request::post("/api/v1/namespaces/default/configmaps")
//!     .header("content-type", "application/yaml")
//!     .body("{metadata: {name: colours}, data: {sky: blue}}".to_owned())?;
//! let answer = shell.in_process(me).oneshot(create).await?;
//! assert_eq!(answer.status(), 201);
//!
//! let body = answer.into_body().collect().await?.to_bytes();
//! let made: serde_json::Value = serde_json::from_slice(&body)?;
//! assert_eq!(made["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
//! # Ok(())
//! # }
//! ```
//!
//! The map, in reading order: [`Shell`] (a request from its path to its answer), [`Authentication`], [`Backend`]; then
//! [`Server`] with [`pki`], its own authority, and [`kubeconfig()`], by which clients get in; [`Check`] and [`Metrics`]
//! for those who operate it, as are [`Audit`]
//! and [`Encryption`].

mod audit;
mod auth;
mod backend;
mod body;
mod docs;
mod encryption;
mod fairness;
#[doc(hidden)]
pub mod fuzz;
mod health;
mod kubeconfig;
mod limits;
mod lines;
mod lists;
mod metrics;
mod negotiate;
mod pace;
mod path;
pub mod pki;
mod query;
mod server;
mod shell;
mod streams;
mod webhooks;

pub use audit::{Audit, AuditFile, AuditPolicy, AuditSink, InvalidAuditPolicy, Level};
pub use auth::{
    Authentication, InvalidTokenFile, ServiceAccountTokens, TokenAuthenticator, TokenFile, anonymous,
    user_of_certificate,
};
pub use backend::Backend;
pub use body::{Answer, AnswerBody, BODY_MAX};
pub use encryption::{Encryption, InvalidEncryption};
pub use health::Check;
pub use kubeconfig::{Credentials, kubeconfig};
pub use limits::Limits;
pub use metrics::Metrics;
pub use server::Server;
pub use shell::{InProcess, Shell};
pub use webhooks::HttpsWebhooks;
