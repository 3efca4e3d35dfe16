//! What an expression may cost at most, before anything is known of its values but how large they may be.
//!
//! The rules are those of CEL's own estimator with Kubernetes' additions: which rules a definition may have depends on
//! the figures, so they are facts to agree with.

use std::collections::{BTreeMap, HashMap};

use super::ast::{Const, Expr, Fold, Kind};
use super::check::Checked;
use super::types::Type;
use super::{Decl, macros};

/// From least to most.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Range {
    min: u64,
    max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
/// A text's character costs a tenth.
const WALK: f64 = 0.1;
/// A character of a regular expression costs a quarter.
const PATTERN: f64 = 0.25;

impl Range {
    const fn fixed(n: u64) -> Range {
        Range { min: n, max: n }
    }

    fn plus(self, other: Range) -> Range {
        Range { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Range) -> Range {
        Range { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Range {
        let scale = |n: u64| {
            let scaled = (n as f64 * factor).ceil();
            if scaled >= u64::MAX as f64 { u64::MAX } else { scaled as u64 }
        };
        Range { min: scale(self.min), max: scale(self.max) }
    }

    fn either(self, other: Range) -> Range {
        Range { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The estimated cost of a call, and the size of its result where that is known.
struct Call {
    cost: Range,
    size: Option<Range>,
}

impl From<Range> for Call {
    fn from(cost: Range) -> Call {
        Call { cost, size: None }
    }
}

/// What is known of a local variable.
#[derive(Clone)]
struct Local {
    path: Vec<String>,
    size: Option<Range>,
    entry: Option<(Range, Range)>,
}

struct Coster<'a> {
    checked: &'a Checked,
    variables: &'a BTreeMap<&'a str, &'a Decl>,
    locals: Vec<(String, Local)>,
    paths: HashMap<u32, Vec<String>>,
    sizes: HashMap<u32, Range>,
    /// Sizes of keys and values, of lists and maps that the expression makes itself.
    entries: HashMap<u32, (Range, Range)>,
}

pub(super) fn estimate(root: &Expr, checked: &Checked, variables: &BTreeMap<&str, &Decl>) -> u64 {
    let mut coster = Coster {
        checked,
        variables,
        locals: Vec::new(),
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.expr(root).max
}

impl Coster<'_> {
    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|(n, _)| n == name).map(|(_, local)| local)
    }

    fn path(&self, expr: &Expr) -> Vec<String> {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn deeper(&self, expr: &Expr, part: &str) -> Vec<String> {
        let mut path = self.path(expr);
        path.push(part.to_owned());
        path
    }

    /// The declaration at a path.
    fn declared(&self, path: &[String]) -> Option<&Decl> {
        let (root, rest) = path.split_first()?;
        let mut decl: &Decl = self.variables.get(root.as_str())?;
        for part in rest {
            decl = match part.as_str() {
                "@items" | "@values" => decl.element.as_deref()?,
                "@keys" => decl.key.as_deref()?,
                name => decl.fields.get(name)?,
            };
        }
        Some(decl)
    }

    fn size(&self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Const(Const::String(text)) => return Some(Range::fixed(text.chars().count() as u64)),
            Kind::Const(Const::Bytes(bytes)) => return Some(Range::fixed(bytes.len() as u64)),
            Kind::Const(_) => return Some(Range::fixed(1)),
            Kind::List(items, _) => return Some(Range::fixed(items.len() as u64)),
            Kind::Map(entries) => return Some(Range::fixed(entries.len() as u64)),
            _ => {}
        }
        let path = self.path(expr);
        if let Some(size) = self.size_at(&path) {
            return Some(size);
        }
        if let Kind::Ident(name) = &expr.kind
            && let Some(size) = self.local(name).and_then(|local| local.size)
        {
            return Some(size);
        }
        self.scalar(self.checked.type_of(expr))
    }

    fn size_at(&self, path: &[String]) -> Option<Range> {
        Some(Range { min: 0, max: self.declared(path)?.most })
    }

    fn scalar(&self, ty: &Type) -> Option<Range> {
        match ty {
            Type::Optional(of) => self.scalar(of),
            Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
                Some(Range::fixed(1))
            }
            _ => None,
        }
    }

    fn size_or_unknown(&self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    fn entry(&self, expr: &Expr) -> Option<(Range, Range)> {
        if let Some(entry) = self.entries.get(&expr.id) {
            return Some(*entry);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entry),
            _ => None,
        }
    }

    fn expr(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Const(_) => Range::fixed(0),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                Range::fixed(1)
            }
            Kind::Select { operand, field, test } => {
                let mut cost = self.expr(operand);
                if *test {
                    return cost.plus(Range::fixed(1));
                }
                if matches!(
                    self.checked.type_of(operand),
                    Type::Map(_) | Type::Object(_) | Type::Param(_) | Type::Opaque("Object")
                ) {
                    cost = cost.plus(Range::fixed(1));
                }
                self.paths.insert(expr.id, self.deeper(operand, field));
                cost
            }
            Kind::List(items, _) => {
                let mut cost = Range::fixed(10);
                let mut size = Range { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for item in items {
                    cost = cost.plus(self.expr(item));
                    size = size.either(self.size_or_unknown(item));
                }
                self.entries.insert(expr.id, (Range::fixed(1), size));
                cost
            }
            Kind::Map(entries) => {
                let mut cost = Range::fixed(30);
                let none = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
                let (mut keys, mut values) = (none, none);
                for entry in entries {
                    cost = cost.plus(self.expr(&entry.key)).plus(self.expr(&entry.value));
                    keys = keys.either(self.size_or_unknown(&entry.key));
                    values = values.either(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(expr.id, (keys, values));
                cost
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::fixed(40), |cost, field| cost.plus(self.expr(&field.value)))
            }
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn push(&mut self, name: &str, path: Vec<String>, size: Option<Range>, entry: Option<(Range, Range)>) {
        self.locals.push((name.to_owned(), Local { path, size, entry }));
    }

    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let cost = self.expr(&fold.range).plus(self.expr(&fold.init));
        let (path, size, entry) = (self.path(&fold.init), self.size(&fold.init), self.entry(&fold.init));
        self.push(&fold.accu, path, size, entry);
        let cost = cost.plus(self.expr(&fold.result));
        self.locals.pop();
        if let Some(size) = self.size(&fold.result) {
            self.sizes.insert(expr.id, size);
        }
        if let Some(entry) = self.entry(&fold.result) {
            self.entries.insert(expr.id, entry);
        }
        cost
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut cost = self.expr(&fold.range).plus(self.expr(&fold.init));
        let depth = self.locals.len();
        let (path, size, entry) = (self.path(&fold.init), self.size(&fold.init), self.entry(&fold.init));
        self.push(&fold.accu, path, size, entry);
        let is_list = matches!(self.checked.type_of(&fold.range), Type::List(_));
        let entry = self.entry(&fold.range);
        let (keys, values) = (entry.map(|e| e.0), entry.map(|e| e.1));
        if let Some(var) = &fold.var2 {
            let (first, second) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
            let [a, b] = [first, second].map(|part| self.deeper(&fold.range, part));
            self.push(&fold.var, a, keys, None);
            self.push(var, b, values, None);
        } else {
            let path = self.deeper(&fold.range, if is_list { "@items" } else { "@keys" });
            self.push(&fold.var, path, if is_list { values } else { keys }, None);
        }
        let each = self.expr(&fold.condition).plus(self.expr(&fold.step));
        self.locals.truncate(depth + 1);
        cost = cost.plus(self.expr(&fold.result));
        self.locals.truncate(depth);
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::Const(_) => {
                self.sizes.insert(expr.id, Range::fixed(1));
            }
            Kind::List(..) | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(entry) = self.entry(&fold.step) {
                    self.entries.insert(expr.id, entry);
                }
            }
            _ => {}
        }
        cost.plus(count.times(each))
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Range {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.expr(arg).plus(Range::fixed(1));
            if let Some(size) = self.size(arg) {
                self.sizes.insert(expr.id, size);
            }
            if let Some(entry) = self.entry(arg) {
                self.entries.insert(expr.id, entry);
            }
            return cost;
        }
        let costs: Vec<Range> = args.iter().map(|arg| self.expr(arg)).collect();
        let of_target = target.map_or(Range::default(), |target| self.expr(target));
        let checked = self.checked;
        let overloads = checked.overloads(expr);
        if overloads.is_empty() {
            return Range::default();
        }
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let call = self.function(expr, function, overload, target, args, &costs);
            cost = cost.either(call.cost);
            size = match (size, call.size) {
                (Some(a), Some(b)) => Some(a.either(b)),
                (a, b) => a.or(b),
            };
            match (*overload, args) {
                ("index_list", [of, _]) => {
                    size = self.entry(of).map(|e| e.1);
                    self.paths.insert(expr.id, self.deeper(of, "@items"));
                }
                ("index_map", [of, _]) => {
                    size = self.entry(of).map(|e| e.1);
                    self.paths.insert(expr.id, self.deeper(of, "@values"));
                }
                _ => {}
            }
            size = size.or_else(|| self.size(expr));
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        of_target.plus(cost)
    }

    fn function(
        &mut self,
        expr: &Expr,
        function: &str,
        overload: &str,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Range],
    ) -> Call {
        let sum = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        if let Some(call) = self.library(function, overload, target, args) {
            return Call { cost: call.cost.plus(sum), size: call.size };
        }
        let size = |at: usize| args.get(at).map_or(UNKNOWN, |arg| self.size_or_unknown(arg));
        let of = target.map_or(UNKNOWN, |target| self.size_or_unknown(target));
        match overload {
            "string_format" => Call { cost: of.scaled(WALK).plus(sum), size: Some(of.plus(size(0))) },
            "string_to_bytes" => {
                let size = size(0);
                let out = Range { min: size.min, max: size.max.saturating_mul(4) };
                Call { cost: size.scaled(WALK).plus(sum), size: Some(out) }
            }
            "bytes_to_string" => {
                let size = size(0);
                let out = Range { min: size.min / 4, max: size.max };
                Call { cost: size.scaled(WALK).plus(sum), size: Some(out) }
            }
            "strings_quote" => {
                let size = size(0);
                let out = Range {
                    min: size.min.saturating_add(2),
                    max: size.max.saturating_mul(2).saturating_add(2),
                };
                Call { cost: size.scaled(WALK).plus(sum), size: Some(out) }
            }
            "starts_with_string" | "ends_with_string" => size(0).scaled(WALK).plus(sum).into(),
            "in_list" => size(1).plus(sum).into(),
            "matches_string" => {
                of.plus(Range::fixed(1)).scaled(WALK).times(size(0).scaled(PATTERN)).plus(sum).into()
            }
            "contains_string" => of.scaled(WALK).times(size(0).scaled(WALK)).plus(sum).into(),
            "logical_or" | "logical_and" => {
                Range { min: costs[0].min, max: costs[0].plus(costs[1]).max }.into()
            }
            "conditional" => {
                let out = size(1).either(size(2));
                if let (Some(a), Some(b)) = (self.entry(&args[1]), self.entry(&args[2])) {
                    self.entries.insert(expr.id, (a.0.either(b.0), a.1.either(b.1)));
                }
                Call { cost: costs[0].plus(costs[1].either(costs[2])), size: Some(out) }
            }
            "add_string" | "add_bytes" | "add_list" => {
                let out = size(0).plus(size(1));
                if let (Some(a), Some(b)) = (self.entry(&args[0]), self.entry(&args[1])) {
                    self.entries.insert(expr.id, (a.0.either(b.0), a.1.either(b.1)));
                }
                let own = if overload == "add_list" { Range::fixed(1) } else { out.scaled(WALK) };
                Call { cost: own.plus(sum), size: Some(out) }
            }
            "equals"
            | "not_equals"
            | "less_string"
            | "greater_string"
            | "less_equals_string"
            | "greater_equals_string"
            | "less_bytes"
            | "greater_bytes"
            | "less_equals_bytes"
            | "greater_equals_bytes" => {
                let max = size(0).max.min(size(1).max);
                Range { min: u64::from(max > 0), max }.scaled(WALK).plus(sum).into()
            }
            _ => Range::fixed(1).plus(sum).into(),
        }
    }

