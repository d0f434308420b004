//! GGUF metadata: typed values, kept as places in the file so that a lying count costs no memory.

use std::collections::HashMap;
use std::ops::Range;

use crate::cursor::Cursor;
use crate::error::WeightsError;
use crate::limits::{MAX_ARRAY, MAX_KEY_BYTES, MAX_STRING_BYTES};

/// The value types of GGUF, by their number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

const KINDS: [Kind; 13] = [
    Kind::U8,
    Kind::I8,
    Kind::U16,
    Kind::I16,
    Kind::U32,
    Kind::I32,
    Kind::F32,
    Kind::Bool,
    Kind::Text,
    Kind::Array,
    Kind::U64,
    Kind::I64,
    Kind::F64,
];

impl Kind {
    fn read(cursor: &mut Cursor, key: &str) -> Result<Self, WeightsError> {
        let id = cursor.u32(&format!("the type of metadata key {key:?}"))?;
        KINDS.get(id as usize).copied().ok_or_else(|| {
            WeightsError::Malformed(format!("metadata key {key:?} has the unknown type {id}"))
        })
    }

    /// Bytes of one value, or the least that one takes.
    fn width(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::Text | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Array => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 | Self::I8 | Self::U16 | Self::I16 => "a small integer",
            Self::U32 | Self::I32 | Self::U64 | Self::I64 => "an integer",
            Self::F32 | Self::F64 => "a float",
            Self::Bool => "a boolean",
            Self::Text => "a string",
            Self::Array => "an array",
        }
    }
}

/// A scalar as read; integers keep their full range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar {
    Integer(i128),
    Float(f64),
    Bool(bool),
}

#[derive(Debug, Clone)]
enum Value {
    Scalar(Scalar),
    Text(Range<usize>),
    Array {
        kind: Kind,
        count: usize,
        place: Range<usize>,
    },
}

/// All metadata of one file. The getters take the file's bytes, in which strings and arrays lie.
#[derive(Debug, Default)]
pub(crate) struct Metadata {
    values: HashMap<String, Value>,
}

impl Metadata {
    /// Reads `count` entries.
    pub fn read(cursor: &mut Cursor, count: u64) -> Result<Self, WeightsError> {
        let mut values = HashMap::new();
        for index in 0..count {
            let key = cursor.text(&format!("metadata key {index}"), MAX_KEY_BYTES)?;
            if key.is_empty() {
                return Err(WeightsError::Malformed(format!(
                    "metadata key {index} is empty"
                )));
            }
            let value = Value::read(cursor, key)?;
            if values.insert(key.to_owned(), value).is_some() {
                return Err(WeightsError::Duplicate {
                    what: "metadata key",
                    name: key.to_owned(),
                });
            }
        }
        Ok(Self { values })
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn integer<T: TryFrom<i128>>(&self, key: &str) -> Result<Option<T>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar(Scalar::Integer(value))) => fit(key, *value).map(Some),
            Some(other) => Err(wrong_type(key, "an integer", other)),
        }
    }

    pub fn float(&self, key: &str) -> Result<Option<f32>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar(Scalar::Float(value))) => Ok(Some(*value as f32)),
            Some(other) => Err(wrong_type(key, "a float", other)),
        }
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Scalar(Scalar::Bool(value))) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "a boolean", other)),
        }
    }

    pub fn text<'a>(&self, bytes: &'a [u8], key: &str) -> Result<Option<&'a str>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Text(place)) => utf8(slice(bytes, place), key).map(Some),
            Some(other) => Err(wrong_type(key, "a string", other)),
        }
    }

    /// Whether `key` is an array (some keys are a number in one model and one number a layer in another).
    pub fn is_array(&self, key: &str) -> bool {
        matches!(self.values.get(key), Some(Value::Array { .. }))
    }

    pub fn texts(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<String>>, WeightsError> {
        let Some((kind, count, place)) = self.array(key)? else {
            return Ok(None);
        };
        if kind != Kind::Text {
            return Err(wrong_array(key, "strings", kind));
        }
        let mut cursor = Cursor::new(slice(bytes, place));
        let mut texts = Vec::with_capacity(count);
        for index in 0..count {
            let text = cursor.string(key, u64::MAX)?;
            texts.push(utf8(text, &format!("{key}[{index}]"))?.to_owned());
        }
        Ok(Some(texts))
    }

    pub fn integers<T: TryFrom<i128>>(
        &self,
        bytes: &[u8],
        key: &str,
    ) -> Result<Option<Vec<T>>, WeightsError> {
        self.scalars(bytes, key, "integers", |value| match value {
            Scalar::Integer(value) => Some(fit(key, value)),
            _ => None,
        })
    }

    pub fn floats(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<f32>>, WeightsError> {
        self.scalars(bytes, key, "floats", |value| match value {
            Scalar::Float(value) => Some(Ok(value as f32)),
            _ => None,
        })
    }

    pub fn booleans(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<bool>>, WeightsError> {
        self.scalars(bytes, key, "booleans", |value| match value {
            Scalar::Bool(value) => Some(Ok(value)),
            _ => None,
        })
    }

    fn scalars<T>(
        &self,
        bytes: &[u8],
        key: &str,
        expected: &'static str,
        convert: impl Fn(Scalar) -> Option<Result<T, WeightsError>>,
    ) -> Result<Option<Vec<T>>, WeightsError> {
        let Some((kind, count, place)) = self.array(key)? else {
            return Ok(None);
        };
        let mut cursor = Cursor::new(slice(bytes, place));
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            let converted = read_scalar(&mut cursor, kind, key)?.and_then(&convert);
            values.push(converted.ok_or_else(|| wrong_array(key, expected, kind))??);
        }
        Ok(Some(values))
    }

    fn array(&self, key: &str) -> Result<Option<ArrayPlace<'_>>, WeightsError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::Array { kind, count, place }) => Ok(Some((*kind, *count, place))),
            Some(other) => Err(wrong_type(key, "an array", other)),
        }
    }
}

