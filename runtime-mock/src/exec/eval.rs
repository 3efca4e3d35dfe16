//! Runs a script: [`Eval`].

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use orlop_core::runtime::LogSource;

use super::files::{View, absolute};
use super::{Place, base, is_shell, text};
use crate::shell::{Command, List, Piece, Word, is_assignment, parse};

/// How many commands a script may run, and how deep it may call itself.
const COMMANDS_MAX: usize = 10_000;
/// Scripts and commands within each other, each counted.
const DEPTH_MAX: usize = 48;
/// How much a script may print, in bytes.
const OUTPUT_MAX: usize = 8 << 20;
/// How long a word may become, in bytes: a loop may double it.
const WORD_MAX: usize = 64 << 10;

/// Something that a script prints, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) after: Duration,
    pub(super) source: LogSource,
    pub(super) bytes: Bytes,
}

/// Why a script does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Break,
    Continue,
    /// It runs until it is killed.
    Never,
    /// It reads input that is not there yet.
    Input,
}

/// A shell, as far as scripts see it.
pub(super) struct Eval<'a> {
    pub(super) place: Place<'a>,
    pub(super) view: View<'a>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) cwd: String,
    /// `None`: not all of it is there yet, but [`Eval::begun`] is.
    pub(super) stdin: Option<Bytes>,
    /// How the input begins whose end is not there yet.
    pub(super) begun: Bytes,
    pub(super) code: i32,
    pub(super) end: Option<End>,
    /// Since the start.
    pub(super) now: Duration,
    pub(super) said: Vec<Said>,
    printed: usize,
    commands: usize,
    depth: usize,
    /// What the commands of a pipe, or in a substitution, print.
    captured: Vec<Vec<u8>>,
}

impl<'a> Eval<'a> {
    pub(super) fn new(place: Place<'a>, view: View<'a>, stdin: Option<Bytes>) -> Eval<'a> {
        let container = place.container;
        let mut env: BTreeMap<String, String> = [
            ("HOME", "/root".to_owned()),
            ("HOSTNAME", text(&place.sandbox.hostname)),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(container.env.iter().map(|(name, value)| (text(name), text(value))));
        let cwd = absolute("/", &container.working_dir);
        Eval {
            place,
            view,
            env,
            cwd,
            stdin,
            begun: Bytes::new(),
            code: 0,
            end: None,
            now: Duration::ZERO,
            said: Vec::new(),
            printed: 0,
            commands: 0,
            depth: 0,
            captured: Vec::new(),
        }
    }

    /// Runs a script, as far as it goes.
    pub(super) fn script(&mut self, script: &str) {
        self.deeper(|shell| shell.list(&parse(script)));
    }