    /// The size of a list's items.
    fn item_size(&self, list: &Expr) -> Option<Range> {
        let Type::List(of) = self.checked.type_of(list) else { return None };
        if !matches!(**of, Type::String | Type::Bytes) {
            return Some(Range::fixed(1));
        }
        if let Some((_, values)) = self.entry(list) {
            return Some(values);
        }
        Some(self.size_at(&self.deeper(list, "@items")).unwrap_or(UNKNOWN))
    }

    /// What Kubernetes' own functions cost.
    fn library(&self, function: &str, overload: &str, target: Option<&Expr>, args: &[Expr]) -> Option<Call> {
        let size = |at: usize| args.get(at).map_or(UNKNOWN, |arg| self.size_or_unknown(arg));
        let of = target.map(|target| self.size_or_unknown(target));
        let one: Option<Call> = Some(Range::fixed(1).into());
        match function {
            "check" => Some(Range::fixed(350_000).into()),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
                let of = of?;
                let Some(item) = target.and_then(|target| self.item_size(target)) else {
                    return Some(of.scaled(WALK).into());
                };
                let texts = matches!(
                    target.map(|t| self.checked.type_of(t)),
                    Some(Type::List(of)) if matches!(**of, Type::String | Type::Bytes)
                );
                let each = if texts { Range::fixed(1).plus(item.scaled(WALK)) } else { Range::fixed(1) };
                Some(of.times(each).into())
            }
            "url" => Some(size(0).scaled(WALK).into()),
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                let of = of?;
                Some(Call { cost: of.scaled(WALK), size: Some(of) })
            }
            "replace" => {
                let of = of?;
                let (what, with) = (size(0), size(1));
                let max = if what.min == 0 {
                    of.max.saturating_add(1).saturating_mul(with.max).saturating_add(of.max)
                } else if with.max <= what.min {
                    of.max
                } else {
                    ((of.max as f64 / what.min as f64).ceil() as u64).saturating_mul(with.max)
                };
                let min = if what.max == 0 {
                    of.min.saturating_add(1).saturating_mul(with.min).saturating_add(of.min)
                } else if what.max <= with.min {
                    of.min
                } else {
                    ((of.min as f64 / what.max as f64).ceil() as u64).saturating_mul(with.min)
                };
                Some(Call { cost: of.scaled(2.0 * WALK), size: Some(Range { min, max }) })
            }
            "split" => {
                let of = of?;
                let max = match args.get(1).map(|a| &a.kind) {
                    Some(Kind::Const(Const::Int(n))) => u64::try_from(*n).unwrap_or(of.max),
                    _ => of.max,
                };
                Some(Call { cost: of.scaled(2.0 * WALK), size: Some(Range { min: 0, max }) })
            }
            "join" => {
                let of = of?;
                let items = target.and_then(|target| self.item_size(target)).unwrap_or_default();
                let mut out = of.times(items);
                if !args.is_empty() {
                    let between = Range { min: of.min.saturating_sub(1), max: of.max.saturating_sub(1) };
                    out = out.plus(size(0).times(between));
                }
                Some(Call { cost: out.scaled(WALK), size: Some(out) })
            }
            "find" | "findAll" => {
                let of = of?;
                let cost = of.plus(Range::fixed(1)).scaled(WALK).times(size(0).scaled(PATTERN));
                Some(Call { cost, size: Some(Range { min: 0, max: of.max }) })
            }
            "masked"
            | "prefixLength"
            | "family"
            | "isUnspecified"
            | "isLoopback"
            | "isLinkLocalMulticast"
            | "isLinkLocalUnicast" => one,
            "ip" if target.is_some() => one,
            "containsIP" | "containsCIDR" if target.is_some() => {
                let bytes = Range { min: 4, max: 16 };
                let mut cost = bytes.plus(bytes).scaled(WALK);
                if function == "containsCIDR" {
                    cost = cost.plus(bytes.scaled(WALK)).plus(Range::fixed(1));
                }
                if overload.ends_with("_string") {
                    cost = cost.plus(size(0).scaled(WALK));
                }
                Some(cost.into())
            }
            "validate" => Some(size(0).scaled(WALK).into()),
            "sets.contains" | "sets.intersects" => Some(size(0).times(size(1)).into()),
            "sets.equivalent" => Some(size(0).times(size(1)).times(Range::fixed(2)).into()),
            "serviceAccount" | "path" | "group" | "resource" | "subresource" | "namespace" | "name"
            | "allowed" | "reason" | "error" | "errored" | "sign" | "asInteger" | "isInteger"
            | "asApproximateFloat" | "isGreaterThan" | "isLessThan" | "compareTo" | "add" | "sub"
            | "major" | "minor" | "patch" => one,
            _ => None,
        }
    }
}

/// Whether a loop only names a value.
fn is_bind(fold: &Fold) -> bool {
    fold.accu != macros::ACCU && matches!(&fold.condition.kind, Kind::Const(Const::Bool(false)))
}
