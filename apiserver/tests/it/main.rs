//! The HTTP shell against the answers of a real kube-apiserver.

mod audit;
mod compare;
mod conversations;
mod local;
mod normal;
mod placeholders;
mod remote;
mod robust;
mod texts;
mod webhooks;
mod wire;
