//! Tools that read files or their input, and archives.

use bytes::Bytes;

use super::eval::Eval;
use super::files::{absolute, parent};
use super::tools::split;

impl Eval<'_> {
    /// `cat`, `head`, `grep` and their like.
    pub(super) fn filter(&mut self, program: &str, arguments: &[&str]) -> i32 {
        let (options, mut operands) = split(arguments);
        // `-n 5`, `-c 5`, `-d , -f 1`: the word behind an option is its value.
        let mut value = |letter: char| -> Option<String> {
            let at = arguments.iter().position(|word| word.starts_with('-') && word.contains(letter))?;
            let (_, inside) = arguments[at].split_once(letter)?;
            if !inside.is_empty() {
                return Some(inside.to_owned());
            }
            let next = *arguments.get(at + 1)?;
            operands.retain(|word| !std::ptr::eq(*word, next));
            Some(next.to_owned())
        };
        let number =
            |text: Option<String>| text.and_then(|text| text.trim_start_matches('-').parse::<usize>().ok());
        let (mut count, mut bytes, mut delimiter, mut field) = (None, None, None, None);
        match program {
            "head" | "tail" => {
                (count, bytes) = (number(value('n')), number(value('c')));
                let short = arguments.iter().find_map(|word| word.strip_prefix('-')?.parse().ok());
                count = count.or(short);
            }
            "cut" => (delimiter, field) = (value('d'), number(value('f'))),
            _ => {}
        }
        let words: Vec<String> = match program {
            "grep" => operands.drain(..operands.len().min(1)).map(str::to_owned).collect(),
            "tr" | "tee" => operands.drain(..).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let Some((input, failed)) = self.inputs(program, &operands) else { return 1 };
        let lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let mut code = i32::from(failed);
        match program {
            "cat" => self.say(&input),
            "head" => match bytes {
                Some(bytes) => self.say(&input[..bytes.min(input.len())]),
                None => self.say(lines[..count.unwrap_or(10).min(lines.len())].concat()),
            },
            "tail" => match bytes {
                Some(bytes) => self.say(&input[input.len().saturating_sub(bytes)..]),
                None => self.say(lines[lines.len().saturating_sub(count.unwrap_or(10))..].concat()),
            },
            "wc" => {
                let words = String::from_utf8_lossy(&input).split_whitespace().count();
                let breaks = input.iter().filter(|byte| **byte == b'\n').count();
                let all = [('l', breaks), ('w', words), ('c', input.len())];
                let asked = all.iter().filter(|(c, _)| options.is_empty() || options.contains(*c));
                let texts: Vec<String> = asked.map(|(_, number)| number.to_string()).collect();
                self.line(&texts.join(" "));
            }
            "grep" => code = self.grep(&options, words.first().map_or("", String::as_str), &lines),
            "sort" => {
                let mut sorted: Vec<Vec<u8>> = lines.iter().map(|line| ended(line)).collect();
                sorted.sort();
                if options.contains('n') {
                    let number =
                        |line: &Vec<u8>| String::from_utf8_lossy(line).trim().parse::<i64>().unwrap_or(0);
                    sorted.sort_by_key(number);
                }
                if options.contains('r') {
                    sorted.reverse();
                }
                if options.contains('u') {
                    sorted.dedup();
                }
                self.say(sorted.concat());
            }
            "uniq" => {
                let mut kept: Vec<Vec<u8>> = lines.iter().map(|line| ended(line)).collect();
                kept.dedup();
                self.say(kept.concat());
            }
            "cut" => {
                let delimiter = delimiter.unwrap_or_else(|| "\t".to_owned());
                for line in &lines {
                    let text = String::from_utf8_lossy(line);
                    let text = text.trim_end_matches('\n');
                    let part = text.split(delimiter.as_str()).nth(field.unwrap_or(1).saturating_sub(1));
                    self.line(if text.contains(&delimiter) { part.unwrap_or_default() } else { text });
                }
            }
            "tr" => {
                let translated = translate(&input, &options, &words);
                self.say(translated);
            }
            // `tee`
            _ => {
                for name in &words {
                    if let Err(why) = self.view.write(&self.at(name), input.clone()) {
                        code = self.refuse(program, name, why);
                    }
                }
                self.say(&input);
            }
        }
        code
    }

    /// The files named, or the input; and whether a file was missing. `None`: the input is not there yet.
    fn inputs(&mut self, program: &str, names: &[&str]) -> Option<(Bytes, bool)> {
        if names.is_empty() {
            return Some((self.read_all()?, false));
        }
        let (mut all, mut failed) = (Vec::new(), false);
        for name in names {
            let bytes = match *name {
                "-" => Ok(self.read_all()?),
                name => self.view.read(&self.at(name)),
            };
            match bytes {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(why) => {
                    self.refuse(program, name, why);
                    failed = true;
                }
            }
        }
        Some((all.into(), failed))
    }

    fn grep(&mut self, options: &str, wanted: &str, lines: &[&[u8]]) -> i32 {
        let fold = |text: &str| if options.contains('i') { text.to_lowercase() } else { text.to_owned() };
        let wanted = fold(wanted);
        let (mut found, mut out) = (0, Vec::new());
        for (at, line) in lines.iter().enumerate() {
            if fold(&String::from_utf8_lossy(line)).contains(&wanted) == options.contains('v') {
                continue;
            }
            found += 1;
            if options.contains('n') {
                out.extend_from_slice(format!("{}:", at + 1).as_bytes());
            }
            out.extend_from_slice(&ended(line));
        }
        match (options.contains('q'), options.contains('c')) {
            (true, _) => {}
            (false, true) => drop(self.line(&found.to_string())),
            (false, false) => self.say(out),
        }
        i32::from(found == 0)
    }

    /// `tar cf - PATH` and `tar xf - -C PATH`: what `kubectl cp` runs.
    pub(super) fn tar(&mut self, arguments: &[&str]) -> i32 {
        let mode = arguments.first().copied().unwrap_or_default();
        let directory = arguments.iter().position(|word| *word == "-C").and_then(|at| arguments.get(at + 1));
        let from = self.at(directory.copied().unwrap_or("."));
        if mode.contains('x') {
            let Some(archive) = self.read_all() else { return 1 };
            return match self.unpack(&archive, &from) {
                Ok(()) => 0,
                Err(why) => {
                    self.complain(&format!("tar: {why}"));
                    2
                }
            };
        }
        let names = arguments[1.min(arguments.len())..]
            .iter()
            .filter(|word| !word.starts_with('-') && directory.is_none_or(|directory| *word != directory));
        let names: Vec<&str> = names.copied().collect();
        let mut archive = Vec::new();
        for name in names {
            let root = absolute(&from, name);
            let below = format!("{}/", root.trim_end_matches('/'));
            let paths: Vec<String> = self
                .view
                .paths()
                .filter(|path| *path == root || path.starts_with(&below))
                .map(str::to_owned)
                .collect();
            if paths.is_empty() {
                self.complain(&format!("tar: {name}: Cannot stat: No such file or directory"));
                return 2;
            }
            for path in paths {
                let Ok(bytes) = self.view.read(&path) else { continue };
                let inside = path.strip_prefix(&root).unwrap_or_default();
                pack(&mut archive, &format!("{}{inside}", name.trim_start_matches('/')), &bytes);
            }
        }
        archive.resize(archive.len() + 2 * BLOCK, 0);
        self.say(archive);
        0
    }

    fn unpack(&mut self, archive: &[u8], to: &str) -> Result<(), String> {
        let mut rest = archive;
        while let Some((head, after)) = rest.split_first_chunk::<BLOCK>() {
            if head.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let text = |from: usize, length: usize| -> String {
                let field = &head[from..from + length];
                String::from_utf8_lossy(field.split(|byte| *byte == 0).next().unwrap_or_default())
                    .trim()
                    .to_owned()
            };
            let length =
                usize::from_str_radix(&text(124, 12), 8).map_err(|_| "not a tar archive".to_owned())?;
            let (name, prefix) = (text(0, 100), text(345, 155));
            let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let bytes = after.get(..length).ok_or("the archive is cut off")?;
            let path = absolute(to, name.trim_start_matches('/'));
            let wrote = match head[156] {
                b'5' => self.view.make_directory(&path),
                b'0' | 0 => self
                    .view
                    .make_directory(parent(&path))
                    .and_then(|()| self.view.write(&path, Bytes::copy_from_slice(bytes))),
                _ => Ok(()),
            };
            wrote.map_err(|why| format!("{name}: {why}"))?;
            rest = after.get(length.next_multiple_of(BLOCK)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Archives come in blocks of so many bytes.
const BLOCK: usize = 512;

/// Adds a file to an archive (POSIX.1-1988, `ustar`).
fn pack(archive: &mut Vec<u8>, name: &str, bytes: &[u8]) {
    let mut head = [0u8; BLOCK];
    let mut put = |at: usize, field: &[u8]| head[at..at + field.len()].copy_from_slice(field);
    let cut = if name.len() <= 100 {
        None
    } else {
        name.char_indices().rev().find(|(at, c)| *c == '/' && *at <= 155)
    };
    let (prefix, name) = cut.map_or(("", name), |(at, _)| (&name[..at], &name[at + 1..]));
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", bytes.len()).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put(345, &prefix.as_bytes()[..prefix.len().min(155)]);
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&head);
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(BLOCK), 0);
}

/// A line that ends with a break.
fn ended(line: &[u8]) -> Vec<u8> {
    let mut line = line.to_vec();
    if line.last() != Some(&b'\n') {
        line.push(b'\n');
    }
    line
}

fn translate(input: &[u8], options: &str, sets: &[String]) -> Vec<u8> {
    let set = |at: usize| -> Vec<u8> {
        let text = sets.get(at).map_or("", String::as_str).replace("\\n", "\n").replace("[:upper:]", "A-Z");
        let text = text.replace("[:lower:]", "a-z").into_bytes();
        let mut out = Vec::new();
        let mut rest = &text[..];
        while let Some((first, after)) = rest.split_first() {
            match after {
                [b'-', last, after @ ..] if last >= first => {
                    out.extend(*first..=*last);
                    rest = after;
                }
                after => {
                    out.push(*first);
                    rest = after;
                }
            }
        }
        out
    };
    let (from, to) = (set(0), set(1));
    let kept = input.iter().filter_map(|byte| match from.iter().position(|wanted| wanted == byte) {
        Some(_) if options.contains('d') => None,
        Some(at) => Some(to.get(at).or(to.last()).copied().unwrap_or(*byte)),
        None => Some(*byte),
    });
    kept.collect()
}
