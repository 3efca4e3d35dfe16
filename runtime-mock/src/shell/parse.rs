//! Reads shell scripts: words, operators, and the commands that they make.

/// A part of a word.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    /// As it stands.
    Text(String),
    /// A variable, and whether it stands in quotes.
    Variable(String, bool),
    /// What a command prints, and whether it stands in quotes.
    Output(String, bool),
}

/// A word before anything in it is replaced.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Word(pub(crate) Vec<Piece>);

impl Word {
    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    /// The word, if nothing in it is to be replaced.
    pub(crate) fn literal(&self) -> Option<&str> {
        match &self.0[..] {
            [Piece::Text(text)] => Some(text),
            [] => Some(""),
            _ => None,
        }
    }

    fn is(&self, words: &[&str]) -> bool {
        self.literal().is_some_and(|text| words.contains(&text))
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(Word),
    Op(&'static str),
}

/// Longest first, so that `&&` is not read as two `&`.
const OPERATORS: [&str; 14] =
    ["2>&1", "1>&2", ">&2", "&&", "||", ">>", "2>", ";", "|", "&", "(", ")", ">", "<"];

fn tokens(script: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = script;
    'next: while let Some(c) = rest.chars().next() {
        // A digit belongs to an operator only where no word has begun.
        let mut operators =
            OPERATORS.iter().filter(|op| word.is_none() || !op.starts_with(|c: char| c.is_ascii_digit()));
        if let Some(op) = operators.find(|op| rest.starts_with(**op)) {
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
                let word = word.get_or_insert_default();
                if let Some(escaped) = chars.next().filter(|c| *c != '\n') {
                    word.push(escaped.encode_utf8(&mut [0; 4]));
                }
                rest = chars.as_str();
                continue 'next;
            }
            '\'' => {
                let end = tail.find('\'').unwrap_or(tail.len());
                word.get_or_insert_default().push(&tail[..end]);
                rest = tail.get(end + 1..).unwrap_or("");
                continue 'next;
            }
            '"' => {
                rest = quoted(tail, word.get_or_insert_default());
                continue 'next;
            }
            '$' => {
                rest = replaced(tail, false, word.get_or_insert_default());
                continue 'next;
            }
            c => word.get_or_insert_default().push(c.encode_utf8(&mut [0; 4])),
        }
        rest = tail;
    }
    out.extend(word.map(Token::Word));
    out
}

/// Reads up to the closing quote, and answers with what follows it.
fn quoted<'a>(mut tail: &'a str, word: &mut Word) -> &'a str {
    word.push("");
    loop {
        let Some(at) = tail.find(['"', '$', '\\']) else {
            word.push(tail);
            return "";
        };
        word.push(&tail[..at]);
        let (special, after) = tail[at..].split_at(1);
        tail = match special {
            "\"" => return after,
            "$" => replaced(after, true, word),
            _ => {
                let mut chars = after.chars();
                match chars.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c.encode_utf8(&mut [0; 4])),
                    Some('\n') | None => {}
                    Some(c) => {
                        word.push("\\");
                        word.push(c.encode_utf8(&mut [0; 4]));
                    }
                }
                chars.as_str()
            }
        };
    }
}

/// Reads what stands after a `$`, and answers with what follows.
fn replaced<'a>(tail: &'a str, quoted: bool, word: &mut Word) -> &'a str {
    if let Some(inner) = tail.strip_prefix('(') {
        let mut depth = 1;
        let end = inner.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        let end = end.unwrap_or(inner.len());
        word.0.push(Piece::Output(inner[..end].to_owned(), quoted));
        return inner.get(end + 1..).unwrap_or("");
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
    word.0.push(Piece::Variable(name.to_owned(), quoted));
    rest
}

/// A command.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Words, and where output goes or input comes from.
    Simple { words: Vec<Word>, redirects: Vec<(&'static str, Word)> },
    /// Commands in parentheses or braces.
    Group(List),
    /// Runs while the condition's success is `wanted`.
    Loop { wanted: bool, condition: List, body: List },
    /// Runs once for each word.
    For { name: String, words: Vec<Word>, body: List },
    /// The first arm whose condition succeeds.
    If { arms: Vec<(List, List)>, otherwise: List },
}

/// Each command with the operator before it.
pub(crate) type List = Vec<(&'static str, Command)>;

/// Reads a script. Whatever it is, there is something that it says.
pub(crate) fn parse(script: &str) -> List {
    let tokens = tokens(script);
    Parser { tokens: &tokens, at: 0, depth: 0 }.list(&[])
}
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
        matches!(self.peek(), Some(Token::Word(word)) if word.is(words))
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
                Token::Op(">" | ">>" | "<" | "2>") => {
                    // A redirection: its target is no argument.
                    self.at += 2;
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
                Token::Word(word) if word.is(until) => break,
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

    fn command(&mut self, word: &Word) -> Command {
        match word.literal().unwrap_or_default() {
            word @ ("while" | "until") => {
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
                let mut words = self.tokens[head..self.at].iter().filter_map(|token| match token {
                    Token::Word(word) => Some(word.clone()),
                    Token::Op(_) => None,
                });
                let name = words.next().and_then(|word| word.literal().map(str::to_owned));
                // Between the variable and its values stands `in`.
                let words = words.skip(1).collect();
                self.at += 1;
                let body = self.block(&["done"]);
                Command::For { name: name.unwrap_or_default(), words, body }
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
            _ => self.simple(),
        }
    }

    fn simple(&mut self) -> Command {
        let (mut words, mut redirects) = (Vec::new(), Vec::new());
        while let Some(token) = self.peek().cloned() {
            match token {
                Token::Word(word) => {
                    words.push(word);
                    self.at += 1;
                }
                Token::Op(op @ ("2>&1" | "1>&2" | ">&2")) => {
                    redirects.push((op, Word::default()));
                    self.at += 1;
                }
                Token::Op(op @ (">" | ">>" | "<" | "2>")) => {
                    if let Some(Token::Word(target)) = self.tokens.get(self.at + 1) {
                        redirects.push((op, target.clone()));
                    }
                    self.at += 2;
                }
                Token::Op(_) => break,
            }
        }
        Command::Simple { words, redirects }
    }
}
