//! The text form of label selectors: `a in (b,c),!d,e=f`.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::object::Name;

use super::names;
use super::selector::{InvalidSelector, Operator, Requirement, Selector, invalid, quoted};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Token {
    End,
    Identifier,
    Open,
    Close,
    Comma,
    Not,
    Operator(Operator),
}

const SYMBOLS: [(&str, Token); 10] = [
    ("==", Token::Operator(Operator::DoubleEquals)),
    ("!=", Token::Operator(Operator::NotEquals)),
    ("=", Token::Operator(Operator::Equals)),
    (">", Token::Operator(Operator::GreaterThan)),
    ("<", Token::Operator(Operator::LessThan)),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    (",", Token::Comma),
    ("\0", Token::End),
];

fn tokens(text: &str) -> Vec<(Token, &str)> {
    let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut rest = text.trim_start_matches(space);
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (token, length) = match SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            Some((symbol, token)) => (*token, symbol.len()),
            None => {
                let end = rest.find(|c| space(c) || "=!(),><\0".contains(c)).unwrap_or(rest.len());
                match &rest[..end] {
                    "in" => (Token::Operator(Operator::In), end),
                    "notin" => (Token::Operator(Operator::NotIn), end),
                    _ => (Token::Identifier, end),
                }
            }
        };
        if token == Token::End {
            break;
        }
        found.push((token, &rest[..length]));
        rest = rest[length..].trim_start_matches(space);
    }
    found
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

impl<'a> Parser<'a> {
    /// The next token, where `in` and `notin` are operators.
    fn raw(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    /// The next token, where `in` and `notin` are words like any other.
    fn peek(&self) -> (Token, &'a str) {
        match self.raw() {
            (Token::Operator(Operator::In | Operator::NotIn), text) => (Token::Identifier, text),
            token => token,
        }
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn selector(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                (Token::Identifier | Token::Not, _) => {}
                (Token::End, _) => return Ok(requirements),
                (_, text) => {
                    return Err(format!("found '{text}', expected: !, identifier, or 'end of string'"));
                }
            }
            let requirement = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
            requirements.push(requirement);
            match self.next() {
                (Token::End, _) => return Ok(requirements),
                (Token::Comma, _) => match self.peek() {
                    (Token::Identifier | Token::Not, _) => {}
                    (_, text) => return Err(format!("found '{text}', expected: identifier after ','")),
                },
                (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.next();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.next();
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        let wrong = names::label_key(key);
        if !wrong.is_empty() {
            return Err(invalid("<nil>", &quoted(key), &wrong.join("; ")));
        }
        let make = |operator, values: BTreeSet<&str>| {
            Requirement::new(key.into(), operator, values.into_iter().map(Name::from).collect())
                .map_err(|e| e.to_string())
        };
        if negated {
            return make(Operator::DoesNotExist, BTreeSet::new());
        }
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return make(Operator::Exists, BTreeSet::new());
        }
        let (token, text) = self.raw();
        self.at += 1;
        match token {
            Token::Operator(operator @ (Operator::In | Operator::NotIn)) => make(operator, self.values()?),
            Token::Operator(operator) => make(operator, self.exact_value()?),
            _ => Err(format!("found '{text}', expected: in, notin, =, ==, !=, gt, lt")),
        }
    }

    fn exact_value(&mut self) -> Result<BTreeSet<&'a str>, String> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([""]));
        }
        match self.next() {
            (Token::Identifier, text) => Ok(BTreeSet::from([text])),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }

    fn values(&mut self) -> Result<BTreeSet<&'a str>, String> {
        match self.next() {
            (Token::Open, _) => {}
            (_, text) => return Err(format!("found '{text}' expected: '('")),
        }
        match self.peek() {
            (Token::Identifier | Token::Comma, _) => {
                let values = self.list()?;
                self.at += 1;
                Ok(values)
            }
            (Token::Close, _) => {
                self.at += 1;
                Ok(BTreeSet::from([""]))
            }
            (_, text) => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    /// Up to the closing parenthesis, which is next.
    fn list(&mut self) -> Result<BTreeSet<&'a str>, String> {
        let mut values = BTreeSet::new();
        loop {
            match self.next() {
                (Token::Identifier, text) => {
                    values.insert(text);
                    match self.peek() {
                        (Token::Comma, _) => {}
                        (Token::Close, _) => return Ok(values),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if values.is_empty() {
                        values.insert("");
                    }
                    match self.peek().0 {
                        Token::Close => {
                            values.insert("");
                            return Ok(values);
                        }
                        Token::Comma => {
                            values.insert("");
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Selector, InvalidSelector> {
        let mut parser = Parser { tokens: tokens(text), at: 0 };
        parser.selector().map(Selector::new).map_err(InvalidSelector)
    }
}
