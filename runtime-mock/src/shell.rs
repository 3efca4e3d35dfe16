//! Reads shell scripts as far as one must to know when they end: sleeping, printing, exiting, looping.
//!
//! No program exists here, so every condition is a constant; a loop whose condition holds once holds for ever.

use std::collections::BTreeMap;
use std::time::Duration;

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
    let tokens = tokens(script, env);
    let mut parser = Parser { tokens: &tokens, at: 0, depth: 0 };
    let list = parser.list(&[]);
    let mut run = Run {
        now: Duration::ZERO,
        code: 0,
        end: None,
        log: Vec::new(),
        background: false,
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

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Op(&'static str),
}

/// Longest first, so that `&&` is not read as two `&`.
const OPERATORS: [&str; 11] = ["2>&1", "&&", "||", ">>", ";", "|", "&", "(", ")", ">", "<"];

fn tokens(script: &str, env: &BTreeMap<&str, &str>) -> Vec<Token> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = script;
    'next: while let Some(c) = rest.chars().next() {
        if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
            out.extend(word.take().map(Token::Word));
            out.push(Token::Op(op));
            rest = &rest[op.len()..];
            continue;
        }
        let tail = &rest[c.len_utf8()..];
        match c {
            '\n' => {
                out.extend(word.take().map(Token::Word));
                out.push(Token::Op(";"));
            }
            '#' if word.is_none() => {
                rest = tail.find('\n').map_or("", |end| &tail[end..]);
                continue 'next;
            }
            c if c.is_whitespace() => out.extend(word.take().map(Token::Word)),
            '\\' => {
                let mut chars = tail.chars();
                let escaped = chars.next();
                word.get_or_insert_default().extend(escaped.filter(|c| *c != '\n'));
                rest = chars.as_str();
                continue 'next;
            }
            '\'' => {
                let end = tail.find('\'').unwrap_or(tail.len());
                word.get_or_insert_default().push_str(&tail[..end]);
                rest = tail.get(end + 1..).unwrap_or("");
                continue 'next;
            }
            '"' => {
                let end = tail.find('"').unwrap_or(tail.len());
                let word = word.get_or_insert_default();
                let mut inner = &tail[..end];
                while let Some(at) = inner.find('$') {
                    word.push_str(&inner[..at]);
                    inner = expand(&inner[at + 1..], env, word);
                }
                word.push_str(inner);
                rest = tail.get(end + 1..).unwrap_or("");
                continue 'next;
            }
            '$' => {
                rest = expand(tail, env, word.get_or_insert_default());
                continue 'next;
            }
            c => word.get_or_insert_default().push(c),
        }
        rest = tail;
    }
    out.extend(word.map(Token::Word));
    out
}

/// Puts what `$` stands for into `out` and answers with what follows. A command's output is empty here.
fn expand<'a>(tail: &'a str, env: &BTreeMap<&str, &str>, out: &mut String) -> &'a str {
    if let Some(inner) = tail.strip_prefix('(') {
        let mut depth = 1;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        return end.map_or("", |end| &inner[end + 1..]);
    }
    let (name, rest) = match tail.strip_prefix('{') {
        Some(inner) => inner.split_once('}').unwrap_or((inner, "")),
        None => {
            let end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
            match end {
                0 => tail.split_at(tail.chars().next().map_or(0, char::len_utf8)),
                end => tail.split_at(end),
            }
        }
    };
    out.push_str(env.get(name).copied().unwrap_or(""));
    rest
}

#[derive(Debug)]
enum Command {
    Simple(Vec<String>),
    Group(List),
    /// Runs while the condition's success is `wanted`.
    Loop {
        wanted: bool,
        condition: List,
        body: List,
    },
    For {
        times: usize,
        body: List,
    },
    If {
        arms: Vec<(List, List)>,
        otherwise: List,
    },
}

/// Each command with the operator before it.
type List = Vec<(&'static str, Command)>;

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: u32,
}

