//! From words to trees.

use super::ast::{Complaint, Const, Entry, Expr, FieldInit, Kind, Offset};
use super::lex::{Token, WORDS, lex};
use super::macros;

/// Longer sources are refused, in characters.
const LENGTH_MAX: usize = 100_000;
/// Deeper nesting is refused.
const DEPTH_MAX: usize = 100;

/// Parses an expression and expands its macros.
pub(super) fn parse(source: &str) -> Result<Expr, Complaint> {
    if source.chars().count() > LENGTH_MAX {
        return Err(Complaint::new(0, format!("expression code point size exceeds limit: {LENGTH_MAX}")));
    }
    let mut parser = Parser { tokens: lex(source)?, at: 0, made: Maker::default(), depth: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => Ok(expr),
        _ => Err(parser.unexpected("expecting <EOF>")),
    }
}

/// Makes expressions with numbers of their own.
#[derive(Default)]
pub(super) struct Maker {
    next: u32,
}

impl Maker {
    pub(super) fn make(&mut self, at: Offset, kind: Kind) -> Expr {
        self.next += 1;
        Expr { id: self.next, at, kind }
    }

    pub(super) fn call(&mut self, at: Offset, function: &str, args: Vec<Expr>) -> Expr {
        self.make(at, Kind::Call { target: None, function: function.into(), args })
    }

    pub(super) fn ident(&mut self, at: Offset, name: &str) -> Expr {
        self.make(at, Kind::Ident(name.into()))
    }
}

struct Parser {
    tokens: Vec<(Token, Offset)>,
    at: usize,
    made: Maker,
    depth: usize,
}