/// An array's kind, its length, and where its elements lie.
type ArrayPlace<'a> = (Kind, usize, &'a Range<usize>);

impl Value {
    fn read(cursor: &mut Cursor, key: &str) -> Result<Self, WeightsError> {
        let kind = Kind::read(cursor, key)?;
        match kind {
            Kind::Text => {
                let text = cursor.string(&format!("metadata key {key:?}"), MAX_STRING_BYTES)?;
                let end = cursor.position();
                utf8(text, key)?;
                Ok(Self::Text(end - text.len()..end))
            }
            Kind::Array => Self::read_array(cursor, key),
            scalar => match read_scalar(cursor, scalar, key)? {
                Some(value) => Ok(Self::Scalar(value)),
                None => Err(WeightsError::Malformed(format!(
                    "metadata key {key:?} has no value"
                ))),
            },
        }
    }

    /// Walks the array once so that later reads cannot fail on sizes; keeps only its place.
    fn read_array(cursor: &mut Cursor, key: &str) -> Result<Self, WeightsError> {
        let kind = Kind::read(cursor, key)?;
        let what = format!("array {key:?}");
        let count = cursor.u64(&what)?;
        if kind == Kind::Array {
            return Err(WeightsError::Unsupported(format!(
                "metadata key {key:?} is an array of arrays"
            )));
        }
        if count > MAX_ARRAY {
            return Err(WeightsError::OverLimit {
                what: format!("the length of {what}"),
                value: count,
                limit: MAX_ARRAY,
            });
        }
        cursor.check_room(count, kind.width(), &what)?;
        let start = cursor.position();
        match kind {
            Kind::Text => {
                for _ in 0..count {
                    cursor.string(&what, u64::MAX)?;
                }
            }
            Kind::Bool => {
                for _ in 0..count {
                    read_scalar(cursor, kind, key)?;
                }
            }
            _ => {
                cursor.take(count.saturating_mul(kind.width()), &what)?;
            }
        }
        Ok(Self::Array {
            kind,
            count: count as usize,
            place: start..cursor.position(),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Scalar(Scalar::Integer(_)) => "an integer",
            Self::Scalar(Scalar::Float(_)) => "a float",
            Self::Scalar(Scalar::Bool(_)) => "a boolean",
            Self::Text(_) => "a string",
            Self::Array { .. } => "an array",
        }
    }
}

/// One scalar; None for kinds that are none.
fn read_scalar(cursor: &mut Cursor, kind: Kind, key: &str) -> Result<Option<Scalar>, WeightsError> {
    Ok(Some(match kind {
        Kind::U8 => Scalar::Integer(i128::from(cursor.u8(key)?)),
        Kind::I8 => Scalar::Integer(i128::from(i8::from_le_bytes(cursor.array(key)?))),
        Kind::U16 => Scalar::Integer(i128::from(u16::from_le_bytes(cursor.array(key)?))),
        Kind::I16 => Scalar::Integer(i128::from(i16::from_le_bytes(cursor.array(key)?))),
        Kind::U32 => Scalar::Integer(i128::from(cursor.u32(key)?)),
        Kind::I32 => Scalar::Integer(i128::from(i32::from_le_bytes(cursor.array(key)?))),
        Kind::U64 => Scalar::Integer(i128::from(cursor.u64(key)?)),
        Kind::I64 => Scalar::Integer(i128::from(i64::from_le_bytes(cursor.array(key)?))),
        Kind::F32 => Scalar::Float(f64::from(f32::from_le_bytes(cursor.array(key)?))),
        Kind::F64 => Scalar::Float(f64::from_le_bytes(cursor.array(key)?)),
        Kind::Bool => match cursor.u8(key)? {
            0 => Scalar::Bool(false),
            1 => Scalar::Bool(true),
            other => {
                return Err(WeightsError::OutOfRange {
                    key: key.to_owned(),
                    value: format!("{other}, a boolean is 0 or 1"),
                });
            }
        },
        Kind::Text | Kind::Array => return Ok(None),
    }))
}

fn fit<T: TryFrom<i128>>(key: &str, value: i128) -> Result<T, WeightsError> {
    T::try_from(value).map_err(|_| WeightsError::OutOfRange {
        key: key.to_owned(),
        value: value.to_string(),
    })
}

fn slice<'a>(bytes: &'a [u8], place: &Range<usize>) -> &'a [u8] {
    bytes.get(place.clone()).unwrap_or_default()
}

fn utf8<'a>(bytes: &'a [u8], key: &str) -> Result<&'a str, WeightsError> {
    std::str::from_utf8(bytes).map_err(|_| WeightsError::NotUtf8 {
        what: format!("metadata key {key:?}"),
    })
}

fn wrong_type(key: &str, expected: &'static str, found: &Value) -> WeightsError {
    WeightsError::WrongType {
        key: key.to_owned(),
        expected,
        found: found.name().to_owned(),
    }
}

fn wrong_array(key: &str, expected: &'static str, found: Kind) -> WeightsError {
    WeightsError::WrongType {
        key: key.to_owned(),
        expected,
        found: format!("an array whose elements are each {}", found.name()),
    }
}
