//! A [`Program`] as the session that the runtime answers with.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use orlop_core::Timestamp;
use orlop_core::runtime::{ContainerId, ExecFrame, ExecInput, ExecOutput, ExecSession, RuntimeError};
use parking_lot::Mutex;

use super::{Files, Input, Next, Program};
use crate::machine::MockMachine;
use crate::runtime::Shared;

/// How much input may wait for a command, in bytes. A command that needs more at once takes it as it comes.
const WAITING_MAX: usize = 1 << 20;

struct State {
    program: Box<dyn Program>,
    input: Input,
    /// What the program has said and nobody has read.
    output: VecDeque<ExecOutput>,
    code: Option<i32>,
}

impl State {
    /// What comes next of the program, or when to look again.
    fn next(
        &mut self,
        machine: &mut MockMachine,
        container: &ContainerId,
        now: Timestamp,
    ) -> Result<ExecOutput, Option<Timestamp>> {
        let mut wake = None;
        if self.output.is_empty() && self.code.is_none() {
            match machine.files_of(container) {
                Some(files) => wake = self.step(now, files),
                // Its container has ended, or is gone: everything in it was killed.
                None => self.code = Some(137),
            }
        }
        match (self.output.pop_front(), self.code) {
            (Some(item), _) => Ok(item),
            (None, Some(code)) => Ok(ExecOutput::Exit(code)),
            (None, None) => Err(wake),
        }
    }

    fn step(&mut self, now: Timestamp, files: &mut Files) -> Option<Timestamp> {
        let mut output = Vec::new();
        let next = self.program.step(now, &mut self.input, files, &mut output);
        self.output.extend(output);
        match next {
            Next::Exit(code) => {
                self.code = Some(code);
                None
            }
            Next::At(at) => Some(at),
            Next::Input => None,
        }
    }
}

/// Runs a program in a container for as long as both live.
pub(crate) fn open(
    shared: &Arc<Shared>,
    container: &ContainerId,
    program: Box<dyn Program>,
    stdin: bool,
) -> ExecSession {
    let state = State { program, input: Input::default(), output: VecDeque::new(), code: None };
    let state = Arc::new(Mutex::new(state));
    let input =
        stdin.then(|| Box::new(Way { shared: shared.clone(), state: state.clone() }) as Box<dyn ExecInput>);
    let output = stream::unfold(Some((shared.clone(), container.clone(), state)), |session| async move {
        let (shared, container, state) = session?;
        let item = shared
            .until_machine(|machine, now| {
                let mut state = state.lock();
                let waiting = state.input.bytes.len();
                let answer = state.next(machine, &container, now);
                // Whoever waits for room, or for the command's end, looks again.
                (answer, state.input.bytes.len() < waiting || state.code.is_some())
            })
            .await;
        let over = matches!(item, ExecOutput::Exit(_));
        Some((Ok(item), (!over).then_some((shared, container, state))))
    });
    ExecSession { input, output: Box::pin(output) }
}

/// The way into a program.
struct Way {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

#[async_trait]
impl ExecInput for Way {
    async fn send(&mut self, frame: ExecFrame) -> Result<(), RuntimeError> {
        let ended = || RuntimeError::NotRunning("the command has ended".to_owned());
        let bytes = match frame {
            ExecFrame::Stdin(bytes) => bytes,
            ExecFrame::Close => {
                self.state.lock().input.closed = true;
                self.shared.wake();
                return Ok(());
            }
            // No program here asks how wide its terminal is.
            ExecFrame::Resize { .. } => return Ok(()),
        };
        let mut rest: Bytes = bytes;
        while !rest.is_empty() {
            let state = &self.state;
            let part = self.shared.until_machine(|_, _| (room(state, &rest), false)).await;
            rest = rest.slice(part.ok_or_else(ended)?..);
            self.shared.wake();
        }
        Ok(())
    }
}

/// Gives a program as much as it has room for. Answers with how much that was; `None`: the program has ended.
fn room(state: &Arc<Mutex<State>>, bytes: &[u8]) -> Result<Option<usize>, Option<Timestamp>> {
    let abandoned = Arc::strong_count(state) == 1;
    let mut state = state.lock();
    if abandoned || state.code.is_some() {
        return Ok(None);
    }
    match bytes.len().min(WAITING_MAX.saturating_sub(state.input.bytes.len())) {
        0 => Err(None),
        taken => {
            state.input.bytes.extend_from_slice(&bytes[..taken]);
            Ok(Some(taken))
        }
    }
}
