//! Python's `%`, and calls of macros that take more than they name.

use minijinja::value::{Kwargs, Tuple, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, functions};

use super::printing;

/// The filter that stands for `%` where a text may be on its left.
pub(super) const REMAINDER: &str = "cortex_remainder";
/// The method by which macros are called that take whatever they are given.
pub(super) const SPREAD: &str = "cortex_spread";
/// The last two parameters of such macros.
pub(super) const REST: [&str; 2] = ["varargs", "kwargs"];

/// A text with its places filled, or what is left of a division.
pub(super) fn remainder(state: &mut State, left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        let mut args = vec![left.clone()];
        if right.kind() == ValueKind::Map && text.contains("%(") {
            let pair = |key: Value| Ok((key.to_string(), right.get_item(&key)?));
            let pairs = right.try_iter()?.map(pair);
            let pairs: Kwargs = pairs
                .collect::<Result<Vec<_>, Error>>()?
                .into_iter()
                .collect();
            args.push(pairs.into());
        } else if right.downcast_object_ref::<Tuple>().is_some() {
            args.extend(right.try_iter()?);
        } else {
            args.push(right.clone());
        }
        for arg in args.iter_mut().skip(1) {
            if let ValueKind::Seq | ValueKind::Map | ValueKind::Iterable = arg.kind()
                && !arg.is_kwargs()
            {
                *arg = Value::from(printing::text(arg)?);
            }
        }
        return state.apply_filter("format", &args);
    }
    let whole = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        _ if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    let left_right = whole(left).zip(whole(right));
    if let Some((left, right)) = left_right.filter(|&(_, right)| right != 0) {
        let rest = left.wrapping_rem(right);
        let crosses = rest != 0 && (rest < 0) != (right < 0);
        return Ok(Value::from(if crosses { rest + right } else { rest }));
    }
    let numbers = left.is_number() && right.is_number();
    let floats = f64::try_from(left.clone())
        .ok()
        .zip(f64::try_from(right.clone()).ok());
    let Some((left, right)) = floats.filter(|&(_, right)| numbers && right != 0.0) else {
        let text = format!("cannot take {} % {}", left.kind(), right.kind());
        return Err(Error::new(ErrorKind::InvalidOperation, text));
    };
    let rest = left % right;
    let crosses = rest != 0.0 && (rest < 0.0) != (right < 0.0);
    Ok(Value::from(if crosses { rest + right } else { rest }))
}

/// Call a macro whose last two parameters take what the others leave.
pub(super) fn spread(state: &mut State, called: &Value, args: &[Value]) -> Result<Value, Error> {
    let names: Vec<Value> = called.get_attr("arguments")?.try_iter()?.collect();
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    let Some(own) = names.strip_suffix(&REST) else {
        return called.call(state, args);
    };
    let (places, named): (&[Value], Kwargs) = from_args(args)?;
    let (taken, rest) = places.split_at(places.len().min(own.len()));
    let (mut passed, mut further) = (Vec::new(), Vec::new());
    for name in named.args() {
        let value = named.get::<Value>(name)?;
        let known = name == "caller" || own.contains(&name);
        (if known { &mut passed } else { &mut further }).push((name, value));
    }
    passed.push((REST[0], Value::from(Tuple::from(rest))));
    let further = further.into_iter().collect();
    passed.push((REST[1], functions::dict(None, further)?));
    let mut args = taken.to_vec();
    args.push(passed.into_iter().collect::<Kwargs>().into());
    called.call(state, &args)
}
