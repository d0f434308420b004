//! The header of one safetensors file: a length, then JSON, checked to describe exactly the bytes that follow.

use std::fmt;

use cortex_kernels::BlockType;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::cursor::Cursor;
use crate::error::WeightsError;
use crate::limits::{MAX_SAFETENSORS_HEADER, MAX_TENSORS};
use crate::tensors::{HeaderTensors, SkippedTensor, TensorInfo};

const LENGTH_BYTES: usize = 8;
const METADATA: &str = "__metadata__";
/// Types that no kernel decodes, with the bits of a value.
const PLAIN: [(&str, usize); 14] = [
    ("BOOL", 8),
    ("U8", 8),
    ("I8", 8),
    ("F8_E4M3", 8),
    ("F8_E5M2", 8),
    ("F8_E8M0", 8),
    ("U16", 16),
    ("I16", 16),
    ("U32", 32),
    ("I32", 32),
    ("U64", 64),
    ("I64", 64),
    ("F64", 64),
    ("C64", 64),
];

/// Parses `bytes`, the whole file. Every tensor of the result lies inside the file.
pub(crate) fn parse(bytes: &[u8]) -> Result<HeaderTensors, WeightsError> {
    let mut cursor = Cursor::new(bytes);
    let length = cursor.u64("the length of the header")?;
    if length > MAX_SAFETENSORS_HEADER {
        return Err(WeightsError::OverLimit {
            what: "the length of the header".to_owned(),
            value: length,
            limit: MAX_SAFETENSORS_HEADER,
        });
    }
    let text = cursor.take(length, "the header")?;
    let entries: Entries = serde_json::from_slice(text).map_err(|error| {
        WeightsError::Malformed(format!("the header is no valid JSON of tensors: {error}"))
    })?;
    place(entries.0, LENGTH_BYTES + text.len(), bytes.len())
}

/// Puts the tensors into the file: in order, without a gap or an overlap, to the last byte.
fn place(
    mut entries: Vec<(String, Entry)>,
    start: usize,
    file_bytes: usize,
) -> Result<HeaderTensors, WeightsError> {
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = HeaderTensors::default();
    let mut at = 0;
    for (name, entry) in entries {
        let (begin, end) = entry.data_offsets;
        if begin != at || end < begin {
            return Err(WeightsError::Malformed(format!(
                "tensor {name:?} lies at bytes {begin} to {end}, but the tensor before it ends at {at}"
            )));
        }
        let (ty, needed) = entry.size(&name)?;
        if needed != end - begin {
            return Err(WeightsError::Malformed(format!(
                "tensor {name:?} of shape {:?} and type {} needs {needed} bytes, the header gives it {}",
                entry.shape,
                entry.dtype,
                end - begin
            )));
        }
        let offset = start.checked_add(begin).filter(|offset| {
            offset
                .checked_add(needed)
                .is_some_and(|end| end <= file_bytes)
        });
        let Some(offset) = offset else {
            return Err(WeightsError::Truncated {
                what: format!("tensor {name:?}"),
                offset: start.saturating_add(begin),
                needed: needed as u64,
                available: file_bytes.saturating_sub(start).saturating_sub(begin),
            });
        };
        at = end;
        tensors.push_plain(name, entry, ty, offset, needed);
    }
    match file_bytes.checked_sub(start) {
        Some(data) if data == at => Ok(tensors),
        data => Err(WeightsError::Malformed(format!(
            "{} bytes of data follow the header, its tensors take {at}",
            data.unwrap_or(0)
        ))),
    }
}

impl HeaderTensors {
    fn push_plain(
        &mut self,
        name: String,
        entry: Entry,
        ty: Option<BlockType>,
        offset: usize,
        bytes: usize,
    ) {
        match ty {
            Some(ty) => self.tensors.push(TensorInfo {
                name,
                ty,
                shape: entry.shape,
                offset,
                bytes,
                part: 0,
            }),
            None => self.skipped.push(SkippedTensor {
                name,
                ty: entry.dtype,
                shape: entry.shape,
                offset,
                bytes,
                part: 0,
            }),
        }
    }
}

/// One tensor as the header lists it; offsets count from the end of the header.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl Entry {
    /// The kernel's type, if there is one, and the bytes that type and shape take.
    fn size(&self, name: &str) -> Result<(Option<BlockType>, usize), WeightsError> {
        let overflow = || WeightsError::Overflow {
            what: format!("tensor {name:?} with shape {:?}", self.shape),
        };
        let (ty, bits) = match self.dtype.as_str() {
            "F32" => (Some(BlockType::F32), 32),
            "F16" => (Some(BlockType::F16), 16),
            "BF16" => (Some(BlockType::BF16), 16),
            other => match PLAIN.iter().find(|(known, _)| *known == other) {
                Some((_, bits)) => (None, *bits),
                None => {
                    return Err(WeightsError::UnsupportedType {
                        tensor: name.to_owned(),
                        ty: format!("{other:?}"),
                    });
                }
            },
        };
        let values = self
            .shape
            .iter()
            .try_fold(1_usize, |product, &dimension| {
                product.checked_mul(dimension)
            })
            .ok_or_else(overflow)?;
        let bytes = values.checked_mul(bits / 8).ok_or_else(overflow)?;
        Ok((ty, bytes))
    }
}

/// The header's object. Read by hand because a JSON map silently drops a name that occurs twice.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if entries.len() as u64 >= MAX_TENSORS {
                return Err(serde::de::Error::custom(format!(
                    "more than {MAX_TENSORS} tensors"
                )));
            }
            entries.push((name, map.next_value::<Entry>()?));
        }
        Ok(Entries(entries))
    }
}
