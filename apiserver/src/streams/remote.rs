//! `exec` and `attach` over SPDY, as clients before Kubernetes 1.31 ask for them.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use orlop_api::Status;
use orlop_core::runtime::{ExecFrame, ExecSession};
use tokio::sync::mpsc;

use super::mux::{self, Answered, Answers, Opened, Part, Wire};
use super::session::{self, Channel, Outlet, Streams};
use super::spdy::StreamId;
use super::upgrade::{Io, unsupported};

/// Known protocols, the newest first. They differ in how the end is told, and whether terminals have sizes.
const PROTOCOLS: [&str; 4] =
    ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// How long a client may take to open its streams.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest announcement of a terminal's size.
const RESIZE_MAX: usize = 4 * 1024;

/// The first of a client's protocols that is known here; who names none speaks the oldest.
pub(super) fn choose(offered: &[String]) -> Result<&'static str, Status> {
    if offered.is_empty() {
        return Ok(PROTOCOLS[3]);
    }
    let known = |name: &String| PROTOCOLS.into_iter().find(|protocol| protocol == name);
    offered.iter().find_map(known).ok_or_else(|| unsupported(offered, &PROTOCOLS))
}

struct Out<'a>(&'a Answers, BTreeMap<Channel, StreamId>);

impl Outlet for Out<'_> {
    async fn send(&mut self, channel: Channel, bytes: Bytes) -> bool {
        match self.1.get(&channel) {
            Some(stream) => self.0.send(Answered::Data(*stream, bytes)).await.is_ok(),
            None => true,
        }
    }
}

/// Carries a session over SPDY.
pub(super) async fn carry(io: Io, protocol: &'static str, streams: Streams, session: ExecSession) {
    mux::run(Wire::Plain(io), |mut opened, answers| async move {
        let mut wanted = streams.wanted();
        if !matches!(protocol, "v4.channel.k8s.io" | "v3.channel.k8s.io") {
            wanted.retain(|channel| *channel != Channel::Resize);
        }
        let all = collect(&mut opened, &answers, &wanted);
        let Ok(Some(mut found)) = tokio::time::timeout(OPEN_TIMEOUT, all).await else { return };
        let ids = found.iter().map(|(channel, opened)| (*channel, opened.id)).collect();
        let mut out = Out(&answers, ids);
        let input = found.remove(&Channel::Stdin).map(|opened| opened.parts);
        let sizes = found.remove(&Channel::Resize).map(|opened| opened.parts);
        // Only the connection's end is the client's.
        let frames = stream::select(stdin(input), resizes(sizes)).chain(stream::once(pending()));
        let Some(outcome) = session::carry(session, frames, streams, &mut out).await else { return };
        let last = if protocol == PROTOCOLS[0] { outcome.to_json() } else { outcome.to_text() };
        if !last.is_empty() {
            out.send(Channel::Error, last.into()).await;
        }
        for stream in out.1.into_values() {
            let _ = answers.send(Answered::End(stream)).await;
        }
    })
    .await;
}

/// Waits for the streams that a client has announced.
async fn collect(
    opened: &mut mpsc::Receiver<Opened>,
    answers: &Answers,
    wanted: &[Channel],
) -> Option<BTreeMap<Channel, Opened>> {
    let mut found = BTreeMap::new();
    while found.len() < wanted.len() {
        let stream = opened.recv().await?;
        let channel = match stream.header("streamtype") {
            Some("stdin") => Channel::Stdin,
            Some("stdout") => Channel::Stdout,
            Some("stderr") => Channel::Stderr,
            Some("error") => Channel::Error,
            Some("resize") => Channel::Resize,
            _ => {
                answers.send(Answered::Reset(stream.id)).await.ok()?;
                continue;
            }
        };
        answers.send(Answered::Reply(stream.id)).await.ok()?;
        if wanted.contains(&channel) {
            found.insert(channel, stream);
        }
    }
    Some(found)
}

fn stdin(parts: Option<mpsc::Receiver<Part>>) -> stream::BoxStream<'static, ExecFrame> {
    let next = |mut parts: mpsc::Receiver<Part>| async move {
        let frame = match parts.recv().await? {
            Part::Bytes(bytes) => ExecFrame::Stdin(bytes),
            Part::End => ExecFrame::Close,
        };
        Some((frame, parts))
    };
    stream::iter(parts).flat_map(move |parts| stream::unfold(parts, next)).boxed()
}

/// Sizes come one after the other, and may be cut anywhere.
fn resizes(parts: Option<mpsc::Receiver<Part>>) -> stream::BoxStream<'static, ExecFrame> {
    let next = |(mut parts, mut buffer): (mpsc::Receiver<Part>, Vec<u8>)| async move {
        loop {
            if let Some(end) = buffer.iter().position(|byte| *byte == b'}') {
                let text: Vec<u8> = buffer.drain(..=end).collect();
                if let Some(frame) = session::resize(&text) {
                    return Some((frame, (parts, buffer)));
                }
                continue;
            }
            match parts.recv().await? {
                Part::Bytes(bytes) if buffer.len() + bytes.len() <= RESIZE_MAX => {
                    buffer.extend_from_slice(&bytes)
                }
                _ => return None,
            }
        }
    };
    stream::iter(parts).flat_map(move |parts| stream::unfold((parts, Vec::new()), next)).boxed()
}
