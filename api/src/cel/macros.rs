//! Macros: what looks like a call and is a loop or a test.

use super::ast::{Complaint, Const, Expr, Fold, Kind, Offset};
use super::parse::Maker;

/// What a loop carries; no expression can name it.
pub(super) const ACCU: &str = "@result";

/// A call without a target.
pub(super) fn global(
    made: &mut Maker,
    at: Offset,
    name: String,
    mut args: Vec<Expr>,
) -> Result<Expr, Complaint> {
    if name == "has" && args.len() == 1 {
        let arg = args.remove(0);
        let place = arg.at;
        return match arg.kind {
            Kind::Select { operand, field, test: false } => {
                Ok(made.make(at, Kind::Select { operand, field, test: true }))
            }
            _ => Err(Complaint::new(place, "invalid argument to has() macro")),
        };
    }
    Ok(made.make(at, Kind::Call { target: None, function: name, args }))
}

/// A call with a target.
pub(super) fn member(
    made: &mut Maker,
    at: Offset,
    target: Expr,
    name: String,
    args: Vec<Expr>,
) -> Result<Expr, Complaint> {
    let known = matches!(
        (name.as_str(), args.len()),
        ("all" | "exists" | "exists_one" | "existsOne" | "filter" | "optMap" | "optFlatMap", 2)
            | ("all" | "exists" | "existsOne" | "exists_one", 3)
            | ("map", 2 | 3)
            | ("sortBy", 2)
            | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4)
    );
    if !known {
        return Ok(made.make(at, Kind::Call { target: Some(Box::new(target)), function: name, args }));
    }
    let two = matches!(name.as_str(), "all" | "exists" | "existsOne" | "exists_one") && args.len() == 3
        || name.starts_with("transform");
    let mut args = args.into_iter();
    let mut variable = || -> Result<String, Complaint> {
        let arg = args.next().unwrap_or_else(|| unreachable!("the number of arguments was looked at"));
        match arg.kind {
            Kind::Ident(name) if name != ACCU => Ok(name),
            _ => Err(Complaint::new(arg.at, "argument is not an identifier")),
        }
    };
    let var = variable()?;
    let var2 = if two { Some(variable()?) } else { None };
    let rest: Vec<Expr> = args.collect();
    if matches!(name.as_str(), "optMap" | "optFlatMap") {
        return Ok(optional(made, at, target, &var, rest, name == "optMap"));
    }
    if name == "sortBy" {
        return Ok(sort_by(made, at, target, var, rest));
    }
    Ok(fold(made, at, target, (var, var2), &name, rest))
}

/// `let list = target in list.@sortByAssociatedKeys(list.map(var, key))`.
fn sort_by(made: &mut Maker, at: Offset, target: Expr, var: String, rest: Vec<Expr>) -> Expr {
    const INPUT: &str = "@__sortBy_input__";
    let range = made.ident(at, INPUT);
    let keys = fold(made, at, range, (var, None), "map", rest);
    let sorted = Kind::Call {
        target: Some(Box::new(made.ident(at, INPUT))),
        function: "@sortByAssociatedKeys".into(),
        args: vec![keys],
    };
    let bind = Fold {
        range: made.make(at, Kind::List(Vec::new(), Vec::new())),
        var: "#unused".into(),
        var2: None,
        accu: INPUT.into(),
        init: target,
        condition: made.make(at, Kind::Const(Const::Bool(false))),
        step: made.ident(at, INPUT),
        result: made.make(at, sorted),
    };
    made.make(at, Kind::Fold(Box::new(bind)))
}

