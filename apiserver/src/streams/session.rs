//! `exec` and `attach`, whatever carries them.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, select};
use futures_util::{FutureExt, Stream, StreamExt};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orlop_api::Status;
use orlop_api::node::{NodeGateway, PodAt, Session};
use orlop_core::Name;
use orlop_core::runtime::{AttachSpec, ExecFrame, ExecOutput, ExecSession, ExecSpec};

use super::What;
use super::outcome::Outcome;
use super::upgrade::{self, Wish};
use super::{channels, remote};
use crate::body::Answer;
use crate::query::Query;

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Streams {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

/// The streams by the numbers of the channel protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

impl Streams {
    fn read(query: &Query) -> Result<Streams, Status> {
        let tty = query.flag("tty");
        let streams = Streams {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            // A terminal has one way out.
            stderr: query.flag("stderr") && !tty,
            tty,
        };
        if !streams.stdin && !streams.stdout && !streams.stderr {
            return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
        }
        Ok(streams)
    }

    /// The streams in the order of their channels.
    pub(super) fn wanted(self) -> Vec<Channel> {
        let all = [
            (Channel::Stdin, self.stdin),
            (Channel::Stdout, self.stdout),
            (Channel::Stderr, self.stderr),
            (Channel::Error, true),
            (Channel::Resize, self.tty),
        ];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(channel, _)| channel).collect()
    }
}

/// Begins a session. Answers with the agreement to the upgrade, and with what is to be done after it.
pub(super) async fn open(
    what: What,
    wish: Wish,
    upgraded: OnUpgrade,
    query: &Query,
    nodes: Arc<dyn NodeGateway>,
    pod: PodAt,
    container: Name,
) -> Result<(Answer, BoxFuture<'static, ()>), Status> {
    let streams = Streams::read(query)?;
    let (stdin, tty) = (streams.stdin, streams.tty);
    let session = match what {
        What::Exec => {
            let command = query.all("command").map(Name::from).collect();
            Session::Exec(ExecSpec { command, stdin, tty })
        }
        _ => Session::Attach(AttachSpec { stdin, tty }),
    };
    match wish {
        Wish::WebSocket { key, protocols } => {
            let protocol = channels::Protocol::choose(&protocols)?;
            let opened = match nodes.open(&pod, &container, &session).await {
                // By then, clients of v5 have been told that there is a session.
                Err(status) if protocol.closes => {
                    Err(Status::internal(&format!("unable to upgrade connection: {}", status.message)))
                }
                Err(status) => return Err(status),
                Ok(session) => Ok(session),
            };
            let carry = async move {
                if let Ok(upgraded) = upgraded.await {
                    let socket = upgrade::socket(TokioIo::new(upgraded)).await;
                    channels::carry(socket, protocol, streams, opened).await;
                }
            };
            Ok((upgrade::to_websocket(&key, protocol.name), carry.boxed()))
        }
        Wish::Spdy { protocols } => {
            let protocol = remote::choose(&protocols)?;
            let session = nodes.open(&pod, &container, &session).await?;
            let carry = async move {
                if let Ok(upgraded) = upgraded.await {
                    remote::carry(TokioIo::new(upgraded), protocol, streams, session).await;
                }
            };
            Ok((upgrade::to_spdy(protocol), carry.boxed()))
        }
    }
}

/// Where a session's output goes.
pub(super) trait Outlet: Send {
    /// Sends a part; `false`: the client is gone.
    fn send(&mut self, channel: Channel, bytes: Bytes) -> impl Future<Output = bool> + Send;
}

/// Carries input in and output out, until one of them ends. `None`: the client is gone.
pub(super) async fn carry(
    session: ExecSession,
    frames: impl Stream<Item = ExecFrame> + Send,
    streams: Streams,
    outlet: &mut impl Outlet,
) -> Option<Outcome> {
    let ExecSession { mut input, mut output } = session;
    let mut frames = pin!(frames);
    let feed = async {
        while let Some(frame) = frames.next().await {
            if let Some(into) = &mut input
                && into.send(frame).await.is_err()
            {
                // It reads no more; that it ends, too, is told by its output.
                input = None;
            }
        }
    };
    let drain = async {
        while let Some(item) = output.next().await {
            let (channel, bytes) = match item {
                Ok(ExecOutput::Stdout(bytes)) => (Channel::Stdout, bytes),
                Ok(ExecOutput::Stderr(bytes)) if streams.tty => (Channel::Stdout, bytes),
                Ok(ExecOutput::Stderr(bytes)) => (Channel::Stderr, bytes),
                Ok(ExecOutput::Exit(code)) => return Some(Outcome::Exit(code)),
                Err(error) => return Some(Outcome::Failed(Box::new(Status::internal(&error.to_string())))),
            };
            let wanted = if channel == Channel::Stdout { streams.stdout } else { streams.stderr };
            if wanted && !bytes.is_empty() && !outlet.send(channel, bytes).await {
                return None;
            }
        }
        Some(Outcome::Over)
    };
    match select(pin!(drain), pin!(feed)).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => None,
    }
}

/// A terminal's size as clients send it.
pub(super) fn resize(text: &[u8]) -> Option<ExecFrame> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Size {
        width: u16,
        height: u16,
    }
    let Size { width, height } = serde_json::from_slice(text).ok()?;
    Some(ExecFrame::Resize { width, height })
}
