//! Regular expressions as Go's `regexp` reads them.
//!
//! The syntaxes are siblings. Where they differ the text is rewritten: Go's classes `\d`, `\s`, `\w` and the boundary
//! `\b` know ASCII alone, a brace that opens no repetition stands for itself, and a class has no sets within it.

use regex::{Regex, RegexBuilder};

/// Expressions that would need more memory than this are refused, bytes.
const SIZE_MAX: usize = 4 << 20;
/// As often may a part be repeated, as in Go.
const REPEAT_MAX: u32 = 1000;

/// A compiled expression; one that does not compile matches nothing.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    source: String,
    compiled: Option<Regex>,
}

impl Pattern {
    pub(crate) fn new(source: &str) -> Pattern {
        Pattern { source: source.into(), compiled: compile(source).ok() }
    }

    /// The expression as it was written.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.compiled.as_ref().is_some_and(|r| r.is_match(text))
    }
}

/// Compiles an expression of Go's.
///
/// # Errors
/// Where it is none, with the reason.
pub(crate) fn compile(source: &str) -> Result<Regex, String> {
    let text = rewritten(source)?;
    RegexBuilder::new(&text).size_limit(SIZE_MAX).build().map_err(|e| match e {
        regex::Error::Syntax(why) => why.lines().last().unwrap_or_default().to_owned(),
        other => other.to_string(),
    })
}

/// The class that a letter behind a backslash stands for, without brackets.
fn ascii_class(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "0-9",
        's' => r"\t\n\x0C\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    })
}

fn rewritten(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() + 8);
    let mut chars = source.chars().peekable();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                None => return Err("trailing backslash at end of expression".into()),
                Some('Q') => {
                    let rest: String = chars.by_ref().collect();
                    let (literal, after) = rest.split_once("\\E").unwrap_or((&rest, ""));
                    out.push_str(&regex::escape(literal));
                    out.push_str(&rewritten(after)?);
                    return Ok(out);
                }
                Some(letter @ ('d' | 's' | 'w')) => {
                    let class = ascii_class(letter).unwrap_or_default();
                    out.push_str(&if in_class { class.to_owned() } else { format!("[{class}]") });
                }
                Some(letter @ ('D' | 'S' | 'W')) => {
                    let class = ascii_class(letter.to_ascii_lowercase()).unwrap_or_default();
                    out.push_str(&format!("[^{class}]"));
                }
                Some(letter @ ('b' | 'B')) if !in_class => out.push_str(&format!("(?-u:\\{letter})")),
                Some('Z') => return Err("invalid escape sequence: `\\Z`".into()),
                Some('C') => out.push_str("(?s:.)"),
                // Quotes and slashes need no backslash, and Rust's engine allows none.
                Some(
                    mark @ ('"' | '\'' | '/' | '`' | '_' | ',' | ';' | ':' | '=' | '!' | '@' | '%' | '<'
                    | '>'),
                ) => {
                    out.push(mark);
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                }
            },
            '[' if in_class => {
                if chars.peek() == Some(&':') {
                    out.push('[')
                } else {
                    out.push_str("\\[")
                }
                // A named class closes with its own bracket.
                if chars.peek() == Some(&':') {
                    for inner in chars.by_ref() {
                        out.push(inner);
                        if inner == ']' {
                            break;
                        }
                    }
                }
            }
            '[' => {
                in_class = true;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    out.push('^');
                    chars.next();
                }
                if chars.peek() == Some(&']') {
                    out.push_str("\\]");
                    chars.next();
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && chars.peek() == Some(&'-') => out.push_str("\\-"),
            '{' if !in_class => {
                let rest: String = chars.clone().take_while(|c| *c != '}').collect();
                match repetition(&rest) {
                    Some(most) if most > REPEAT_MAX => {
                        return Err(format!("invalid repeat count: `{{{rest}}}`"));
                    }
                    Some(_) if chars.clone().any(|c| c == '}') => out.push('{'),
                    _ => out.push_str("\\{"),
                }
            }
            '}' if !in_class => {
                // Closes a repetition, or stands for itself.
                let open = out.rfind('{').is_some_and(|at| {
                    !out[..at].ends_with('\\') && repetition(&out[at + 1..]).is_some()
                        || out[..at].ends_with("\\p")
                        || out[..at].ends_with("\\P")
                        || out[..at].ends_with("\\x")
                });
                out.push_str(if open { "}" } else { "\\}" });
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// The most that `2`, `2,` or `2,5` asks for.
fn repetition(text: &str) -> Option<u32> {
    let number =
        |t: &str| t.bytes().all(|b| b.is_ascii_digit()).then(|| t.parse::<u32>().unwrap_or(u32::MAX));
    let (least, most) = text.split_once(',').unwrap_or((text, text));
    if least.is_empty() {
        return None;
    }
    let least = number(least)?;
    if most.is_empty() { Some(least) } else { number(most).map(|most| most.max(least)) }
}
