//! The header of one GGUF file: magic, counts, metadata, tensor list, and the checks that tie them to the file.

use cortex_kernels::BlockType;

use crate::cursor::Cursor;
use crate::error::WeightsError;
use crate::gguf::metadata::Metadata;
use crate::limits::{MAX_ALIGNMENT, MAX_DIMENSIONS, MAX_METADATA, MAX_NAME_BYTES, MAX_TENSORS};
use crate::tensors::{HeaderTensors, SkippedTensor, TensorInfo, duplicate};

const MAGIC: [u8; 4] = *b"GGUF";
const DEFAULT_ALIGNMENT: u32 = 32;
/// Least bytes of a metadata entry (empty key, type, one byte) and of a tensor entry (empty name, one dimension).
const LEAST_METADATA: u64 = 13;
const LEAST_TENSOR: u64 = 32;
/// Plain types that no kernel decodes, with their size: id, name, bytes of a value.
const PLAIN: [(u32, &str, u64); 5] = [
    (24, "I8", 1),
    (25, "I16", 2),
    (26, "I32", 4),
    (27, "I64", 8),
    (28, "F64", 8),
];

/// A parsed and checked header.
#[derive(Debug)]
pub(crate) struct Header {
    pub version: u32,
    pub alignment: u32,
    pub metadata: Metadata,
    pub tensors: HeaderTensors,
}

impl Header {
    /// Parses `bytes`, the whole file. Every tensor of the result lies inside the file.
    pub fn parse(bytes: &[u8]) -> Result<Self, WeightsError> {
        let mut cursor = Cursor::new(bytes);
        let version = read_version(&mut cursor)?;
        let tensor_count = read_count(&mut cursor, "the number of tensors", MAX_TENSORS)?;
        let metadata_count =
            read_count(&mut cursor, "the number of metadata entries", MAX_METADATA)?;
        cursor.check_room(metadata_count, LEAST_METADATA, "the metadata")?;
        let metadata = Metadata::read(&mut cursor, metadata_count)?;
        let alignment = read_alignment(&metadata)?;
        cursor.check_room(tensor_count, LEAST_TENSOR, "the list of tensors")?;
        let mut entries = Vec::new();
        for index in 0..tensor_count {
            entries.push(Entry::read(&mut cursor, index)?);
        }
        let tensors = place(entries, &cursor, bytes.len(), alignment)?;
        Ok(Self {
            version,
            alignment,
            metadata,
            tensors,
        })
    }
}

fn read_version(cursor: &mut Cursor) -> Result<u32, WeightsError> {
    let magic = cursor.array::<4>("the magic number")?;
    if magic != MAGIC {
        return Err(WeightsError::BadMagic {
            found: magic.to_vec(),
        });
    }
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        version if matches!(version.swap_bytes(), 1..=3) => Err(WeightsError::BigEndian),
        version => Err(WeightsError::UnsupportedVersion(version)),
    }
}

fn read_count(cursor: &mut Cursor, what: &str, limit: u64) -> Result<u64, WeightsError> {
    let value = cursor.u64(what)?;
    if value > limit {
        return Err(WeightsError::OverLimit {
            what: what.to_owned(),
            value,
            limit,
        });
    }
    Ok(value)
}

fn read_alignment(metadata: &Metadata) -> Result<u32, WeightsError> {
    let key = "general.alignment";
    let alignment = metadata.integer::<u32>(key)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(WeightsError::OutOfRange {
            key: key.to_owned(),
            value: format!("{alignment}, a power of two from 8 to {MAX_ALIGNMENT} is needed"),
        });
    }
    Ok(alignment)
}

/// A tensor as listed: its place is still relative to the data section.
struct Entry {
    name: String,
    shape: Vec<usize>,
    ty: Type,
    bytes: usize,
    offset: u64,
}