fn fold(
    made: &mut Maker,
    at: Offset,
    range: Expr,
    (var, var2): (String, Option<String>),
    name: &str,
    mut rest: Vec<Expr>,
) -> Expr {
    let boolean = |made: &mut Maker, value| made.make(at, Kind::Const(Const::Bool(value)));
    let accu = |made: &mut Maker| made.ident(at, ACCU);
    let last = rest.pop().unwrap_or_else(|| unreachable!("every macro has a body"));
    let filter = rest.pop();
    let (init, condition, step, result) = match name {
        "all" => {
            let init = boolean(made, true);
            let so_far = accu(made);
            let condition = made.call(at, "@not_strictly_false", vec![so_far]);
            let so_far = accu(made);
            (init, condition, made.call(at, "_&&_", vec![so_far, last]), accu(made))
        }
        "exists" => {
            let init = boolean(made, false);
            let so_far = accu(made);
            let none = made.call(at, "!_", vec![so_far]);
            let condition = made.call(at, "@not_strictly_false", vec![none]);
            let so_far = accu(made);
            (init, condition, made.call(at, "_||_", vec![so_far, last]), accu(made))
        }
        "exists_one" | "existsOne" => {
            let init = made.make(at, Kind::Const(Const::Int(0)));
            let condition = boolean(made, true);
            let one = made.make(at, Kind::Const(Const::Int(1)));
            let so_far = accu(made);
            let more = made.call(at, "_+_", vec![so_far, one]);
            let so_far = accu(made);
            let step = made.call(at, "_?_:_", vec![last, more, so_far]);
            let so_far = accu(made);
            let one = made.make(at, Kind::Const(Const::Int(1)));
            (init, condition, step, made.call(at, "_==_", vec![so_far, one]))
        }
        "transformMap" | "transformMapEntry" => {
            let init = made.make(at, Kind::Map(Vec::new()));
            let condition = boolean(made, true);
            let so_far = accu(made);
            let step = if name == "transformMap" {
                let key = made.ident(at, &var);
                made.call(at, "cel.@mapInsert", vec![so_far, key, last])
            } else {
                made.call(at, "cel.@mapInsert", vec![so_far, last])
            };
            (init, condition, filtered(made, at, filter, step), accu(made))
        }
        _ => {
            let init = made.make(at, Kind::List(Vec::new(), Vec::new()));
            let condition = boolean(made, true);
            let (filter, item) = match name {
                "filter" => (Some(last), made.ident(at, &var)),
                _ => (filter, last),
            };
            let one = made.make(at, Kind::List(vec![item], Vec::new()));
            let so_far = accu(made);
            let step = made.call(at, "_+_", vec![so_far, one]);
            (init, condition, filtered(made, at, filter, step), accu(made))
        }
    };
    let fold = Fold { range, var, var2, accu: ACCU.into(), init, condition, step, result };
    made.make(at, Kind::Fold(Box::new(fold)))
}

fn filtered(made: &mut Maker, at: Offset, filter: Option<Expr>, step: Expr) -> Expr {
    let Some(filter) = filter else { return step };
    let so_far = made.ident(at, ACCU);
    made.call(at, "_?_:_", vec![filter, step, so_far])
}

/// `target.hasValue() ? optional.of(let var = target.value() in body) : optional.none()`.
fn optional(made: &mut Maker, at: Offset, target: Expr, var: &str, mut rest: Vec<Expr>, wrap: bool) -> Expr {
    let body = rest.pop().unwrap_or_else(|| unreachable!("every macro has a body"));
    let call = |made: &mut Maker, target: &Expr, function: &str| {
        let kind = Kind::Call {
            target: Some(Box::new(target.clone())),
            function: function.into(),
            args: Vec::new(),
        };
        made.make(at, kind)
    };
    let has = call(made, &target, "hasValue");
    let init = call(made, &target, "value");
    let range = made.make(at, Kind::List(Vec::new(), Vec::new()));
    let condition = made.make(at, Kind::Const(Const::Bool(false)));
    let step = made.ident(at, var);
    let bind = Fold {
        range,
        var: "#unused".into(),
        var2: None,
        accu: var.into(),
        init,
        condition,
        step,
        result: body,
    };
    let bind = made.make(at, Kind::Fold(Box::new(bind)));
    let yes = if wrap { made.call(at, "optional.of", vec![bind]) } else { bind };
    let no = made.call(at, "optional.none", Vec::new());
    made.call(at, "_?_:_", vec![has, yes, no])
}
