//! Words of the language.

use std::sync::Arc;

use super::ast::{Complaint, Const, Offset};

/// Words of the language: none of them names anything.
pub(crate) const WORDS: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Ident(String),
    /// A field's name in backquotes.
    Quoted(String),
    Const(Const),
    /// A number that is too large for an int unless a minus precedes it.
    MinInt,
    Punct(&'static str),
    End,
}

/// Longest first.
const PUNCT: [&str; 26] = [
    "&&", "||", "<=", ">=", "==", "!=", ".?", "[?", "{?", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":",
    ".", ",", "(", ")", "[", "]", "{",
];

/// All words with their places; the last is [`Token::End`].
pub(super) fn lex(source: &str) -> Result<Vec<(Token, Offset)>, Complaint> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
            continue;
        }
        if c == '/' && chars.get(at + 1) == Some(&'/') {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
            continue;
        }
        let start = at;
        if let Some((raw, bytes, quote)) = string_start(&chars, at) {
            let token = string(&chars, &mut at, raw, bytes, quote)?;
            out.push((Token::Const(token), start));
        } else if c.is_ascii_digit() || c == '.' && chars.get(at + 1).is_some_and(char::is_ascii_digit) {
            out.push((number(&chars, &mut at)?, start));
        } else if c.is_ascii_alphabetic() || c == '_' {
            while chars.get(at).is_some_and(|c| c.is_ascii_alphanumeric() || *c == '_') {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            out.push((
                match word.as_str() {
                    "true" => Token::Const(Const::Bool(true)),
                    "false" => Token::Const(Const::Bool(false)),
                    "null" => Token::Const(Const::Null),
                    _ => Token::Ident(word),
                },
                start,
            ));
        } else if c == '`' {
            let end = (at + 1..chars.len()).find(|i| chars[*i] == '`');
            let Some(end) = end else {
                return Err(Complaint::new(at, "Syntax error: token recognition error at: '`'"));
            };
            out.push((Token::Quoted(chars[at + 1..end].iter().collect()), start));
            at = end + 1;
        } else if c == '}' {
            out.push((Token::Punct("}"), start));
            at += 1;
        } else {
            let punct =
                PUNCT.iter().find(|p| p.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c)));
            let Some(punct) = punct else {
                return Err(Complaint::new(at, format!("Syntax error: token recognition error at: '{c}'")));
            };
            // `a ? .b : c` has no optional selection in it unless the mark is followed by a name.
            at += punct.len();
            out.push((Token::Punct(punct), start));
        }
    }
    out.push((Token::End, chars.len()));
    Ok(out)
}

/// Whether a text starts here: raw, bytes, and with which quotes.
fn string_start(chars: &[char], at: usize) -> Option<(bool, bool, usize)> {
    let (mut raw, mut bytes, mut i) = (false, false, at);
    while let Some(c) = chars.get(i) {
        match c.to_ascii_lowercase() {
            'r' if !raw => raw = true,
            'b' if !bytes => bytes = true,
            '"' | '\'' => {
                let triple = chars.get(i + 1) == Some(c) && chars.get(i + 2) == Some(c);
                return Some((raw, bytes, if triple { 3 } else { 1 }));
            }
            _ => return None,
        }
        i += 1;
    }
    None
}