enum Type {
    Decodable(BlockType),
    Plain(&'static str),
}

impl Entry {
    fn read(cursor: &mut Cursor, index: u64) -> Result<Self, WeightsError> {
        let name = cursor
            .text(&format!("the name of tensor {index}"), MAX_NAME_BYTES)?
            .to_owned();
        if name.is_empty() {
            return Err(WeightsError::Malformed(format!(
                "tensor {index} has no name"
            )));
        }
        let shape = read_shape(cursor, &name)?;
        let id = cursor.u32(&format!("the type of tensor {name:?}"))?;
        let (ty, bytes) = size(&name, id, &shape)?;
        let offset = cursor.u64(&format!("the offset of tensor {name:?}"))?;
        Ok(Self {
            name,
            shape,
            ty,
            bytes,
            offset,
        })
    }
}

/// The dimensions, turned to row-major order (the file has the contiguous one first).
fn read_shape(cursor: &mut Cursor, name: &str) -> Result<Vec<usize>, WeightsError> {
    let count = cursor.u32(&format!("the dimensions of tensor {name:?}"))? as usize;
    if count == 0 || count > MAX_DIMENSIONS {
        return Err(WeightsError::Malformed(format!(
            "tensor {name:?} has {count} dimensions, from 1 to {MAX_DIMENSIONS} are possible"
        )));
    }
    let mut shape = Vec::with_capacity(count);
    for _ in 0..count {
        let dimension = cursor.u64(&format!("the shape of tensor {name:?}"))?;
        // GGUF counts are signed in most programs, so nothing valid is above that range.
        match usize::try_from(dimension) {
            Ok(dimension) if dimension > 0 && i64::try_from(dimension).is_ok() => {
                shape.push(dimension);
            }
            _ => {
                return Err(WeightsError::Malformed(format!(
                    "tensor {name:?} has an impossible dimension of {dimension}"
                )));
            }
        }
    }
    shape.reverse();
    Ok(shape)
}

/// The type of a tensor and the bytes it takes, from its shape.
fn size(name: &str, id: u32, shape: &[usize]) -> Result<(Type, usize), WeightsError> {
    let overflow = || WeightsError::Overflow {
        what: format!("tensor {name:?} with shape {shape:?}"),
    };
    let values = shape
        .iter()
        .try_fold(1_usize, |product, &dimension| {
            product.checked_mul(dimension)
        })
        .filter(|&values| i64::try_from(values).is_ok())
        .ok_or_else(overflow)?;
    if let Some(ty) = BlockType::from_ggml(id) {
        let cols = shape.last().copied().unwrap_or(1);
        if cols % ty.block_len() != 0 {
            return Err(WeightsError::Malformed(format!(
                "tensor {name:?} of type {} has rows of {cols} values, not a multiple of {}",
                ty.name(),
                ty.block_len()
            )));
        }
        let bytes = ty.bytes_for(values).ok_or_else(overflow)?;
        return Ok((Type::Decodable(ty), bytes));
    }
    let Some((_, ty, width)) = PLAIN.iter().find(|(known, _, _)| *known == id) else {
        return Err(WeightsError::UnsupportedType {
            tensor: name.to_owned(),
            ty: format!("number {id}"),
        });
    };
    let bytes = values.checked_mul(*width as usize).ok_or_else(overflow)?;
    Ok((Type::Plain(ty), bytes))
}

/// Puts the tensors into the file: aligned, inside, without overlap.
fn place(
    entries: Vec<Entry>,
    cursor: &Cursor,
    file_bytes: usize,
    alignment: u32,
) -> Result<HeaderTensors, WeightsError> {
    let overflow = |name: &str| WeightsError::Overflow {
        what: format!("the place of tensor {name:?}"),
    };
    let start = cursor
        .position()
        .checked_next_multiple_of(alignment as usize)
        .ok_or_else(|| overflow("0"))?;
    let mut spans = Vec::new();
    let mut tensors = HeaderTensors::default();
    for entry in entries {
        if entry.offset % u64::from(alignment) != 0 {
            return Err(WeightsError::Malformed(format!(
                "tensor {:?} is at offset {}, which is no multiple of the alignment {alignment}",
                entry.name, entry.offset
            )));
        }
        let offset = usize::try_from(entry.offset)
            .ok()
            .and_then(|offset| start.checked_add(offset))
            .ok_or_else(|| overflow(&entry.name))?;
        let end = offset
            .checked_add(entry.bytes)
            .ok_or_else(|| overflow(&entry.name))?;
        if end > file_bytes {
            return Err(WeightsError::Truncated {
                what: format!("tensor {:?}", entry.name),
                offset,
                needed: entry.bytes as u64,
                available: file_bytes.saturating_sub(offset),
            });
        }
        spans.push((offset, end, entry.name.clone()));
        tensors.push(entry, offset);
    }
    check_spans(spans)?;
    Ok(tensors)
}

impl HeaderTensors {
    fn push(&mut self, entry: Entry, offset: usize) {
        match entry.ty {
            Type::Decodable(ty) => self.tensors.push(TensorInfo {
                name: entry.name,
                ty,
                shape: entry.shape,
                offset,
                bytes: entry.bytes,
                part: 0,
            }),
            Type::Plain(ty) => self.skipped.push(SkippedTensor {
                name: entry.name,
                ty: ty.to_owned(),
                shape: entry.shape,
                offset,
                bytes: entry.bytes,
                part: 0,
            }),
        }
    }
}

/// No two tensors share bytes or a name.
fn check_spans(mut spans: Vec<(usize, usize, String)>) -> Result<(), WeightsError> {
    spans.sort_unstable();
    for pair in spans.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && end > start
        {
            return Err(WeightsError::Malformed(format!(
                "tensors {first:?} and {second:?} overlap"
            )));
        }
    }
    let mut names: Vec<&String> = spans.iter().map(|(_, _, name)| name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(duplicate(pair[0].clone())),
        None => Ok(()),
    }
}
