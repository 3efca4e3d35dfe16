//! Commands as state machines: what reads as it goes, and what is run at once.

use orlop_core::Timestamp;
use orlop_core::runtime::{ContainerSpec, ExecOutput, ExecSpec, LogSource, RuntimeError, SandboxSpec};

use super::eval::{End, Eval, Said};
use super::files::View;
use super::{Files, Input, Next, Place, Program, SLEEP_MAX, base, is_shell, tools};

/// How much input a command may need at once, in bytes.
const STDIN_MAX: usize = 16 << 20;

/// Begins a command.
pub(super) fn start(place: &Place<'_>, spec: &ExecSpec) -> Result<Box<dyn Program>, RuntimeError> {
    let Some(first) = spec.command.first() else {
        return Err(RuntimeError::InvalidSpec("a command must be given".to_owned()));
    };
    let program = base(first);
    if !is_shell(program) && !tools::is_known(program) {
        let why = format!("exec: \"{first}\": executable file not found in $PATH");
        return Err(RuntimeError::StartFailed(why));
    }
    let host = Host { sandbox: place.sandbox.clone(), container: place.container.clone(), begun: place.now };
    let words: Vec<String> = spec.command.iter().map(|word| word.as_str().to_owned()).collect();
    let script = words.iter().any(|word| !word.starts_with('-') && word != first.as_str());
    if is_shell(program) && !script && spec.stdin {
        return Ok(Box::new(Shell::new(host, spec.tty)));
    }
    if program == "cat" && spec.stdin && words[1..].iter().all(|word| word == "-") {
        return Ok(Box::new(Echo));
    }
    Ok(Box::new(Once { host, words, stdin: spec.stdin, taken: Vec::new(), course: None }))
}

/// Where a command runs, kept while it runs.
struct Host {
    sandbox: SandboxSpec,
    container: ContainerSpec,
    begun: Timestamp,
}

impl Host {
    fn place(&self) -> Place<'_> {
        Place { sandbox: &self.sandbox, container: &self.container, now: self.begun }
    }
}

/// `cat` without files.
struct Echo;

impl Program for Echo {
    fn step(&mut self, _: Timestamp, input: &mut Input, _: &mut Files, output: &mut Vec<ExecOutput>) -> Next {
        if !input.bytes.is_empty() {
            output.push(ExecOutput::Stdout(input.take()));
        }
        if input.closed { Next::Exit(0) } else { Next::Input }
    }
}

/// What a command will print, and when it ends.
struct Course {
    said: std::collections::VecDeque<Said>,
    begun: Timestamp,
    end: Option<(Timestamp, i32)>,
}

impl Course {
    /// What is due to be said, one after another.
    fn due(&mut self, now: Timestamp) -> Option<Said> {
        self.said.front().filter(|said| self.begun + said.after <= now)?;
        self.said.pop_front()
    }
}

/// A command that is run at once, as soon as the input is there that it reads. Its output comes as its sleeps say.
struct Once {
    host: Host,
    words: Vec<String>,
    stdin: bool,
    /// The input so far.
    taken: Vec<u8>,
    course: Option<Course>,
}

impl Program for Once {
    fn step(
        &mut self,
        now: Timestamp,
        input: &mut Input,
        files: &mut Files,
        output: &mut Vec<ExecOutput>,
    ) -> Next {
        if self.course.is_none() {
            self.taken.extend_from_slice(&input.take());
            if self.taken.len() > STDIN_MAX {
                return Next::Exit(137);
            }
            // Without input there is an end of it at once.
            let stdin = (!self.stdin || input.closed).then(|| std::mem::take(&mut self.taken).into());
            let begun = self.taken.clone().into();
            let mut written = files.clone();
            let place = Place { now, ..self.host.place() };
            let mut eval = Eval::new(place, View::new(&place, &mut written), stdin);
            eval.begun = begun;
            eval.words(&self.words);
            if eval.end == Some(End::Input) {
                return Next::Input;
            }
            let code = match eval.end {
                Some(End::Exit(code)) => Some(code),
                Some(End::Never) => None,
                _ => Some(eval.code),
            };
            let end = code.filter(|_| eval.now < SLEEP_MAX).map(|code| (now + eval.now, code));
            self.course = Some(Course { said: eval.said.into(), begun: now, end });
            *files = written;
        }
        input.bytes.clear();
        let Some(course) = &mut self.course else { return Next::Input };
        while let Some(said) = course.due(now) {
            output.push(said.into());
        }
        let next = course.said.front().map(|said| course.begun + said.after);
        match (next, course.end) {
            (Some(at), _) => Next::At(at),
            (None, Some((at, code))) if at <= now => Next::Exit(code),
            (None, Some((at, _))) => Next::At(at),
            (None, None) => Next::Input,
        }
    }
}

impl From<Said> for ExecOutput {
    fn from(said: Said) -> ExecOutput {
        match said.source {
            LogSource::Stdout => ExecOutput::Stdout(said.bytes),
            LogSource::Stderr => ExecOutput::Stderr(said.bytes),
        }
    }
}

