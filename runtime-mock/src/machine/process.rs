//! Containers whose own process is a command that the runtime can run: [`Process`].

use orlop_core::Timestamp;
use orlop_core::runtime::{ContainerId, ExecOutput, ExecSpec, LogSource};

use super::MockMachine;
use crate::exec::{Input, Next, Place, Program};

/// How much input may wait for a process, in bytes.
const WAITING_MAX: usize = 1 << 20;

/// What runs in a container.
pub(crate) struct Process {
    program: Box<dyn Program>,
    input: Input,
    /// When it goes on by itself.
    pub(crate) wake: Option<Timestamp>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process")
            .field("input", &self.input)
            .field("wake", &self.wake)
            .finish_non_exhaustive()
    }
}

impl MockMachine {
    /// Has the process run that a container's script names, now that the container does.
    pub(super) fn begin_process(&mut self, now: Timestamp, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id).filter(|c| !c.script.program.is_empty()) else {
            return;
        };
        let Some(sandbox) = self.sandboxes.get(&container.sandbox) else { return };
        let (stdin, tty) = (container.spec.stdin, container.spec.tty);
        // A terminal at which nobody sits gives no end of input.
        let spec = ExecSpec { command: container.script.program.clone(), stdin: stdin || tty, tty };
        let place = Place { sandbox: &sandbox.spec, container: &container.spec, now };
        match self.policy.exec.start(&place, &spec) {
            Ok(program) => {
                container.process = Some(Process { program, input: Input::default(), wake: None });
                self.step_process(now, id);
            }
            Err(error) => {
                container.print(now, LogSource::Stderr, format!("{error}\n").as_bytes());
                self.end(now, id, 127, None);
            }
        }
    }

    /// Lets a container's process go on.
    pub(super) fn step_process(&mut self, now: Timestamp, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(process) = &mut container.process else { return };
        let mut output = Vec::new();
        let next = process.program.step(now, &mut process.input, &mut container.files, &mut output);
        process.wake = match next {
            Next::At(at) => Some(at),
            Next::Input | Next::Exit(_) => None,
        };
        for item in output {
            match item {
                ExecOutput::Stdout(bytes) => container.print(now, LogSource::Stdout, &bytes),
                ExecOutput::Stderr(bytes) => container.print(now, LogSource::Stderr, &bytes),
                ExecOutput::Exit(_) => {}
            }
        }
        match next {
            Next::Exit(code) => self.end(now, id, code, None),
            Next::At(_) | Next::Input => self.watch(id),
        }
    }

    /// Gives a container's process as much input as there is room for, and tells how much that was. Where nobody reads,
    /// all of it is lost. `None`: the container does not run.
    pub(crate) fn feed(&mut self, now: Timestamp, id: &ContainerId, bytes: &[u8]) -> Option<usize> {
        let container = self.containers.get_mut(id)?;
        container.running_since()?;
        let Some(process) = &mut container.process else { return Some(bytes.len()) };
        let taken = bytes.len().min(WAITING_MAX.saturating_sub(process.input.bytes.len()));
        process.input.bytes.extend_from_slice(&bytes[..taken]);
        self.step_process(now, id);
        Some(taken)
    }

    /// Ends the input of a container's process.
    pub(crate) fn end_input(&mut self, now: Timestamp, id: &ContainerId) {
        if let Some(process) = self.containers.get_mut(id).and_then(|c| c.process.as_mut()) {
            process.input.closed = true;
            self.step_process(now, id);
        }
    }

    /// Whether more input would be taken, or refused for good.
    pub(crate) fn has_room(&self, id: &ContainerId) -> bool {
        let process = self.containers.get(id).and_then(|c| c.process.as_ref());
        process.is_none_or(|process| process.input.bytes.len() < WAITING_MAX)
    }

    /// Since when the output counts that somebody sees who attaches now.
    ///
    /// # Errors
    /// As [`MockMachine::must_run`].
    pub(crate) fn attached_since(
        &self,
        now: Timestamp,
        id: &ContainerId,
    ) -> Result<Timestamp, orlop_core::runtime::RuntimeError> {
        self.must_run(id)?;
        Ok(self.container(id)?.open_line().unwrap_or(now))
    }
}
