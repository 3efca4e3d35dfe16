//! The tools of [`super::Toolbox`].

use std::time::Duration;

use bytes::Bytes;

use super::eval::{End, Eval};
use super::files::{absolute, parent};
use super::{SLEEP_MAX, base, text};
use crate::script::duration;

/// All of them; [`Eval::tool`] has each.
const KNOWN: [&str; 50] = [
    ":", "[", "ash", "basename", "bash", "break", "busybox", "cat", "cd", "continue", "cp", "cut", "dash",
    "date", "dirname", "echo", "env", "exit", "export", "false", "grep", "head", "hostname", "id", "ls",
    "mkdir", "mv", "nproc", "printenv", "printf", "ps", "pwd", "read", "rm", "seq", "set", "sh", "sleep",
    "sort", "tail", "tar", "tee", "test", "touch", "tr", "true", "uname", "uniq", "wc", "whoami",
];

/// Whether there is such a program.
pub(super) fn is_known(program: &str) -> bool {
    KNOWN.contains(&program) || matches!(program, "which" | "command" | "nohup" | "exec" | "unset" | "trap")
}

impl Eval<'_> {
    /// Runs a tool; `None`: there is none by that name.
    pub(super) fn tool(&mut self, program: &str, arguments: &[&str]) -> Option<i32> {
        let (options, operands) = split(arguments);
        Some(match program {
            "true" | ":" | "set" | "trap" => 0,
            "false" => 1,
            "echo" => self.echo(arguments),
            "printf" => self.printf(arguments),
            "exit" => {
                let code = arguments.first().map_or(Some(self.code), |code| code.parse().ok()).unwrap_or(2);
                self.end = Some(End::Exit(code & 0xff));
                code & 0xff
            }
            "break" | "continue" => {
                self.end = Some(if program == "break" { End::Break } else { End::Continue });
                0
            }
            "test" | "[" => i32::from(!self.holds(arguments)),
            "sleep" => self.sleep(arguments),
            "env" | "printenv" => self.environment(program, arguments),
            "export" => {
                for (name, value) in arguments.iter().filter_map(|word| word.split_once('=')) {
                    self.env.insert(name.to_owned(), value.to_owned());
                }
                0
            }
            "unset" => {
                arguments.iter().for_each(|name| drop(self.env.remove(*name)));
                0
            }
            "read" => match self.read_line() {
                Some(line) => {
                    self.env.insert(operands.first().copied().unwrap_or("REPLY").to_owned(), line);
                    0
                }
                None => 1,
            },
            "cd" => self.change_directory(operands.first().copied()),
            "pwd" => self.line(&self.cwd.clone()),
            "hostname" => self.line(&text(&self.place.sandbox.hostname)),
            "whoami" => self.line("root"),
            "id" if options.contains('u') => self.line("0"),
            "id" => self.line("uid=0(root) gid=0(root) groups=0(root)"),
            "nproc" => self.line("1"),
            "uname" => match options.contains('a') {
                true => {
                    let host = text(&self.place.sandbox.hostname);
                    self.line(&format!("Linux {host} orlop-mock x86_64 GNU/Linux"))
                }
                false => self.line("Linux"),
            },
            "date" => {
                let now = self.place.now + self.now;
                match arguments.first() {
                    Some(&"+%s") => self.line(&(now.nanos() / 1_000_000_000).to_string()),
                    _ => self.line(&now.to_string()),
                }
            }
            "ps" => self.processes(),
            "basename" => self.line(base(operands.first().copied().unwrap_or_default())),
            "dirname" => self.line(parent(operands.first().copied().unwrap_or_default())),
            "seq" => self.sequence(&operands),
            "which" | "command" => match operands.first().filter(|name| is_known(name)) {
                Some(name) => self.line(&format!("/bin/{name}")),
                None => 1,
            },
            "ls" => self.list_files(&options, &operands),
            "touch" | "mkdir" | "rm" => self.change_files(program, &options, &operands),
            "cp" | "mv" => self.copy(program, &operands),
            "tar" => self.tar(arguments),
            "cat" | "head" | "tail" | "wc" | "grep" | "sort" | "uniq" | "cut" | "tr" | "tee" => {
                self.filter(program, arguments)
            }
            _ => return None,
        })
    }

    pub(super) fn line(&mut self, text: &str) -> i32 {
        self.say(format!("{text}\n"));
        0
    }

    pub(super) fn refuse(&mut self, program: &str, path: &str, why: &str) -> i32 {
        self.complain(&format!("{program}: {path}: {why}"));
        1
    }

    pub(super) fn at(&self, path: &str) -> String {
        absolute(&self.cwd, path)
    }

    fn echo(&mut self, arguments: &[&str]) -> i32 {
        let flags = arguments.iter().take_while(|word| matches!(**word, "-n" | "-e" | "-ne" | "-en")).count();
        let (flags, words) = arguments.split_at(flags);
        let mut text = words.join(" ");
        if flags.iter().any(|flag| flag.contains('e')) {
            text = unescape(&text);
        }
        if !flags.iter().any(|flag| flag.contains('n')) {
            text.push('\n');
        }
        self.say(text);
        0
    }

    fn printf(&mut self, arguments: &[&str]) -> i32 {
        let Some((format, values)) = arguments.split_first() else { return 2 };
        let format = unescape(format);
        let mut values = values.iter();
        loop {
            let (mut out, mut used) = (String::new(), false);
            let mut chars = format.chars();
            while let Some(c) = chars.next() {
                match (c, chars.clone().next()) {
                    ('%', Some('%')) => {
                        chars.next();
                        out.push('%');
                    }
                    ('%', Some('s' | 'd' | 'b' | 'i')) => {
                        chars.next();
                        out.push_str(values.next().copied().unwrap_or_default());
                        used = true;
                    }
                    (c, _) => out.push(c),
                }
            }
            self.say(out);
            // The format is used again for what is left.
            if !used || values.len() == 0 || self.end.is_some() {
                return 0;
            }
        }
    }

    fn sleep(&mut self, times: &[&str]) -> i32 {
        for time in times {
            match (*time, duration(time)) {
                ("infinity" | "inf", _) => self.end = Some(End::Never),
                (_, Ok(time)) => self.now = self.now.saturating_add(time),
                (time, Err(_)) => {
                    self.complain(&format!("sleep: invalid time interval '{time}'"));
                    return 1;
                }
            }
        }
        if self.now >= SLEEP_MAX {
            self.now = Duration::ZERO;
            self.end = Some(End::Never);
        }
        0
    }

    fn environment(&mut self, program: &str, arguments: &[&str]) -> i32 {
        match (program, arguments.first()) {
            ("printenv", Some(name)) => match self.env.get(*name).cloned() {
                Some(value) => self.line(&value),
                None => 1,
            },
            (_, None) => {
                let all: String = self.env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
                self.say(all);
                0
            }
            (_, Some(_)) => {
                let count = arguments.iter().take_while(|word| word.contains('=')).count();
                let before = self.env.clone();
                for (name, value) in arguments[..count].iter().filter_map(|word| word.split_once('=')) {
                    self.env.insert(name.to_owned(), value.to_owned());
                }
                let words: Vec<String> = arguments[count..].iter().map(|word| (*word).to_owned()).collect();
                if words.is_empty() {
                    self.environment(program, &[])
                } else {
                    self.deeper(|shell| shell.words(&words));
                    self.code
                };
                self.env = before;
                self.code
            }
        }
    }

    fn change_directory(&mut self, to: Option<&str>) -> i32 {
        let path = self.at(to.unwrap_or("/root"));
        if !self.view.is_directory(&path) {
            return self.refuse("cd", &path, "No such file or directory");
        }
        self.cwd = path;
        0
    }

    fn processes(&mut self) -> i32 {
        let container = self.place.container;
        let words: Vec<&str> =
            container.command.iter().chain(&container.args).map(|word| word.as_str()).collect();
        let program = if words.is_empty() { text(&container.image) } else { words.join(" ") };
        self.line("PID   USER     COMMAND");
        self.line(&format!("    1 root     {program}"));
        self.line("    7 root     ps")
    }

    fn sequence(&mut self, operands: &[&str]) -> i32 {
        let numbers: Option<Vec<i64>> = operands.iter().map(|word| word.parse().ok()).collect();
        let (first, last) = match numbers.as_deref() {
            Some([last]) => (1, *last),
            Some([first, last]) => (*first, *last),
            _ => return 1,
        };
        for number in (first..=last).take(10_000) {
            self.say(format!("{number}\n"));
        }
        0
    }

    fn holds(&mut self, words: &[&str]) -> bool {
        let words = words.strip_suffix(&["]"]).unwrap_or(words);
        let negated = words.iter().take_while(|word| **word == "!").count();
        if negated > 0 {
            return self.holds(&words[negated..]) == negated.is_multiple_of(2);
        }
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        match words {
            [] | ["-n"] => false,
            [text] => !text.is_empty(),
            ["-z", text] => text.is_empty(),
            ["-n", text] => !text.is_empty(),
            ["-d", path] => self.view.is_directory(&self.at(path)),
            ["-f" | "-r" | "-s", path] => self.view.read(&self.at(path)).is_ok(),
            ["-e", path] => {
                let path = self.at(path);
                self.view.is_directory(&path) || self.view.read(&path).is_ok()
            }
            [a, "=" | "==", b] => a == b,
            [a, "!=", b] => a != b,
            [a, "-eq", b] => number(a) == number(b),
            [a, "-ne", b] => number(a) != number(b),
            [a, "-lt", b] => number(a) < number(b),
            [a, "-le", b] => number(a) <= number(b),
            [a, "-gt", b] => number(a) > number(b),
            [a, "-ge", b] => number(a) >= number(b),
            _ => false,
        }
    }

    fn list_files(&mut self, options: &str, operands: &[&str]) -> i32 {
        let places = if operands.is_empty() { &["."][..] } else { operands };
        let mut code = 0;
        for place in places {
            let path = self.at(place);
            let names: Vec<(String, String)> = if self.view.is_directory(&path) {
                let inside = self.view.list(&path).into_iter();
                inside.map(|name| (format!("{}/{name}", path.trim_end_matches('/')), name)).collect()
            } else if self.view.read(&path).is_ok() {
                vec![(path, (*place).to_owned())]
            } else {
                self.complain(&format!("ls: {place}: No such file or directory"));
                code = 1;
                continue;
            };
            for (path, name) in names {
                if !options.contains('l') {
                    self.line(&name);
                    continue;
                }
                let line = match self.view.read(&path) {
                    Ok(bytes) => format!("-rw-r--r--    1 root     root     {:>9} {name}", bytes.len()),
                    Err(_) => format!("drwxr-xr-x    2 root     root     {:>9} {name}", 4096),
                };
                self.line(&line);
            }
        }
        code
    }

    fn change_files(&mut self, program: &str, options: &str, operands: &[&str]) -> i32 {
        let mut code = 0;
        for name in operands {
            let path = self.at(name);
            let done = match program {
                "touch" => match self.view.read(&path) {
                    Ok(_) => Ok(()),
                    Err(_) => self.view.write(&path, Bytes::new()),
                },
                "mkdir" if !options.contains('p') && self.view.is_directory(&path) => Err("File exists"),
                "mkdir" if !options.contains('p') && !self.view.is_directory(parent(&path)) => {
                    Err("No such file or directory")
                }
                "mkdir" => self.view.make_directory(&path),
                _ if self.view.is_directory(&path) && !options.contains(['r', 'R']) => Err("Is a directory"),
                _ => match self.view.remove(&path) {
                    Ok(false) if !options.contains('f') => Err("No such file or directory"),
                    Ok(_) => Ok(()),
                    Err(why) => Err(why),
                },
            };
            if let Err(why) = done {
                code = self.refuse(program, name, why);
            }
        }
        code
    }

    fn copy(&mut self, program: &str, operands: &[&str]) -> i32 {
        let [from, to] = operands else { return 1 };
        let (source, mut target) = (self.at(from), self.at(to));
        if self.view.is_directory(&target) {
            target = absolute(&target, base(&source));
        }
        let done = self.view.read(&source).and_then(|bytes| self.view.write(&target, bytes));
        let done =
            done.and_then(|()| if program == "mv" { self.view.remove(&source).map(drop) } else { Ok(()) });
        done.map_or_else(|why| self.refuse(program, from, why), |()| 0)
    }
}

/// The letters of all options, and what is no option.
pub(super) fn split<'w>(arguments: &[&'w str]) -> (String, Vec<&'w str>) {
    let is_option = |word: &&&str| word.len() > 1 && word.starts_with('-');
    let options = arguments.iter().filter(is_option).map(|word| word.trim_start_matches('-')).collect();
    let operands = arguments.iter().filter(|word| !is_option(word)).copied().collect();
    (options, operands)
}

fn unescape(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r").replace("\\\\", "\\")
}
