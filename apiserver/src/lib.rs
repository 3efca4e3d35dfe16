//! The Kubernetes API over HTTP: TLS, authentication, streams. Decides nothing about objects; that is `orlop-api`.
//!
//! A [`Shell`] turns an HTTP request into a call of a [`Backend`] and the answer into bytes. A [`Server`] serves it over
//! TLS; [`Shell::in_process`] serves it to a client in this process, without a socket.

mod auth;
mod backend;
mod body;
mod docs;
mod health;
mod kubeconfig;
mod metrics;
mod negotiate;
mod path;
pub mod pki;
mod query;
mod server;
mod shell;

pub use auth::{
    Authentication, InvalidTokenFile, TokenAuthenticator, TokenFile, anonymous, user_of_certificate,
};
pub use backend::Backend;
pub use body::{Answer, AnswerBody, BODY_MAX};
pub use health::Check;
pub use kubeconfig::{Credentials, kubeconfig};
pub use metrics::Metrics;
pub use server::Server;
pub use shell::{InProcess, Shell};
