//! The HTTP shell against the answers of a real kube-apiserver.

mod compare;
mod conversations;
mod local;
mod normal;
mod placeholders;
mod remote;
mod texts;
mod webhooks;
mod wire;