/// How strongly a word binds two operands, and the function that it stands for.
fn infix(token: &Token) -> Option<(u8, &'static str)> {
    Some(match token {
        Token::Punct("||") => (1, "_||_"),
        Token::Punct("&&") => (2, "_&&_"),
        Token::Punct("<") => (3, "_<_"),
        Token::Punct("<=") => (3, "_<=_"),
        Token::Punct(">") => (3, "_>_"),
        Token::Punct(">=") => (3, "_>=_"),
        Token::Punct("==") => (3, "_==_"),
        Token::Punct("!=") => (3, "_!=_"),
        Token::Ident(word) if word == "in" => (3, "@in"),
        Token::Punct("+") => (4, "_+_"),
        Token::Punct("-") => (4, "_-_"),
        Token::Punct("*") => (5, "_*_"),
        Token::Punct("/") => (5, "_/_"),
        Token::Punct("%") => (5, "_%_"),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        &self.tokens[self.at].0
    }

    fn place(&self) -> Offset {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn take(&mut self, punct: &str) -> bool {
        let found = matches!(self.peek(), Token::Punct(p) if *p == punct);
        if found {
            self.next();
        }
        found
    }

    fn expect(&mut self, punct: &str) -> Result<(), Complaint> {
        if self.take(punct) { Ok(()) } else { Err(self.unexpected(&format!("expecting '{punct}'"))) }
    }

    fn unexpected(&self, expected: &str) -> Complaint {
        let word = match self.peek() {
            Token::End => "<EOF>".to_owned(),
            Token::Ident(word) | Token::Quoted(word) => word.clone(),
            Token::Punct(punct) => (*punct).to_owned(),
            Token::Const(_) | Token::MinInt => "literal".to_owned(),
        };
        Complaint::new(self.place(), format!("Syntax error: mismatched input '{word}' {expected}"))
    }

    fn expression(&mut self) -> Result<Expr, Complaint> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Complaint::new(
                self.place(),
                format!("expression recursion limit exceeded: {DEPTH_MAX}"),
            ));
        }
        let condition = self.binary(1)?;
        let at = self.place();
        let out = if self.take("?") {
            let yes = self.binary(1)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.made.call(at, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(out)
    }

    fn binary(&mut self, least: u8) -> Result<Expr, Complaint> {
        let mut left = self.unary()?;
        let mut chained = 0;
        while let Some((strength, function)) = infix(self.peek()).filter(|(s, _)| *s >= least) {
            let at = self.place();
            self.next();
            let right = self.binary(strength + 1)?;
            left = self.made.call(at, function, vec![left, right]);
            // A chain is as deep as it is long.
            chained += 1;
            if chained > DEPTH_MAX * 4 {
                return Err(Complaint::new(at, format!("expression recursion limit exceeded: {DEPTH_MAX}")));
            }
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, Complaint> {
        let at = self.place();
        let mut marks = 0_usize;
        for (punct, function) in [("!", "!_"), ("-", "-_")] {
            while matches!(self.peek(), Token::Punct(p) if *p == punct) {
                self.next();
                marks += 1;
            }
            if marks == 0 {
                continue;
            }
            if punct == "-" {
                let literal = match self.peek() {
                    Token::Const(Const::Int(n)) => Some(Const::Int(-n)),
                    Token::Const(Const::Double(n)) => Some(Const::Double(-n)),
                    Token::MinInt => Some(Const::Int(i64::MIN)),
                    _ => None,
                };
                if let (1, Some(literal)) = (marks, literal) {
                    self.next();
                    let operand = self.made.make(at, Kind::Const(literal));
                    return self.members(operand);
                }
            }
            let operand = self.member()?;
            // Two marks of a kind say nothing.
            return Ok(if marks.is_multiple_of(2) {
                operand
            } else {
                self.made.call(at, function, vec![operand])
            });
        }
        self.member()
    }

    fn member(&mut self) -> Result<Expr, Complaint> {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn field_name(&mut self) -> Result<String, Complaint> {
        match self.next() {
            Token::Ident(name) | Token::Quoted(name) => Ok(name),
            _ => {
                self.at -= 1;
                let place = self.place();
                let word = match self.peek() {
                    Token::Punct(p) => (*p).to_owned(),
                    Token::End => "<EOF>".into(),
                    _ => "literal".into(),
                };
                Err(Complaint::new(place, format!("Syntax error: no viable alternative at input '.{word}'")))
            }
        }
    }

    fn members(&mut self, mut operand: Expr) -> Result<Expr, Complaint> {
        let mut chained = 0;
        loop {
            chained += 1;
            let at = self.place();
            if chained > DEPTH_MAX * 2 {
                return Err(Complaint::new(at, format!("expression recursion limit exceeded: {DEPTH_MAX}")));
            }
            if self.take(".") {
                let field = self.field_name()?;
                let open = self.place();
                if self.take("(") {
                    let args = self.arguments(")")?;
                    operand = macros::member(&mut self.made, open, operand, field, args)?;
                } else {
                    operand =
                        self.made.make(at, Kind::Select { operand: Box::new(operand), field, test: false });
                }
            } else if self.take(".?") {
                let field = self.field_name()?;
                let field = self.made.make(at, Kind::Const(Const::String(field.into())));
                operand = self.made.call(at, "_?._", vec![operand, field]);
            } else if self.take("[?") {
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.made.call(at, "_[?_]", vec![operand, index]);
            } else if self.take("[") {
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.made.call(at, "_[_]", vec![operand, index]);
            } else if let (true, Some(name)) =
                (matches!(self.peek(), Token::Punct("{" | "{?")), operand.qualified())
            {
                operand = self.message(name)?;
            } else {
                return Ok(operand);
            }
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Complaint> {
        let mut out = Vec::new();
        if self.take(close) {
            return Ok(out);
        }
        loop {
            out.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                return Ok(out);
            }
        }
    }

    fn primary(&mut self) -> Result<Expr, Complaint> {
        let at = self.place();
        match self.next() {
            Token::Const(value) => Ok(self.made.make(at, Kind::Const(value))),
            Token::MinInt => Err(Complaint::new(at, "Syntax error: invalid int literal")),
            Token::Punct("(") => {
                let inner = self.expression()?;
                self.expect(")")?;
                Ok(inner)
            }
            Token::Punct("[") => self.list(at, false),
            Token::Punct("[?") => self.list(at, true),
            Token::Punct("{") => self.map(at, false),
            Token::Punct("{?") => self.map(at, true),
            Token::Punct(".") => {
                let name = self.field_name()?;
                self.named(at, name)
            }
            Token::Ident(name) => {
                if WORDS.contains(&name.as_str()) {
                    return Err(Complaint::new(at, format!("Syntax error: reserved identifier: {name}")));
                }
                self.named(at, name)
            }
            _ => {
                self.at = self.tokens.iter().position(|(_, place)| *place == at).unwrap_or(self.at);
                Err(self.unexpected("expecting an expression"))
            }
        }
    }

    fn named(&mut self, at: Offset, name: String) -> Result<Expr, Complaint> {
        let open = self.place();
        if !self.take("(") {
            return Ok(self.made.ident(at, &name));
        }
        let args = self.arguments(")")?;
        macros::global(&mut self.made, open, name, args)
    }

    fn list(&mut self, at: Offset, mut optional: bool) -> Result<Expr, Complaint> {
        let (mut items, mut optionals) = (Vec::new(), Vec::new());
        loop {
            if !optional && self.take("]") {
                break;
            }
            if optional || self.take("?") {
                optionals.push(items.len());
                optional = false;
            }
            items.push(self.expression()?);
            if !self.take(",") {
                self.expect("]")?;
                break;
            }
        }
        Ok(self.made.make(at, Kind::List(items, optionals)))
    }

    fn map(&mut self, at: Offset, mut optional: bool) -> Result<Expr, Complaint> {
        let mut entries = Vec::new();
        loop {
            if !optional && self.take("}") {
                break;
            }
            let is_optional = optional || self.take("?");
            optional = false;
            let key = self.expression()?;
            self.expect(":")?;
            let value = self.expression()?;
            entries.push(Entry { key, value, optional: is_optional });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.made.make(at, Kind::Map(entries)))
    }

    fn message(&mut self, name: String) -> Result<Expr, Complaint> {
        let at = self.place();
        let mut optional = matches!(self.next(), Token::Punct("{?"));
        let mut fields = Vec::new();
        loop {
            if !optional && self.take("}") {
                break;
            }
            let is_optional = optional || self.take("?");
            optional = false;
            let name = self.field_name()?;
            self.expect(":")?;
            let value = self.expression()?;
            fields.push(FieldInit { name, value, optional: is_optional });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(self.made.make(at, Kind::Struct { name, fields }))
    }
}
