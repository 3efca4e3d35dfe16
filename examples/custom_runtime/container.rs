//! A container that is a process.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use orlop::base::runtime::{
    ContainerId, ContainerSpec, Exit, ExitReason, LogLine, LogSource, RunState, RuntimeEvent, SandboxId,
};
use orlop::base::{Clock, Name, Timestamp};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{broadcast, watch};

/// One container, and the process that it is.
pub(crate) struct Container {
    pub(crate) id: ContainerId,
    pub(crate) sandbox: SandboxId,
    pub(crate) uid: Name,
    pub(crate) spec: ContainerSpec,
    /// Everything that changes. Whoever waits for something watches it.
    pub(crate) live: watch::Sender<Live>,
}

pub(crate) struct Live {
    pub(crate) state: RunState,
    pub(crate) lines: Vec<LogLine>,
    /// It has been told to end, and is killed then.
    pub(crate) end_by: Option<Timestamp>,
}

impl Live {
    pub(crate) fn exited(&self) -> bool {
        matches!(self.state, RunState::Exited(_))
    }
}

impl Container {
    pub(crate) fn command(&self, words: &[Name]) -> Command {
        let mut command = Command::new(words.first().map_or("", |word| word.as_str()));
        command.args(words.iter().skip(1).map(Name::as_str)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if !self.spec.working_dir.is_empty() {
            command.current_dir(self.spec.working_dir.as_str());
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Notes that it is to end; what looks after the process does the rest. An earlier end replaces a later one.
    pub(crate) fn end_by(&self, at: Timestamp, now: Timestamp) {
        self.live.send_modify(|live| {
            live.end_by = Some(live.end_by.map_or(at, |earlier| earlier.min(at)));
            if live.state == RunState::Created {
                live.state = RunState::Exited(exit(137, None, None, now));
            }
        });
    }

    pub(crate) async fn killed(&self, now: Timestamp) {
        self.end_by(now, now);
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.live.subscribe().wait_for(Live::exited).await;
    }

    /// Reads what the process prints, until nobody holds the other end of the pipe.
    async fn read(&self, pipe: Option<impl AsyncRead + Unpin>, source: LogSource, clock: &dyn Clock) {
        let Some(pipe) = pipe else { return };
        let (mut pipe, mut text) = (BufReader::new(pipe), Vec::new());
        while pipe.read_until(b'\n', &mut text).await.is_ok_and(|bytes| bytes > 0) {
            let line = LogLine { at: clock.now(), source, text: std::mem::take(&mut text).into() };
            self.live.send_modify(|live| live.lines.push(line));
        }
    }

    /// Follows the process to its end, and tells it to end when that is wanted.
    pub(crate) async fn supervise(
        self: Arc<Self>,
        mut child: Child,
        started: Timestamp,
        clock: Arc<dyn Clock>,
        events: broadcast::Sender<RuntimeEvent>,
    ) {
        let group = child.id();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let ended = async {
            let (mut live, mut told) = (self.live.subscribe(), false);
            let status = loop {
                let end_by = live.borrow_and_update().end_by;
                if end_by.is_some_and(|at| at > clock.now()) && !std::mem::replace(&mut told, true) {
                    signal("TERM", group).await;
                }
                let out_of_time = async {
                    match end_by {
                        Some(at) => clock.sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    status = child.wait() => break status,
                    () = out_of_time => {
                        signal("KILL", group).await;
                        break child.wait().await;
                    }
                    _ = live.changed() => {}
                }
            };
            // A container ends with its first process, and what that left behind goes with it.
            signal("KILL", group).await;
            status
        };
        let (status, (), ()) = tokio::join!(
            ended,
            self.read(stdout, LogSource::Stdout, &*clock),
            self.read(stderr, LogSource::Stderr, &*clock),
        );
        let (code, by) = status.map_or((255, None), ended_with);
        let exit = exit(code, by, Some(started), clock.now());
        self.live.send_modify(|live| live.state = RunState::Exited(exit.clone()));
        // Nobody listens: nobody has to be told.
        let _ = events.send(RuntimeEvent::Exited { uid: self.uid.clone(), container: self.id.clone(), exit });
    }
}

/// Sends a signal to a process and all its children. POSIX shells can; the standard library cannot.
async fn signal(name: &str, group: Option<u32>) {
    // Group 0 would be our own.
    let Some(group) = group.filter(|group| *group > 0) else { return };
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s \"$0\" -- \"-$1\" 2>/dev/null", name, &group.to_string()]);
    // What is gone need not be told.
    let _ = kill.status().await;
}

fn ended_with(status: ExitStatus) -> (i32, Option<i32>) {
    (status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), status.signal())
}

pub(crate) fn exit(code: i32, signal: Option<i32>, started: Option<Timestamp>, finished: Timestamp) -> Exit {
    let reason = if code == 0 { ExitReason::Completed } else { ExitReason::Error };
    Exit { code, signal, reason, message: String::new(), started, finished }
}
