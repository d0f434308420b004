//! The bytes of one file: mapped read-only, or owned (fuzzing and tests).

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::error::WeightsError;

/// A file's content. A mapped file must not be shortened while it is in use: the kernel would raise SIGBUS.
/// Downloads are therefore written elsewhere and renamed into place.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Map a regular file.
    pub fn map(path: &Path) -> Result<Self, WeightsError> {
        // Asked before opening: opening a pipe would wait for its writer.
        if !std::fs::metadata(path)?.is_file() {
            return Err(WeightsError::NotFound("is not a regular file".to_owned()));
        }
        let file = File::open(path)?;
        // SAFETY: the mapping is read-only and private to us; that the file is not shortened meanwhile is
        // the contract above, which everyone who maps a file has to rely on.
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self::Mapped(map))
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Owned(bytes) => bytes,
        }
    }

    /// Ask the kernel to read `range` ahead. Advice only: a failure changes nothing.
    pub fn prefetch(&self, range: Range<usize>) {
        if let Self::Mapped(map) = self
            && range.start < range.end
            && range.end <= map.len()
        {
            let _ = map.advise_range(Advice::WillNeed, range.start, range.len());
        }
    }

    /// Give the pages of `range` back to the kernel; touched again, they are read from the file again.
    pub fn drop_pages(&self, range: Range<usize>) {
        if let Self::Mapped(map) = self
            && range.start < range.end
            && range.end <= map.len()
        {
            // SAFETY: the mapping is file-backed and never written, so dropped pages come back unchanged.
            let _ = unsafe {
                map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
    }
}
