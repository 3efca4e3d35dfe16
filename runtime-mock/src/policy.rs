//! What images and commands mean to simulated containers: [`Policy`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_core::Name;
use orlop_core::runtime::{ContainerSpec, ImagePull, LogSource, SandboxSpec};

use crate::exec::{ExecPolicy, Toolbox, is_executable};
use crate::script::{LogStep, Pull, PullFailure, SCRIPT_ANNOTATION, START_UP, STOP, Script, parse};
use crate::shell;

/// What a container's command means, for there is no program to run.
pub trait CommandPolicy: Send + Sync {
    /// What the container does.
    fn script(&self, sandbox: &SandboxSpec, container: &ContainerSpec) -> Script;

    /// What a command does that is asked as a probe or a hook: its output and its exit code. What people run is for
    /// [`Policy::exec`] to say.
    fn exec(&self, sandbox: &SandboxSpec, container: &ContainerSpec, command: &[Name]) -> (String, i32) {
        let course = follow(sandbox, container, command, |_| (Some(Duration::ZERO), 0));
        let output = course.log.into_iter().map(|(_, _, text)| text + "\n").collect();
        (output, course.end.map_or(0, |(_, code)| code))
    }
}

/// How images arrive.
pub trait ImagePolicy: Send + Sync {
    /// How `pull` goes.
    fn pull(&self, pull: &ImagePull) -> Pull;
}

/// How a runtime behaves where a pod's own script says nothing.
#[derive(Clone)]
pub struct Policy {
    /// Names the policy, for people.
    pub name: Name,
    /// What commands mean.
    pub commands: Arc<dyn CommandPolicy>,
    /// What commands do that are run in containers.
    pub exec: Arc<dyn ExecPolicy>,
    /// How images arrive.
    pub images: Arc<dyn ImagePolicy>,
    /// Whether the annotation [`SCRIPT_ANNOTATION`] is heeded.
    pub annotations: bool,
}

impl Default for Policy {
    /// [`ShellLikePolicy`] with [`Toolbox`] and [`TagPolicy`].
    fn default() -> Policy {
        Policy {
            name: Name::new_static("shell-like"),
            commands: Arc::new(ShellLikePolicy::default()),
            exec: Arc::new(Toolbox),
            images: Arc::new(TagPolicy),
            annotations: true,
        }
    }
}

impl Policy {
    /// What the fake kubelet does under which Kubernetes' own control plane was recorded; see [`RecordedPolicy`].
    pub fn recorded() -> Policy {
        Policy {
            name: Name::new_static("recorded"),
            commands: Arc::new(RecordedPolicy),
            exec: Arc::new(Toolbox),
            images: Arc::new(TagPolicy),
            annotations: false,
        }
    }

    /// Every container follows `script`, unless its pod says otherwise.
    pub fn all(script: Script) -> Policy {
        Policy { name: Name::new_static("uniform"), commands: Arc::new(Uniform(script)), ..Policy::default() }
    }

    /// What a container does, by this policy and its pod's annotation.
    ///
    /// # Errors
    /// When the annotation cannot be read.
    pub(crate) fn script(
        &self,
        sandbox: &SandboxSpec,
        container: &ContainerSpec,
    ) -> Result<Script, crate::InvalidScript> {
        let mut script = self.commands.script(sandbox, container);
        if let Some(text) = sandbox.annotations.get(SCRIPT_ANNOTATION).filter(|_| self.annotations) {
            parse(text)?.apply(&container.name, &mut script);
        }
        Ok(script)
    }

    /// How an image arrives, by this policy and its pod's annotation.
    pub(crate) fn pull(&self, pull: &ImagePull) -> Pull {
        let scripted = pull.annotations.get(SCRIPT_ANNOTATION).filter(|_| self.annotations);
        // An annotation that cannot be read is reported when the container is created.
        scripted.and_then(|text| parse(text).ok()?.pull()).unwrap_or_else(|| self.images.pull(pull))
    }
}

struct Uniform(Script);

impl CommandPolicy for Uniform {
    fn script(&self, _: &SandboxSpec, _: &ContainerSpec) -> Script {
        self.0.clone()
    }
}

/// Reads commands as a shell does: `sleep 3600` sleeps an hour and ends with 0, `exit 1` ends at once with 1,
/// `while true; do echo hi; sleep 10; done` prints for ever, `echo` prints.
///
/// Arguments without a command are taken as the command where they begin with a program that is known, as images such
/// as `busybox` have no entry point; otherwise they are their image's.
///
/// A shell that reads its commands (`sh` alone, with standard input or a terminal; or nothing at all, with standard
/// input) and the tools of a [`Toolbox`] are run by the [`ExecPolicy`].
///
/// A program that is not known (no command at all is one, too) serves until it is stopped; where the container is
/// meant to end by itself (an init container, or a pod that is not always restarted) it ends with 0 after
/// [`ShellLikePolicy::work`]. What merely sleeps ends with code 143 when it is told to stop, as under an init process
/// that passes signals on.
#[derive(Clone, Debug)]
pub struct ShellLikePolicy {
    /// How long an unknown program takes that is meant to end by itself.
    pub work: Duration,
}

impl Default for ShellLikePolicy {
    fn default() -> ShellLikePolicy {
        ShellLikePolicy { work: Duration::from_millis(500) }
    }
}