fn string(chars: &[char], at: &mut usize, raw: bool, bytes: bool, quotes: usize) -> Result<Const, Complaint> {
    let start = *at;
    let broken = |i: usize| {
        let rest: String = chars[start..chars.len().min(i + 1)].iter().collect();
        Complaint::new(start, format!("Syntax error: token recognition error at: '{rest}'"))
    };
    let mut i = start + usize::from(raw) + usize::from(bytes);
    let quote = chars[i];
    i += quotes;
    let mut out: Vec<u8> = Vec::new();
    let push = |out: &mut Vec<u8>, c: char| {
        let mut buffer = [0; 4];
        out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes());
    };
    loop {
        let Some(&c) = chars.get(i) else { return Err(broken(i)) };
        if c == quote && (0..quotes).all(|k| chars.get(i + k) == Some(&quote)) {
            i += quotes;
            break;
        }
        if quotes == 1 && matches!(c, '\n' | '\r') {
            return Err(broken(i));
        }
        i += 1;
        if c != '\\' || raw {
            push(&mut out, c);
            continue;
        }
        let Some(&escape) = chars.get(i) else { return Err(broken(i)) };
        i += 1;
        let digits = |from: usize, count: usize, radix: u32| -> Option<u32> {
            let text: String = chars.get(from..from + count)?.iter().collect();
            u32::from_str_radix(&text, radix).ok()
        };
        let (code, used) = match escape {
            'a' => (7, 0),
            'b' => (8, 0),
            'f' => (12, 0),
            'n' => (10, 0),
            'r' => (13, 0),
            't' => (9, 0),
            'v' => (11, 0),
            '\\' | '\'' | '"' | '`' | '?' => (u32::from(escape), 0),
            'x' | 'X' => (digits(i, 2, 16).ok_or_else(|| broken(i))?, 2),
            'u' if !bytes => (digits(i, 4, 16).ok_or_else(|| broken(i))?, 4),
            'U' if !bytes => (digits(i, 8, 16).ok_or_else(|| broken(i))?, 8),
            '0'..='3' => (digits(i - 1, 3, 8).ok_or_else(|| broken(i))?, 2),
            _ => return Err(broken(i)),
        };
        i += used;
        if bytes && used > 0 {
            out.push(u8::try_from(code).map_err(|_| broken(i))?);
        } else {
            push(&mut out, char::from_u32(code).ok_or_else(|| broken(i))?);
        }
    }
    *at = i;
    if bytes {
        return Ok(Const::Bytes(out.into()));
    }
    let text = String::from_utf8(out).map_err(|_| broken(i))?;
    Ok(Const::String(Arc::from(text)))
}

fn number(chars: &[char], at: &mut usize) -> Result<Token, Complaint> {
    let start = *at;
    let mut i = start;
    let hex = chars[i] == '0' && matches!(chars.get(i + 1), Some('x' | 'X'));
    let mut double = false;
    if hex {
        i += 2;
        while chars.get(i).is_some_and(char::is_ascii_hexdigit) {
            i += 1;
        }
    } else {
        let digits = |mut i: usize| {
            while chars.get(i).is_some_and(char::is_ascii_digit) {
                i += 1;
            }
            i
        };
        i = digits(i);
        if chars.get(i) == Some(&'.') && chars.get(i + 1).is_some_and(char::is_ascii_digit) {
            double = true;
            i = digits(i + 1);
        }
        if matches!(chars.get(i), Some('e' | 'E')) {
            let sign = usize::from(matches!(chars.get(i + 1), Some('+' | '-')));
            if chars.get(i + 1 + sign).is_some_and(char::is_ascii_digit) {
                double = true;
                i = digits(i + 1 + sign);
            }
        }
    }
    let text: String = chars[start..i].iter().collect();
    let unsigned = !double && matches!(chars.get(i), Some('u' | 'U'));
    *at = i + usize::from(unsigned);
    let (digits, radix) = if hex { (&text[2..], 16) } else { (text.as_str(), 10) };
    if double {
        return match text.parse() {
            Ok(value) => Ok(Token::Const(Const::Double(value))),
            Err(_) => Err(Complaint::new(start, "Syntax error: invalid double literal")),
        };
    }
    if unsigned {
        return u64::from_str_radix(digits, radix)
            .map(|n| Token::Const(Const::Uint(n)))
            .map_err(|_| Complaint::new(start, "Syntax error: invalid uint literal"));
    }
    match i64::from_str_radix(digits, radix) {
        Ok(value) => Ok(Token::Const(Const::Int(value))),
        Err(_) if u64::from_str_radix(digits, radix) == Ok(1 << 63) => Ok(Token::MinInt),
        Err(_) => Err(Complaint::new(start, "Syntax error: invalid int literal")),
    }
}