/// A shell that reads its commands line by line, from a terminal or not.
struct Shell {
    host: Host,
    tty: bool,
    line: Vec<u8>,
    env: Option<(std::collections::BTreeMap<String, String>, String)>,
    code: i32,
    /// The code with which it ends once the last line is done.
    ends: Option<i32>,
    owes_prompt: bool,
    /// What is still to be printed of the last line, and until when that line takes.
    course: Option<Course>,
}

/// The longest line.
const LINE_MAX: usize = 64 << 10;

impl Shell {
    fn new(host: Host, tty: bool) -> Shell {
        Shell { host, tty, line: Vec::new(), env: None, code: 0, ends: None, owes_prompt: true, course: None }
    }

    fn prompt(&self, output: &mut Vec<ExecOutput>) {
        if self.tty {
            let cwd = self.env.as_ref().map_or("/", |(_, cwd)| cwd);
            output.push(ExecOutput::Stdout(format!("{cwd} # ").into()));
        }
    }

    /// Runs a line.
    fn run(&mut self, now: Timestamp, files: &mut Files) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let place = Place { now, ..self.host.place() };
        let mut eval = Eval::new(place, View::new(&place, files), Some(Default::default()));
        if let Some((env, cwd)) = self.env.take() {
            (eval.env, eval.cwd) = (env, cwd);
        }
        eval.code = self.code;
        eval.script(&line);
        self.code = eval.code;
        if let Some(End::Exit(code)) = eval.end {
            self.ends = Some(code);
        }
        let end = (eval.end != Some(End::Never)).then_some((now + eval.now, self.code));
        self.course = Some(Course { said: eval.said.into(), begun: now, end });
        self.env = Some((eval.env, eval.cwd));
        self.owes_prompt = true;
    }

    /// Takes a key. Answers whether a line is complete; `None`: the input ends.
    fn key(&mut self, key: u8, output: &mut Vec<ExecOutput>) -> Option<bool> {
        let mut echo = |text: &[u8]| {
            if self.tty {
                output.push(ExecOutput::Stdout(text.to_vec().into()));
            }
        };
        match key {
            b'\n' | b'\r' => {
                echo(b"\r\n");
                return Some(true);
            }
            // ^C drops the line, ^D ends the input where no line has begun.
            3 if self.tty => {
                echo(b"^C\r\n");
                self.line.clear();
                return Some(true);
            }
            4 if self.tty => return if self.line.is_empty() { None } else { Some(false) },
            8 | 127 if self.tty => {
                let erased: &[u8] = if self.line.pop().is_some() { b"\x08 \x08" } else { b"" };
                echo(erased);
            }
            key if self.line.len() < LINE_MAX => {
                echo(&[key]);
                self.line.push(key);
            }
            _ => {}
        }
        Some(false)
    }

    /// Prints what is due; answers when there is more, or `None` when the line is done.
    fn go_on(&mut self, now: Timestamp, output: &mut Vec<ExecOutput>) -> Option<Next> {
        let course = self.course.as_mut()?;
        while let Some(said) = course.due(now) {
            output.push(match (self.tty, said.source) {
                (true, _) => ExecOutput::Stdout(crlf(&said.bytes).into()),
                (false, _) => said.into(),
            });
        }
        let next = course.said.front().map(|said| course.begun + said.after);
        match (next, course.end) {
            (Some(at), _) => Some(Next::At(at)),
            (None, Some((at, _))) if at <= now => {
                self.course = None;
                None
            }
            (None, Some((at, _))) => Some(Next::At(at)),
            (None, None) => Some(Next::Input),
        }
    }
}

impl Program for Shell {
    fn step(
        &mut self,
        now: Timestamp,
        input: &mut Input,
        files: &mut Files,
        output: &mut Vec<ExecOutput>,
    ) -> Next {
        loop {
            if let Some(next) = self.go_on(now, output) {
                // Only an interrupt reaches a shell that waits for its command.
                if self.tty
                    && let Some(at) = input.bytes.iter().position(|key| *key == 3)
                {
                    input.bytes.drain(..=at);
                    self.course = None;
                    self.code = 130;
                    output.push(ExecOutput::Stdout("^C\r\n".into()));
                    continue;
                }
                return next;
            }
            if let Some(code) = self.ends {
                return Next::Exit(code);
            }
            if std::mem::take(&mut self.owes_prompt) {
                self.prompt(output);
            }
            let mut used = 0;
            let mut complete = Some(false);
            while complete == Some(false) && used < input.bytes.len() {
                complete = self.key(input.bytes[used], output);
                used += 1;
            }
            input.bytes.drain(..used);
            match complete {
                Some(true) => self.run(now, files),
                Some(false) if !input.closed => return Next::Input,
                // The end of the input ends the last line, too.
                Some(false) if !self.line.is_empty() => self.run(now, files),
                Some(false) | None => return Next::Exit(self.code),
            }
        }
    }
}

/// As a terminal shows lines.
fn crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 8);
    for byte in bytes {
        if *byte == b'\n' {
            out.push(b'\r');
        }
        out.push(*byte);
    }
    out
}
