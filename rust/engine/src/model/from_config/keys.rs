//! Typed look-ups in a `config.json`, with errors that name the key.

use serde_json::Value;

use super::super::description::invalid;
use super::super::family::Family;
use crate::EngineError;

/// A configuration, or a part of one, and the family whose defaults hold.
#[derive(Clone, Copy)]
pub(super) struct Config<'a> {
    pub value: &'a Value,
    pub family: &'a Family,
}

impl<'a> Config<'a> {
    /// The same family's part under a key; it may be null.
    pub fn part(self, key: &str) -> Self {
        Self {
            value: &self.value[key],
            ..self
        }
    }

    pub fn optional_text(&self, key: &str) -> Result<Option<&'a str>, EngineError> {
        let value = &self.value[key];
        if value.is_null() {
            return Ok(None);
        }
        let text = value.as_str();
        text.map(Some)
            .ok_or_else(|| invalid(format!("config.json: {key} is not text")))
    }

    /// Whole numbers; a key that is null is none, one that is left out is the family's default.
    pub fn optional_size(&self, key: &str) -> Result<Option<usize>, EngineError> {
        match self.value.get(key) {
            Some(Value::Null) => Ok(None),
            Some(value) => size(key, value).map(Some),
            None => Ok(self.family.default(key).map(|value| value as usize)),
        }
    }

    pub fn size(&self, key: &str) -> Result<usize, EngineError> {
        self.optional_size(key)?.ok_or_else(|| missing(key))
    }

    /// A number, as for `optional_size`.
    pub fn number(&self, key: &str) -> Result<Option<f32>, EngineError> {
        match self.value.get(key) {
            Some(Value::Null) => Ok(None),
            Some(value) => number(key, value).map(Some),
            None => Ok(self.family.default(key).map(|value| value as f32)),
        }
    }

    pub fn needed(&self, key: &str) -> Result<f32, EngineError> {
        self.number(key)?.ok_or_else(|| missing(key))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, EngineError> {
        let value = &self.value[key];
        if value.is_null() {
            return Ok(None);
        }
        let flag = value.as_bool();
        flag.map(Some)
            .ok_or_else(|| invalid(format!("config.json: {key} is not true or false")))
    }

    /// A list, each entry read by `read`.
    pub fn list<T>(
        &self,
        key: &str,
        read: impl Fn(&str, &'a Value) -> Result<T, EngineError>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        let value = &self.value[key];
        if value.is_null() {
            return Ok(None);
        }
        let entries = value
            .as_array()
            .ok_or_else(|| invalid(format!("config.json: {key} is not a list")))?;
        let entries = entries.iter().map(|entry| read(key, entry));
        entries.collect::<Result<_, _>>().map(Some)
    }

    /// The same with one entry a layer.
    pub fn layered<T>(
        &self,
        key: &str,
        layers: usize,
        read: impl Fn(&str, &'a Value) -> Result<T, EngineError>,
    ) -> Result<Option<Vec<T>>, EngineError> {
        let list = self.list(key, read)?;
        match &list {
            Some(entries) if entries.len() != layers => Err(invalid(format!(
                "config.json: {key} has {} entries for {layers} layers",
                entries.len()
            ))),
            _ => Ok(list),
        }
    }
}

/// A whole number.
pub(super) fn size(key: &str, value: &Value) -> Result<usize, EngineError> {
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
    size.ok_or_else(|| invalid(format!("config.json: {key} is not a whole number")))
}

/// A number.
pub(super) fn number(key: &str, value: &Value) -> Result<f32, EngineError> {
    let number = value.as_f64().map(|number| number as f32);
    number.ok_or_else(|| invalid(format!("config.json: {key} is not a number")))
}

pub(super) fn missing(key: &str) -> EngineError {
    invalid(format!("config.json: {key} is missing"))
}
