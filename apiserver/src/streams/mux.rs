//! Many streams over one connection: what drives [`super::spdy`].

use std::collections::BTreeMap;
use std::future::{Future, pending};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, SplitSink};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::spdy::{Event, Inbound, Outbound, StreamId};
use super::upgrade::{Io, Socket};

/// How much is read at once, in bytes.
const READ_MAX: usize = 32 * 1024;
/// How many parts may wait for whoever reads a stream, or for the connection.
const WAITING_MAX: usize = 16;

/// A stream that the client has opened.
pub(super) struct Opened {
    pub(super) id: StreamId,
    pub(super) headers: Vec<(String, String)>,
    /// What the client sends. Ends after [`Part::End`], or without it when the client has given the stream up.
    pub(super) parts: mpsc::Receiver<Part>,
}

impl Opened {
    /// A header's value, by its lower-case name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// A part of what a client sends on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Bytes(Bytes),
    End,
}

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Reply(StreamId),
    Data(StreamId, Bytes),
    End(StreamId),
    Reset(StreamId),
    Ping(u32),
    /// Nothing more comes.
    Over(StreamId),
}

/// The way to the client.
pub(super) type Answers = mpsc::Sender<Answered>;

/// What the bytes travel over.
#[expect(clippy::large_enum_variant, reason = "one for each session")]
pub(super) enum Wire {
    Plain(Io),
    /// Tunnelled: each binary message is a piece of the connection.
    Tunnel(Socket),
}

enum Way {
    Plain(WriteHalf<Io>),
    Tunnel(SplitSink<Socket, Message>),
}

impl Way {
    async fn send(&mut self, bytes: Bytes) -> bool {
        match self {
            Way::Plain(io) => io.write_all(&bytes).await.is_ok() && io.flush().await.is_ok(),
            Way::Tunnel(socket) => socket.send(Message::Binary(bytes)).await.is_ok(),
        }
    }

    async fn close(&mut self) {
        match self {
            Way::Plain(io) => drop(io.shutdown().await),
            Way::Tunnel(socket) => {
                let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                let _ = socket.send(Message::Close(Some(close))).await;
            }
        }
    }
}

fn split(wire: Wire) -> (BoxStream<'static, Bytes>, Way) {
    match wire {
        Wire::Plain(io) => {
            let (read, write) = tokio::io::split(io);
            let next = |mut read: ReadHalf<Io>| async move {
                let mut buffer = BytesMut::with_capacity(READ_MAX);
                match read.read_buf(&mut buffer).await {
                    Ok(count) if count > 0 => Some((buffer.freeze(), read)),
                    _ => None,
                }
            };
            (stream::unfold(read, next).boxed(), Way::Plain(write))
        }
        Wire::Tunnel(socket) => {
            let (sink, source) = socket.split();
            let messages = source.take_while(|message| std::future::ready(message.is_ok()));
            let bytes = messages.filter_map(|message| {
                std::future::ready(match message {
                    Ok(Message::Binary(bytes)) => Some(bytes),
                    _ => None,
                })
            });
            (bytes.boxed(), Way::Tunnel(sink))
        }
    }
}

/// Speaks SPDY over `wire`, while `work` takes the streams that the client opens and answers them. Ends with the
/// work or with the connection, whichever is first.
pub(super) async fn run<F>(wire: Wire, work: impl FnOnce(mpsc::Receiver<Opened>, Answers) -> F)
where
    F: Future<Output = ()> + Send,
{
    let (source, way) = split(wire);
    let (answers, answered) = mpsc::channel(WAITING_MAX);
    let (opening, opened) = mpsc::channel(WAITING_MAX);
    let reading = read(source, answers.clone(), opening);
    let work = work(opened, answers.clone());
    let working = async {
        work.await;
        let _ = answers.send(Answered::Over(0)).await;
        pending::<()>().await;
    };
    tokio::select! {
        () = reading => {}
        () = working => {}
        () = write(way, answered) => {}
    }
}

/// Reads until the client goes. A stream that nobody reads holds up the others, and so the client.
async fn read(mut source: BoxStream<'static, Bytes>, answers: Answers, opening: mpsc::Sender<Opened>) {
    let mut inbound = Inbound::new();
    let mut readers: BTreeMap<StreamId, mpsc::Sender<Part>> = BTreeMap::new();
    let mut last = 0;
    while let Some(bytes) = source.next().await {
        let events = match inbound.receive(&bytes) {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "a SPDY connection ends");
                let _ = answers.send(Answered::Over(last)).await;
                // Ended by the writer, once that is said.
                return pending().await;
            }
        };
        for event in events {
            match event {
                Event::Open { stream, headers, fin } => {
                    last = stream;
                    let (sender, parts) = mpsc::channel(WAITING_MAX);
                    if fin {
                        let _ = sender.try_send(Part::End);
                    } else {
                        readers.insert(stream, sender);
                    }
                    if opening.send(Opened { id: stream, headers, parts }).await.is_err() {
                        return;
                    }
                }
                Event::Data { stream, bytes, fin } => {
                    if !bytes.is_empty()
                        && let Some(reader) = readers.get(&stream)
                    {
                        // Who reads no more has ended: then there is nobody to hold up.
                        let _ = reader.send(Part::Bytes(bytes)).await;
                    }
                    if fin && let Some(reader) = readers.remove(&stream) {
                        let _ = reader.send(Part::End).await;
                    }
                }
                Event::Reset(stream) => drop(readers.remove(&stream)),
                Event::Ping(id) => {
                    if answers.send(Answered::Ping(id)).await.is_err() {
                        return;
                    }
                }
                Event::GoAway => {}
            }
        }
    }
}

/// Writes until nothing more comes.
async fn write(mut way: Way, mut answered: mpsc::Receiver<Answered>) {
    let mut outbound = Outbound::new();
    while let Some(answer) = answered.recv().await {
        match answer {
            Answered::Reply(stream) => outbound.reply(stream),
            Answered::Data(stream, bytes) => outbound.data(stream, &bytes, false),
            Answered::End(stream) => outbound.data(stream, &[], true),
            Answered::Reset(stream) => outbound.reset(stream),
            Answered::Ping(id) => outbound.ping(id),
            Answered::Over(last) => {
                outbound.go_away(last);
                if way.send(outbound.take()).await {
                    way.close().await;
                }
                return;
            }
        }
        if !way.send(outbound.take()).await {
            return;
        }
    }
}
