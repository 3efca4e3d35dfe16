//! What commands do that are run in a container: [`ExecPolicy`].
//!
//! There is no program to run, so a policy says what a program would do. [`Toolbox`], the default, is a small shell with
//! the usual tools over a few files; see there. Commands are state machines on somebody else's clock, as everything
//! here: [`Program`].

mod eval;
mod files;
mod filters;
mod programs;
mod session;
mod tools;

use std::time::Duration;

use bytes::Bytes;
use orlop_core::runtime::{ContainerSpec, ExecOutput, ExecSpec, RuntimeError, SandboxSpec};
use orlop_core::{Name, Timestamp};

pub use files::Files;
pub(crate) use session::open;

/// What a command does that somebody runs in a container (`kubectl exec`). Probes and hooks are answered by
/// [`crate::CommandPolicy::exec`] instead: there an unknown program is in good health.
pub trait ExecPolicy: Send + Sync {
    /// Names the policy, for people.
    fn name(&self) -> &str;

    /// Begins a command.
    ///
    /// # Errors
    /// [`RuntimeError::StartFailed`] when there is no such program.
    fn start(&self, place: &Place<'_>, spec: &ExecSpec) -> Result<Box<dyn Program>, RuntimeError>;
}

/// Where a command runs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The sandbox.
    pub sandbox: &'a SandboxSpec,
    /// The container.
    pub container: &'a ContainerSpec,
    /// When it begins.
    pub now: Timestamp,
}

/// A command under way.
pub trait Program: Send {
    /// Goes on: takes what has come in, adds to `output`, and says when it wants to be asked again.
    fn step(
        &mut self,
        now: Timestamp,
        input: &mut Input,
        files: &mut Files,
        output: &mut Vec<ExecOutput>,
    ) -> Next;
}

/// When a command goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// With more input.
    Input,
    /// At a moment, or with more input.
    At(Timestamp),
    /// It has ended with this code.
    Exit(i32),
}

/// What has come in for a command and was not yet taken.
#[derive(Debug, Default)]
pub struct Input {
    /// Bytes.
    pub bytes: Vec<u8>,
    /// Nothing more will come.
    pub closed: bool,
}

impl Input {
    /// Takes everything.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.bytes).into()
    }
}

/// A shell and its tools, over the files that a container would have.
///
/// - Files: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`, `/etc/os-release`, what volumes bring that are made of
///   files (ConfigMaps, Secrets, tokens), and what commands have written: at most 1 MiB a container, gone with it.
/// - Shell: `sh`, `bash`, `ash`, `dash`, with `-c`, with a script on standard input, or as a terminal; lists, pipes,
///   redirections, variables, `$(…)`, `if`, `while`, `until`, `for`. What loops for ever ends with code 124.
/// - Tools: `[`, `basename`, `cat`, `cd`, `cp`, `cut`, `date`, `dirname`, `echo`, `env`, `exit`, `export`, `false`, `grep`
///   (words, no patterns), `head`, `hostname`, `id`, `ls`, `mkdir`, `mv`, `nproc`, `printenv`, `printf`, `ps`, `pwd`,
///   `read`, `rm`, `seq`, `sleep`, `sort`, `tail`, `tar` (`c` and `x`, as `kubectl cp` uses them), `tee`, `test`, `touch`,
///   `tr`, `true`, `uname`, `uniq`, `wc`, `which`, `whoami`.
/// - Anything else is not found: code 127 within a shell, and an error where it is run directly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Toolbox;

impl ExecPolicy for Toolbox {
    fn name(&self) -> &str {
        "toolbox"
    }

    fn start(&self, place: &Place<'_>, spec: &ExecSpec) -> Result<Box<dyn Program>, RuntimeError> {
        programs::start(place, spec)
    }
}

/// How long a command may take that only sleeps, before it counts as one that never ends.
const SLEEP_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The last part of a path.
fn base(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}

/// Whether a [`Toolbox`] has a program by this name that a container can be, unlike what only a shell knows.
pub(crate) fn is_executable(program: &str) -> bool {
    let only_in_shells = matches!(
        program,
        ":" | "break"
            | "cd"
            | "command"
            | "continue"
            | "exec"
            | "exit"
            | "export"
            | "nohup"
            | "read"
            | "set"
            | "trap"
            | "unset"
    );
    tools::is_known(program) && !only_in_shells
}

/// The names under which a shell is known.
fn is_shell(program: &str) -> bool {
    matches!(program, "sh" | "bash" | "ash" | "dash")
}

/// A name that is part of a container, as text.
fn text(name: &Name) -> String {
    name.as_str().to_owned()
}
