//! Models split over several GGUF files, `NAME-00001-of-0000N.gguf`: found, and checked to belong together.

use std::path::{Path, PathBuf};

use crate::error::WeightsError;
use crate::gguf::header::Header;
use crate::limits::MAX_PARTS;

/// What a file name says about being part of a split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SplitName {
    folder: PathBuf,
    stem: String,
    /// Counted from 1, as in the name.
    pub number: usize,
    pub count: usize,
}

impl SplitName {
    /// Reads `STEM-00001-of-00003.gguf`; None for other names.
    pub fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| {
            let five = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            five.then(|| text.parse::<usize>().ok()).flatten()
        };
        let (number, count) = (digits(number)?, digits(count)?);
        (number >= 1 && number <= count).then(|| Self {
            folder: path.parent().unwrap_or(Path::new("")).to_path_buf(),
            stem: stem.to_owned(),
            number,
            count,
        })
    }

    /// The name of part `number` of the same model, counted from 1.
    pub fn part(&self, number: usize) -> Self {
        Self {
            number,
            ..self.clone()
        }
    }

    pub fn path(&self) -> PathBuf {
        let name = format!("{}-{:05}-of-{:05}.gguf", self.stem, self.number, self.count);
        self.folder.join(name)
    }
}

/// What a header says about being part of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SplitKeys {
    /// Counted from 0, as in the file.
    pub number: usize,
    pub count: usize,
    pub tensors: usize,
}

impl SplitKeys {
    /// Reads `split.*`; None for a file that is whole.
    pub fn read(header: &Header) -> Result<Option<Self>, WeightsError> {
        let metadata = &header.metadata;
        let count = metadata.integer::<usize>("split.count")?.unwrap_or(0);
        if count <= 1 {
            return Ok(None);
        }
        if count > MAX_PARTS {
            return Err(WeightsError::OverLimit {
                what: "the number of split files".to_owned(),
                value: count as u64,
                limit: MAX_PARTS as u64,
            });
        }
        let missing = |key: &str| WeightsError::MissingKey {
            key: key.to_owned(),
        };
        let number = metadata
            .integer("split.no")?
            .ok_or_else(|| missing("split.no"))?;
        let tensors = metadata
            .integer("split.tensors.count")?
            .ok_or_else(|| missing("split.tensors.count"))?;
        Ok(Some(Self {
            number,
            count,
            tensors,
        }))
    }
}

/// Checks that name and header of one file agree on whether and how it is split.
pub(crate) fn agree(name: Option<&SplitName>, keys: Option<SplitKeys>) -> Result<(), WeightsError> {
    match (name, keys) {
        (None, None) => Ok(()),
        (Some(name), None) if name.count == 1 => Ok(()),
        (Some(name), Some(keys))
            if name.number.checked_sub(1) == Some(keys.number) && name.count == keys.count =>
        {
            Ok(())
        }
        (Some(name), None) => Err(WeightsError::Malformed(format!(
            "is named as part {} of {}, but its header does not say that it is split",
            name.number, name.count
        ))),
        (Some(name), Some(keys)) => Err(WeightsError::Malformed(format!(
            "is named as part {} of {}, but its header says part {} of {}",
            name.number,
            name.count,
            keys.number.saturating_add(1),
            keys.count
        ))),
        (None, Some(keys)) => Err(WeightsError::Malformed(format!(
            "is part {} of a model split into {} files; keep the names NAME-00001-of-{:05}.gguf, \
             so that the other parts are found",
            keys.number.saturating_add(1),
            keys.count,
            keys.count
        ))),
    }
}
