//! Reads shell scripts as far as one must to know when they end: sleeping, printing, exiting, looping.
//!
//! No program exists here, so every condition is a constant; a loop whose condition holds once holds for ever.

mod parse;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use parse::{Command, List, Piece, Word, parse};

use crate::script::duration;

/// What a script does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Course {
    /// When it ends, and with which code; `None`: never.
    pub(crate) end: Option<(Duration, i32)>,
    /// When it prints what, and how often again.
    pub(crate) log: Vec<(Duration, Option<Duration>, String)>,
}

/// Follows a script. `program` says what a program takes that is not known here, as the last thing that is done: how
/// long it runs (`None`: for ever) and its code.
pub(crate) fn follow(
    script: &str,
    env: &BTreeMap<&str, &str>,
    program: impl Fn(&[String]) -> (Option<Duration>, i32),
) -> Course {
    let list = parse(script);
    let mut run = Run {
        now: Duration::ZERO,
        code: 0,
        end: None,
        log: Vec::new(),
        background: false,
        env,
        program: &program,
    };
    run.list(&list, true);
    let end = match run.end {
        Some(End::Never) => None,
        Some(End::Exit(code)) => Some((run.now, code)),
        _ => Some((run.now, run.code)),
    };
    Course { end, log: run.log }
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Exit(i32),
    Never,
    Break,
}

/// How long a program runs that is not known here, and its code.
type Program<'a> = dyn Fn(&[String]) -> (Option<Duration>, i32) + 'a;

struct Run<'a> {
    now: Duration,
    code: i32,
    end: Option<End>,
    log: Vec<(Duration, Option<Duration>, String)>,
    background: bool,
    env: &'a BTreeMap<&'a str, &'a str>,
    program: &'a Program<'a>,
}

impl Run<'_> {
    /// `last`: nothing follows this list, so a program in its last place is what the container is about.
    fn list(&mut self, list: &List, last: bool) {
        for (i, (before, command)) in list.iter().enumerate() {
            if self.end.is_some() {
                return;
            }
            if (*before == "&&" && self.code != 0) || (*before == "||" && self.code == 0) {
                continue;
            }
            let after = list.get(i + 1).map(|(op, _)| *op);
            let is_last = last && after.is_none();
            let printed = self.log.len();
            match after {
                Some("&") => {
                    let (now, end) = (self.now, self.end);
                    self.command(command, false);
                    (self.now, self.end, self.code) = (now, end, 0);
                    self.background = true;
                }
                _ => self.command(command, is_last),
            }
            if after == Some("|") {
                self.log.truncate(printed);
            }
        }
    }

    fn command(&mut self, command: &Command, last: bool) {
        match command {
            Command::Simple { words, redirects } => {
                let redirected = redirects.iter().any(|(op, _)| matches!(*op, ">" | ">>"));
                let words: Vec<String> = words.iter().map(|word| self.expand(word)).collect();
                self.simple(&words, redirected, last);
            }
            Command::Group(list) => self.list(list, last),
            Command::Loop { wanted, condition, body } => {
                self.list(condition, false);
                if self.end.is_some() || (self.code == 0) != *wanted {
                    self.code = 0;
                    return;
                }
                let (begun, printed) = (self.now, self.log.len());
                self.list(body, false);
                match self.end {
                    Some(End::Break) => self.end = None,
                    Some(_) => {}
                    None => {
                        let period = self.now - begun;
                        if !period.is_zero() {
                            for (_, every, _) in &mut self.log[printed..] {
                                *every = Some(period);
                            }
                        }
                        self.end = Some(End::Never);
                    }
                }
            }
            Command::For { words, body, .. } => {
                for _ in words.iter().take(1000) {
                    self.list(body, false);
                    match self.end {
                        Some(End::Break) => {
                            self.end = None;
                            break;
                        }
                        Some(_) => return,
                        None => {}
                    }
                }
            }
            Command::If { arms, otherwise } => {
                for (condition, body) in arms {
                    self.list(condition, false);
                    if self.end.is_some() {
                        return;
                    }
                    if self.code == 0 {
                        return self.list(body, last);
                    }
                }
                self.code = 0;
                self.list(otherwise, last);
            }
        }
    }

    /// A command's output is empty here.
    fn expand(&self, word: &Word) -> String {
        let pieces = word.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Variable(name, _) => self.env.get(name.as_str()).copied().unwrap_or_default(),
            Piece::Output(..) => "",
        });
        pieces.collect()
    }

    /// A command with what stands before it, however much that is: `!` and `exec`.
    fn simple(&mut self, words: &[String], redirected: bool, last: bool) {
        let words = without_assignments(words);
        let before: Vec<&str> =
            words.iter().map(String::as_str).take_while(|word| matches!(*word, "!" | "exec")).collect();
        let last = before.last().map_or(last, |word| *word == "exec");
        self.bare(&words[before.len()..], redirected, last);
        for word in before.into_iter().rev() {
            match word {
                "!" => self.code = i32::from(self.code == 0),
                _ => drop(self.end.get_or_insert(End::Exit(self.code))),
            }
        }
    }

    fn bare(&mut self, words: &[String], redirected: bool, last: bool) {
        let words: Vec<String> = without_assignments(words).to_vec();
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        self.code = 0;
        match &texts[..] {
            [] => {}
            ["exit", rest @ ..] => {
                let code = rest.first().and_then(|code| code.parse().ok()).unwrap_or(0);
                self.end = Some(End::Exit(code));
            }
            ["break", ..] => self.end = Some(End::Break),
            [
                "true" | ":" | "cd" | "export" | "set" | "trap" | "unset" | "mkdir" | "touch" | "continue",
                ..,
            ] => {}
            ["false", ..] => self.code = 1,
            ["echo" | "printf", ..] if redirected => {}
            ["echo" | "printf", rest @ ..] => {
                let skip = usize::from(rest.first().is_some_and(|word| matches!(*word, "-n" | "-e")));
                self.log.push((self.now, None, rest[skip..].join(" ")));
            }
            ["sleep", "infinity" | "inf", ..] => self.end = Some(End::Never),
            ["sleep", times @ ..] => {
                for time in times {
                    self.now += duration(time).unwrap_or_default();
                }
            }
            ["tail", "-f" | "-F", ..] | ["yes", ..] => self.end = Some(End::Never),
            ["wait", ..] if self.background => self.end = Some(End::Never),
            ["wait", ..] => {}
            ["test" | "[", rest @ ..] => self.code = i32::from(!holds(rest)),
            _ if last => match (self.program)(&words) {
                (None, _) => self.end = Some(End::Never),
                (Some(time), code) => {
                    self.now += time;
                    self.code = code;
                }
            },
            _ => {}
        }
    }
}

