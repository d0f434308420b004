//! Functions of Jinja2 that remember something between their calls.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use minijinja::value::{
    Kwargs, Object, ObjectRepr, Rest, Value, ValueKind, ValueOrKwargs, from_args,
};
use minijinja::{Error, ErrorKind, State, functions};

use super::arguments::{bind, text};
use super::filters::invalid;

/// `joiner(sep)`: nothing when it is called for the first time, then the separator.
pub(super) fn joiner(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [separator] = bind(&args.into_values(), ["sep"])?;
    Ok(Value::from_object(Joiner {
        separator: text(separator.as_ref(), ", ")?.to_owned(),
        used: AtomicBool::new(false),
    }))
}

#[derive(Debug)]
struct Joiner {
    separator: String,
    used: AtomicBool,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let () = from_args(args)?;
        let used = self.used.swap(true, Ordering::Relaxed);
        Ok(Value::from(if used { &self.separator } else { "" }))
    }
}

/// `cycler(…)`: its values one after the other, and again.
pub(super) fn cycler(items: Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(invalid("cycler: at least one value is needed"));
    }
    Ok(Value::from_object(Cycler {
        items: items.0,
        at: AtomicUsize::new(0),
    }))
}

struct Cycler {
    items: Vec<Value>,
    at: AtomicUsize,
}

impl fmt::Debug for Cycler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("<cycler>")
    }
}

impl Object for Cycler {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = self.at.load(Ordering::Relaxed);
        (key.as_str() == Some("current")).then(|| self.items[at].clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        name: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        let at = self.at.load(Ordering::Relaxed);
        match name {
            "next" => {
                self.at
                    .store((at + 1) % self.items.len(), Ordering::Relaxed);
                Ok(self.items[at].clone())
            }
            "reset" => {
                self.at.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// `dict(…)`: of a mapping or of pairs, and of names.
pub(super) fn dict(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let given = args.into_values();
    let (first, named): (Option<&Value>, Kwargs) = from_args(&given)?;
    let first = match first {
        Some(first) if first.kind() != ValueKind::Map => {
            let pair = |pair: Value| {
                let (key, value) = (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?);
                Ok((text(Some(&key), "")?.to_owned(), value))
            };
            let pairs = first.try_iter()?.map(pair);
            let pairs: Kwargs = pairs
                .collect::<Result<Vec<_>, Error>>()?
                .into_iter()
                .collect();
            Some(functions::dict(None, pairs)?)
        }
        first => first.cloned(),
    };
    functions::dict(first, named)
}

/// `namespace(…)`: the same, to be changed by `set`.
pub(super) fn namespace(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    functions::namespace(Some(dict(args)?.into()))
}
