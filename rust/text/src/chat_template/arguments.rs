//! Arguments of filters and functions, given by place or by name as in Python.

use minijinja::value::{Kwargs, Value, from_args};
use minijinja::{Error, ErrorKind};

/// What was given for each of the names.
pub(super) fn bind<const N: usize>(
    args: &[Value],
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let (places, named): (&[Value], Kwargs) = from_args(args)?;
    if places.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut bound = [const { None }; N];
    for (place, name) in names.into_iter().enumerate() {
        let by_name = named.has(name).then(|| named.get::<Value>(name));
        bound[place] = match (places.get(place), by_name) {
            (Some(_), Some(_)) => {
                let text = format!("{name:?} is given twice");
                return Err(Error::new(ErrorKind::TooManyArguments, text));
            }
            (Some(value), None) => Some(value.clone()),
            (None, by_name) => by_name.transpose()?,
        };
    }
    named.assert_all_used()?;
    Ok(bound)
}

/// The same, all by name.
pub(super) fn named<const N: usize>(args: &[Value], names: [&str; N]) -> Result<Kwargs, Error> {
    let bound = names.into_iter().zip(bind(args, names)?);
    Ok(bound
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// Whether an argument is given and true.
pub(super) fn flag(value: Option<&Value>) -> bool {
    value.is_some_and(Value::is_true)
}

/// An argument that is a number of things, or what holds where it is not given.
pub(super) fn count(value: Option<&Value>, other: usize) -> Result<usize, Error> {
    let Some(value) = value else { return Ok(other) };
    value.as_usize().ok_or_else(|| {
        let text = format!("{value} is no number from 0 on");
        Error::new(ErrorKind::InvalidOperation, text)
    })
}

/// An argument that is a text, or what holds where it is not given.
pub(super) fn text<'a>(value: Option<&'a Value>, other: &'a str) -> Result<&'a str, Error> {
    let Some(value) = value else { return Ok(other) };
    value.as_str().ok_or_else(|| {
        let text = format!("{} where a text is wanted", value.kind());
        Error::new(ErrorKind::InvalidOperation, text)
    })
}
