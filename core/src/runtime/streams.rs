//! What a runtime tells bit by bit: events, logs, the output of commands.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::object::Name;
use crate::runtime::{RuntimeError, RuntimeEvent};
use crate::time::Timestamp;

/// What happens, as it happens. Ends when the runtime does.
pub type RuntimeEvents = Pin<Box<dyn Stream<Item = RuntimeEvent> + Send>>;

/// Lines of a log. Ends at the end of what there is or, when following, of the container.
pub type Logs = Pin<Box<dyn Stream<Item = Result<LogLine, RuntimeError>> + Send>>;

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Whether to wait for what is still to come.
    pub follow: bool,
    /// Only what was printed at this moment or later.
    pub since: Option<Timestamp>,
    /// Only that many lines from the end of what there is.
    pub tail: Option<usize>,
    /// Stop after that many bytes, within a line if need be.
    pub limit_bytes: Option<usize>,
}

/// Where a line was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was printed.
    pub at: Timestamp,
    /// Where.
    pub source: LogSource,
    /// The text, with the line break that ended it.
    pub text: Bytes,
}

impl LogLine {
    /// Appends the line as clients get it: `2026-01-01T00:00:00.000000000Z text` with timestamps, else the text.
    pub fn write_to(&self, timestamps: bool, out: &mut Vec<u8>) {
        if timestamps {
            let fraction = self.at.nanos().rem_euclid(1_000_000_000);
            let secs = self.at.to_string();
            out.extend_from_slice(secs.trim_end_matches('Z').as_bytes());
            out.extend_from_slice(format!(".{fraction:09}Z ").as_bytes());
        }
        out.extend_from_slice(&self.text);
    }
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<Name>,
    /// Whether input will come.
    pub stdin: bool,
    /// Whether it gets a terminal; then all output is standard output.
    pub tty: bool,
}

/// Which streams of a running container are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachSpec {
    /// Whether input will come.
    pub stdin: bool,
    /// Whether the container has a terminal; then all output is standard output.
    pub tty: bool,
}

/// A command under way, or a container that somebody is attached to.
///
/// Dropping it ends the command; a container goes on.
pub struct ExecSession {
    /// Where input goes, if it was asked for.
    pub input: Option<Box<dyn ExecInput>>,
    /// What comes out; the last item of a command is [`ExecOutput::Exit`].
    pub output: Pin<Box<dyn Stream<Item = Result<ExecOutput, RuntimeError>> + Send>>,
}

/// The way into a command.
#[async_trait]
pub trait ExecInput: Send {
    /// Passes one frame on; waits while the command does not read.
    ///
    /// # Errors
    /// When the command has ended.
    async fn send(&mut self, frame: ExecFrame) -> Result<(), RuntimeError>;
}

/// A connection to a port of a sandbox. Dropping it closes the connection.
pub struct Connection {
    /// The way to the port.
    pub input: Box<dyn ConnectionInput>,
    /// What the port says, until it closes.
    pub output: Pin<Box<dyn Stream<Item = Result<Bytes, RuntimeError>> + Send>>,
}

/// The way to a port.
#[async_trait]
pub trait ConnectionInput: Send {
    /// Passes bytes on; waits while nobody reads.
    ///
    /// # Errors
    /// When the other side takes nothing any more.
    async fn send(&mut self, bytes: Bytes) -> Result<(), RuntimeError>;

    /// No more will be sent; what comes back still does.
    async fn finish(&mut self);
}

/// Something for a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecFrame {
    /// Input.
    Stdin(Bytes),
    /// No more input.
    Close,
    /// The terminal has another size.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
}

/// Something from a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecOutput {
    /// Standard output.
    Stdout(Bytes),
    /// Standard error.
    Stderr(Bytes),
    /// It has ended with this code.
    Exit(i32),
}