pub(crate) fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn without_assignments(words: &[String]) -> &[String] {
    &words[words.iter().take_while(|word| is_assignment(word)).count()..]
}

fn holds(words: &[&str]) -> bool {
    let words = words.strip_suffix(&["]"]).unwrap_or(words);
    let denials = words.iter().take_while(|word| **word == "!").count();
    is_so(&words[denials..]) == denials.is_multiple_of(2)
}

fn is_so(words: &[&str]) -> bool {
    match words {
        ["-z", text] => text.is_empty(),
        ["-z"] => true,
        ["-n"] => false,
        ["-n", text] => !text.is_empty(),
        // A number that only a program could have told: it is the one that is hoped for.
        ["", "-eq", _] | [_, "-eq", ""] => true,
        [a, "=" | "==" | "-eq", b] => a == b,
        [a, "!=" | "-ne", b] => a != b,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(script: &str) -> String {
        let env = BTreeMap::from([("NAME", "web")]);
        let course = follow(script, &env, |words| match words[0].as_str() {
            "serve" => (None, 0),
            _ => (Some(Duration::from_secs(2)), 0),
        });
        let log: Vec<String> = course
            .log
            .iter()
            .map(|(at, every, text)| match every {
                Some(every) => format!("{}s+{}s {text}", at.as_secs(), every.as_secs()),
                None => format!("{}s {text}", at.as_secs()),
            })
            .collect();
        let end = match course.end {
            Some((at, code)) => format!("exit {code} at {}s", at.as_secs()),
            None => "runs".to_owned(),
        };
        format!("{end} [{}]", log.join(", "))
    }

    #[test]
    fn knows_when_a_script_ends() {
        for (script, expected) in [
            ("", "exit 0 at 0s []"),
            ("exit 1", "exit 1 at 0s []"),
            ("sleep 5; exit 3", "exit 3 at 5s []"),
            ("sleep 1m && false || echo \"no $NAME\"", "exit 0 at 60s [60s no web]"),
            ("while true; do echo hi; sleep 10; done", "runs [0s+10s hi]"),
            ("until nslookup db; do echo waiting; sleep 2; done", "exit 0 at 0s []"),
            ("while ! nc -z db 80; do sleep 1; done; echo up", "exit 0 at 0s [0s up]"),
            ("for i in 1 2 3; do echo $i; sleep 1; done", "exit 0 at 3s [0s , 1s , 2s ]"),
            ("prepare; serve --port 80", "runs []"),
            ("compute", "exit 0 at 2s []"),
            ("if [ -f /x ]; then exit 4; else exit 5; fi", "exit 4 at 0s []"),
            ("echo a > /data/file; tail -f /dev/null", "runs []"),
            ("# nothing\nset -e\nexec serve", "runs []"),
            ("serve & sleep 3; exit 2", "exit 2 at 3s []"),
            ("(sleep 1; exit 6)", "exit 6 at 1s []"),
            (
                "S=$(wget web | awk '{print $2}')\nif [ $S -eq 200 ]; then\n exit 0\nfi\nexit 1",
                "exit 0 at 0s []",
            ),
            ("echo one | grep x; sleep infinity", "runs []"),
            ("while true; do", "runs []"),
            ("'unclosed $(", "exit 0 at 2s []"),
        ] {
            assert_eq!(course(script), expected, "{script}");
        }
    }

    /// Each word took a part of the thread's stack, and enough of them ended the whole process.
    #[test]
    fn words_before_a_command_are_no_levels() {
        let many = |word: &str, times: usize| format!("{word} ").repeat(times);
        assert_eq!(course(&format!("{}sleep 3", many("exec", 50_000))), "exit 0 at 3s []");
        assert_eq!(course(&format!("{}true; exit $?", many("!", 50_001))), "exit 0 at 0s []");
        assert_eq!(course(&format!("test {}-n x && exit 3", many("!", 50_000))), "exit 3 at 0s []");
        assert_eq!(course(&format!("test {}-n x || exit 4", many("!", 50_001))), "exit 4 at 0s []");
    }
}