/// Deeper nesting is nobody's script.
const DEPTH_MAX: u32 = 50;

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn at_word(&self, words: &[&str]) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if words.contains(&word.as_str()))
    }

    /// Commands up to one of the words `until`, which is consumed.
    fn list(&mut self, until: &[&str]) -> List {
        self.depth += 1;
        let mut list = List::new();
        let mut before = ";";
        while self.depth < DEPTH_MAX
            && let Some(token) = self.peek().cloned()
        {
            match token {
                Token::Op(")") => break,
                Token::Op(op @ (">" | ">>" | "<")) => {
                    // A redirection: its target is no argument.
                    self.at += 2;
                    let _ = op;
                }
                Token::Op("(") => {
                    self.at += 1;
                    let group = self.list(&[]);
                    self.at += 1;
                    list.push((before, Command::Group(group)));
                    before = ";";
                }
                Token::Op(op) => {
                    before = op;
                    self.at += 1;
                }
                Token::Word(word) if until.contains(&word.as_str()) => break,
                Token::Word(word) => {
                    let command = self.command(&word);
                    list.push((before, command));
                    before = ";";
                }
            }
        }
        self.depth -= 1;
        list
    }

    fn block(&mut self, until: &[&str]) -> List {
        let list = self.list(until);
        self.at += 1;
        list
    }

    fn command(&mut self, word: &str) -> Command {
        match word {
            "while" | "until" => {
                self.at += 1;
                let condition = self.block(&["do"]);
                let body = self.block(&["done"]);
                Command::Loop { wanted: word == "while", condition, body }
            }
            "for" => {
                self.at += 1;
                let head = self.at;
                while self.at < self.tokens.len() && !self.at_word(&["do"]) {
                    self.at += 1;
                }
                let words = self.tokens[head..self.at].iter().filter(|t| matches!(t, Token::Word(_))).count();
                self.at += 1;
                let body = self.block(&["done"]);
                Command::For { times: words.saturating_sub(2), body }
            }
            "if" => {
                let mut arms = Vec::new();
                let mut otherwise = List::new();
                loop {
                    self.at += 1;
                    let condition = self.block(&["then"]);
                    let body = self.list(&["elif", "else", "fi"]);
                    arms.push((condition, body));
                    if !self.at_word(&["elif"]) {
                        break;
                    }
                }
                if self.at_word(&["else"]) {
                    self.at += 1;
                    otherwise = self.list(&["fi"]);
                }
                self.at += 1;
                Command::If { arms, otherwise }
            }
            "{" => {
                self.at += 1;
                Command::Group(self.block(&["}"]))
            }
            _ => Command::Simple(self.simple()),
        }
    }

    fn simple(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Some(token) = self.peek() {
            match token {
                Token::Word(word) => {
                    words.push(word.clone());
                    self.at += 1;
                }
                Token::Op("2>&1") => self.at += 1,
                Token::Op(">" | ">>" | "<") => {
                    words.push(">".to_owned());
                    self.at += 2;
                }
                Token::Op(_) => break,
            }
        }
        words
    }
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
            Command::Simple(words) => self.simple(words, last),
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
            Command::For { times, body } => {
                for _ in 0..(*times).min(1000) {
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

    fn simple(&mut self, words: &[String], last: bool) {
        let words: Vec<String> = words.iter().skip_while(|word| is_assignment(word)).cloned().collect();
        let texts: Vec<&str> = words.iter().map(String::as_str).collect();
        let (texts, redirected) = match texts.iter().position(|word| *word == ">") {
            Some(at) => (&texts[..at], true),
            None => (&texts[..], false),
        };
        self.code = 0;
        match texts {
            [] => {}
            ["!", ..] => {
                self.simple(&words[1..], false);
                self.code = i32::from(self.code == 0);
            }
            ["exec", ..] => {
                self.simple(&words[1..], true);
                self.end.get_or_insert(End::Exit(self.code));
            }
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

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn holds(words: &[&str]) -> bool {
    let words = words.strip_suffix(&["]"]).unwrap_or(words);
    match words {
        ["!", rest @ ..] => !holds(rest),
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
}