    /// Goes on one level below, as far as levels go.
    pub(super) fn deeper(&mut self, then: impl FnOnce(&mut Self)) {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.complain("sh: too many shells");
            self.code = 2;
        } else {
            then(self);
        }
        self.depth -= 1;
    }

    /// Counts a command. What loops without ever sleeping is cut off, as `timeout` does.
    fn is_spent(&mut self) -> bool {
        self.commands += 1;
        let spent = self.commands > COMMANDS_MAX;
        if spent {
            self.end.get_or_insert(End::Exit(124));
        }
        spent
    }

    /// Runs one command whose words are words already.
    pub(super) fn words(&mut self, words: &[String]) {
        if self.is_spent() {
            return;
        }
        let Some((program, arguments)) = words.split_first() else { return };
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = base(program);
        self.code = match program {
            program if is_shell(program) => self.shell(&arguments),
            "exec" | "command" | "nohup" | "busybox" if !arguments.is_empty() && arguments[0] != "-v" => {
                self.deeper(|shell| shell.words(&words[1..]));
                if program == "exec" {
                    self.end.get_or_insert(End::Exit(self.code));
                }
                self.code
            }
            program => self.tool(program, &arguments).unwrap_or_else(|| {
                self.complain(&format!("sh: 1: {program}: not found"));
                127
            }),
        };
    }

    fn shell(&mut self, arguments: &[&str]) -> i32 {
        let flag = arguments.iter().position(|word| word.starts_with('-') && word.ends_with('c'));
        let script = match (flag, arguments.iter().find(|word| !word.starts_with('-'))) {
            (Some(at), _) => arguments.get(at + 1).map(|script| (*script).to_owned()),
            (None, Some(path)) => match self.view.read(&absolute(&self.cwd, path)) {
                Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
                Err(why) => {
                    self.complain(&format!("sh: 0: cannot open {path}: {why}"));
                    return 2;
                }
            },
            (None, None) => self.read_all().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        };
        let Some(script) = script else { return 2 };
        // A shell of its own: what it sets, and where it goes, is gone with it.
        let (env, cwd) = (self.env.clone(), self.cwd.clone());
        self.code = 0;
        self.script(&script);
        (self.env, self.cwd) = (env, cwd);
        match self.end {
            Some(End::Exit(code)) => {
                self.end = None;
                self.code = code;
            }
            Some(End::Break | End::Continue) => self.end = None,
            Some(End::Never | End::Input) | None => {}
        }
        self.code
    }

    /// The whole input; `None` when it is not there yet.
    pub(super) fn read_all(&mut self) -> Option<Bytes> {
        if self.stdin.is_none() {
            self.end = Some(End::Input);
        }
        self.stdin.as_mut().map(std::mem::take)
    }

    /// One line of the input without its break; `None` at the end, or when it is not there yet.
    pub(super) fn read_line(&mut self) -> Option<String> {
        let stdin = match &mut self.stdin {
            Some(stdin) => stdin,
            // A line that is whole needs nothing after it.
            None if self.begun.contains(&b'\n') => &mut self.begun,
            None => {
                self.end = Some(End::Input);
                return None;
            }
        };
        if stdin.is_empty() {
            return None;
        }
        let end = stdin.iter().position(|byte| *byte == b'\n').map_or(stdin.len(), |at| at + 1);
        let line = stdin.split_to(end);
        Some(String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned())
    }

    pub(super) fn say(&mut self, text: impl AsRef<[u8]>) {
        self.print(LogSource::Stdout, text.as_ref());
    }

    pub(super) fn complain(&mut self, text: &str) {
        self.print(LogSource::Stderr, format!("{text}\n").as_bytes());
    }

    fn print(&mut self, source: LogSource, bytes: &[u8]) {
        self.printed += bytes.len();
        if self.printed > OUTPUT_MAX {
            self.end = Some(End::Exit(141));
            return;
        }
        match self.captured.last_mut().filter(|_| source == LogSource::Stdout) {
            Some(captured) => captured.extend_from_slice(bytes),
            None if bytes.is_empty() => {}
            None => self.said.push(Said { after: self.now, source, bytes: Bytes::copy_from_slice(bytes) }),
        }
    }

    /// Lets `run` print to where its answer shows it.
    fn capture(&mut self, run: impl FnOnce(&mut Self)) -> Vec<u8> {
        self.captured.push(Vec::new());
        run(self);
        self.captured.pop().unwrap_or_default()
    }

    fn list(&mut self, list: &List) {
        let mut piped: Option<Bytes> = None;
        for (i, (before, command)) in list.iter().enumerate() {
            if self.end.is_some() {
                return;
            }
            if (*before == "&&" && self.code != 0) || (*before == "||" && self.code == 0) {
                continue;
            }
            let after = list.get(i + 1).map(|(op, _)| *op);
            let outer = piped.take().map(|bytes| self.stdin.replace(bytes));
            if after == Some("|") {
                let bytes = self.capture(|eval| eval.command(command));
                piped = Some(bytes.into());
                // What ends within a pipe ends its part of it.
                if let Some(End::Exit(_) | End::Break | End::Continue) = self.end {
                    self.end = None;
                }
            } else {
                self.command(command);
            }
            if after == Some("&") {
                // Nothing waits for what is in the background.
                self.end = self.end.filter(|end| *end == End::Input);
                self.code = 0;
            }
            if let Some(outer) = outer {
                self.stdin = outer;
            }
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::Simple { words, redirects } => self.simple(words, redirects),
            Command::Group(list) => self.list(list),
            Command::Loop { wanted, condition, body } => loop {
                if self.is_spent() {
                    return;
                }
                self.list(condition);
                if self.end.is_some() {
                    return;
                }
                if (self.code == 0) != *wanted {
                    self.code = 0;
                    return;
                }
                self.list(body);
                if self.leaves_loop() {
                    return;
                }
            },
            Command::For { name, words, body } => {
                let values: Vec<String> = words.iter().flat_map(|word| self.expand(word)).collect();
                for value in values {
                    if self.is_spent() {
                        return;
                    }
                    self.env.insert(name.clone(), value);
                    self.list(body);
                    if self.leaves_loop() {
                        return;
                    }
                }
            }
            Command::If { arms, otherwise } => {
                for (condition, body) in arms {
                    self.list(condition);
                    if self.end.is_some() {
                        return;
                    }
                    if self.code == 0 {
                        return self.list(body);
                    }
                }
                self.code = 0;
                self.list(otherwise);
            }
        }
    }

    fn leaves_loop(&mut self) -> bool {
        match self.end {
            Some(End::Continue) => {
                self.end = None;
                false
            }
            Some(End::Break) => {
                self.end = None;
                true
            }
            end => end.is_some(),
        }
    }

    fn simple(&mut self, words: &[Word], redirects: &[(&'static str, Word)]) {
        let mut expanded: Vec<String> = Vec::new();
        for word in words {
            // `NAME=value` is never split.
            let assigns = expanded.is_empty()
                && matches!(word.0.first(), Some(Piece::Text(text)) if is_assignment(text));
            if assigns {
                let joined = self.expand(word).join(" ");
                let (name, value) = joined.split_once('=').unwrap_or((&joined, ""));
                self.env.insert(name.to_owned(), value.to_owned());
                self.code = 0;
            } else {
                expanded.extend(self.expand(word));
            }
        }
        let mut outer = None;
        let mut target = None;
        let (mut joins, mut complains, mut silent) = (false, false, false);
        for (op, word) in redirects {
            let path = self.expand(word).join(" ");
            let path = absolute(&self.cwd, &path);
            match *op {
                "<" => match self.view.read(&path) {
                    Ok(bytes) => outer = Some(self.stdin.replace(bytes)),
                    Err(why) => {
                        self.complain(&format!("sh: 1: cannot open {path}: {why}"));
                        self.code = 2;
                        return;
                    }
                },
                "2>&1" => joins = true,
                "2>" => silent = true,
                ">" | ">>" if path == "/dev/stderr" => complains = true,
                ">" | ">>" if path == "/dev/stdout" => {}
                ">" | ">>" => target = Some((path, *op == ">>")),
                _ => complains = true,
            }
        }
        let heard = self.said.len();
        if complains || target.is_some() {
            let bytes = self.capture(|eval| eval.words(&expanded));
            match target {
                Some((path, append)) => self.write(&path, bytes, append),
                None => self.print(LogSource::Stderr, &bytes),
            }
        } else {
            self.words(&expanded);
        }
        let complaint = |said: &Said| said.source == LogSource::Stderr;
        if silent {
            let kept = self.said.split_off(heard).into_iter().filter(|said| !complaint(said));
            self.said.extend(kept);
        } else if joins {
            let (joined, kept): (Vec<_>, Vec<_>) =
                self.said.split_off(heard).into_iter().partition(complaint);
            self.said.extend(kept);
            joined.iter().for_each(|said| self.print(LogSource::Stdout, &said.bytes));
        }
        if let Some(outer) = outer {
            self.stdin = outer;
        }
    }

    fn write(&mut self, path: &str, bytes: Vec<u8>, append: bool) {
        let before = if append { self.view.read(path).unwrap_or_default() } else { Bytes::new() };
        let all = [&before[..], &bytes].concat();
        if let Err(why) = self.view.write(path, all.into()) {
            self.complain(&format!("sh: 1: cannot create {path}: {why}"));
            self.code = 2;
        }
    }

    /// The words that a word stands for.
    fn expand(&mut self, word: &Word) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        // Whether the last of them is still being added to.
        let mut open = false;
        for piece in &word.0 {
            let (value, quoted) = match piece {
                Piece::Text(text) => (text.clone(), true),
                Piece::Variable(name, quoted) => (self.variable(name), *quoted),
                Piece::Output(script, quoted) => {
                    let mut bytes = self.capture(|eval| eval.script(script));
                    bytes.truncate(bytes.trim_ascii_end().len());
                    (String::from_utf8_lossy(&bytes).into_owned(), *quoted)
                }
            };
            if quoted {
                if !open {
                    out.push(String::new());
                    open = true;
                }
                if let Some(last) = out.last_mut().filter(|last| last.len() + value.len() <= WORD_MAX) {
                    last.push_str(&value);
                }
                continue;
            }
            for (i, field) in value.split_ascii_whitespace().enumerate() {
                let begins = i == 0 && value.starts_with(|c: char| c.is_ascii_whitespace());
                match out.last_mut().filter(|_| open && i == 0 && !begins) {
                    Some(last) if last.len() + field.len() <= WORD_MAX => last.push_str(field),
                    _ => out.push(field.chars().take(WORD_MAX).collect()),
                }
                open = true;
            }
            if value.ends_with(|c: char| c.is_ascii_whitespace()) {
                open = false;
            }
        }
        out
    }

    fn variable(&self, name: &str) -> String {
        match name {
            "?" => self.code.to_string(),
            "$" => "7".to_owned(),
            "#" => "0".to_owned(),
            name => {
                let (name, default) = name.split_once(":-").unwrap_or((name, ""));
                let value = self.env.get(name).filter(|value| !value.is_empty());
                value.cloned().unwrap_or_else(|| default.to_owned())
            }
        }
    }
}