impl CommandPolicy for ShellLikePolicy {
    fn script(&self, sandbox: &SandboxSpec, container: &ContainerSpec) -> Script {
        let one_shot = container.one_shot;
        let program = |_: &[String]| match one_shot {
            true => (Some(self.work), 0),
            false => (None, 0),
        };
        let mut script = Script::server();
        let Some(argv) = command_line(container) else {
            // The image's own entry point, with whatever arguments.
            script.exit = one_shot.then_some((self.work, 0));
            return script;
        };
        if is_run(&argv, container.stdin || container.tty) {
            script.program = argv;
            script.stop_code = 143;
            return script;
        }
        let course = follow(sandbox, container, &argv, program);
        script.exit = course.end;
        script.log = course
            .log
            .into_iter()
            .map(|(after, every, text)| LogStep { after, every, source: LogSource::Stdout, text })
            .collect();
        if script.exit.is_some() {
            script.stop_code = 143;
        }
        script
    }
}

/// The command that replaces the image's; `None`: the image's own is run.
fn command_line(container: &ContainerSpec) -> Option<Vec<Name>> {
    let ContainerSpec { command, args, .. } = container;
    match args.first() {
        _ if !command.is_empty() => Some(command.iter().chain(args).cloned().collect()),
        Some(first) => is_program(&base(first)).then(|| args.clone()),
        // What is meant for somebody at its input, and says nothing else, is a shell.
        None => container.stdin.then(|| vec![Name::new_static("sh")]),
    }
}

/// Whether arguments that begin so are a command. What images with an entry point take for words of their own is none.
fn is_program(name: &str) -> bool {
    is_shell(name) || (is_executable(name) && !matches!(name, "test" | "["))
}

/// Whether a command is more than [`follow`] can tell: it prints what it finds, or does what it is told.
fn is_run(argv: &[Name], reads: bool) -> bool {
    let name = argv.first().map(|first| base(first)).unwrap_or_default();
    match name.as_str() {
        "busybox" | "zsh" => false,
        name if is_shell(name) => reads && argv[1..].iter().all(|word| is_flag(word) && !word.ends_with('c')),
        "echo" | "printf" | "sleep" | "true" | "false" | "test" | "[" => false,
        "tail" => !argv.iter().any(|word| matches!(word.as_str(), "-f" | "-F")),
        name => is_executable(name),
    }
}

/// The last part of a path.
fn base(word: &str) -> String {
    Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn is_shell(name: &str) -> bool {
    matches!(name, "sh" | "bash" | "ash" | "dash" | "zsh" | "busybox")
}

fn is_flag(word: &str) -> bool {
    word.starts_with('-') && !word.starts_with("--")
}

fn follow(
    sandbox: &SandboxSpec,
    container: &ContainerSpec,
    argv: &[Name],
    program: impl Fn(&[String]) -> (Option<Duration>, i32),
) -> shell::Course {
    let mut env: BTreeMap<&str, &str> = BTreeMap::from([("HOSTNAME", sandbox.hostname.as_str())]);
    env.extend(container.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let first = argv.first().map(|word| base(word)).unwrap_or_default();
    let flag = argv.iter().position(|word| is_flag(word) && word.ends_with('c'));
    match flag {
        Some(at) if is_shell(&first) => {
            let script = argv.get(at + 1).map_or("", Name::as_str);
            shell::follow(script, &env, program)
        }
        _ => {
            // One command, whose words are words already.
            let quoted: Vec<String> =
                argv.iter().enumerate().map(|(i, word)| quote(if i == 0 { &first } else { word })).collect();
            shell::follow(&quoted.join(" "), &env, program)
        }
    }
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// An image with the tag `missing` is in no registry; every other one is there at once.
pub struct TagPolicy;

impl ImagePolicy for TagPolicy {
    fn pull(&self, pull: &ImagePull) -> Pull {
        let missing = pull.image.contains(":missing");
        Pull { time: Duration::ZERO, failure: missing.then(|| PullFailure::Missing("not found".to_owned())) }
    }
}

/// The rules of the fake kubelet of the recordings: start-up takes 150 ms; init containers are done at once; what is
/// meant to end by itself ends after 0.8 s, with code N where its command has `exit N`, and not at all where it
/// sleeps; everything ends 0.3 s after it is told to stop.
pub struct RecordedPolicy;

/// The recorded kubelet takes pods in turn, so that no two of them start at one moment: what follows from their
/// starts, such as the steps of a rolling update, comes one by one.
fn turn(sandbox: &SandboxSpec) -> Duration {
    let turn = match sandbox.addresses.first() {
        Some(std::net::IpAddr::V4(address)) => {
            let [.., node, pod] = address.octets();
            (u32::from(pod) * 3 + u32::from(node)) % 6
        }
        _ => 0,
    };
    Duration::from_millis(10) * turn
}

impl CommandPolicy for RecordedPolicy {
    fn script(&self, sandbox: &SandboxSpec, container: &ContainerSpec) -> Script {
        if container.init && container.one_shot {
            return Script::ends(Duration::ZERO, 0).start_up(Duration::ZERO);
        }
        let mut script = Script::server().start_up(START_UP + turn(sandbox)).stops(Some(STOP * 3));
        if !container.one_shot {
            return script;
        }
        let words: Vec<&str> = container.command.iter().chain(&container.args).map(Name::as_str).collect();
        let text = words.join(" ");
        if !text.contains("sleep") {
            let code = text.split("exit ").nth(1).map_or(0, |rest| {
                let digits = rest.trim_start();
                let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                digits[..end].parse().unwrap_or(0)
            });
            script.exit = Some((Duration::from_millis(800), code));
        }
        script.stop_code = 143;
        script
    }
}
