//! Small files beside the weights: config.json, the index of shards, tokenizer and template files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::error::WeightsError;
use crate::limits::MAX_JSON;

/// Reads a whole file, up to a limit.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, WeightsError> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(WeightsError::NotFound("is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(WeightsError::OverLimit {
            what: "its size".to_owned(),
            value: bytes.len() as u64,
            limit,
        });
    }
    Ok(bytes)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, WeightsError> {
    let bytes = read_limited(path, MAX_JSON)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| WeightsError::Malformed(format!("is not the JSON it should be: {error}")))
}

/// The files of a folder whose names end so, sorted.
pub(crate) fn files_with_suffix(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>, WeightsError> {
    let list = || -> Result<Vec<PathBuf>, WeightsError> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.ends_with(suffix) && !name.starts_with('.') && path.is_file() {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(files)
    };
    list().map_err(|error| error.in_file(folder))
}
