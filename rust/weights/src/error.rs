//! Everything that can be wrong with a model file, said so that a person can act on it.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What kind of failure an error is; callers map it to their own classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such file, or it cannot be read.
    NotFound,
    /// A well-formed file that holds something we do not have.
    Unsupported,
    /// The file is cut short, lies about its sizes, or is no model file.
    Invalid,
}

/// The one error of this crate.
#[derive(Debug, Error)]
pub enum WeightsError {
    #[error("{}: {error}", path.display())]
    InFile {
        path: PathBuf,
        #[source]
        error: Box<WeightsError>,
    },
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    NotFound(String),
    #[error(
        "ends too early: {what} at byte {offset} needs {needed} bytes, {available} are there; download it again"
    )]
    Truncated {
        what: String,
        offset: usize,
        needed: u64,
        available: usize,
    },
    #[error("is not a GGUF file: it starts with {found:02x?}, not with \"GGUF\"")]
    BadMagic { found: Vec<u8> },
    #[error("GGUF version {0} is not supported (2 and 3 are); convert the model again")]
    UnsupportedVersion(u32),
    #[error("is a big-endian GGUF file; only little-endian ones are supported")]
    BigEndian,
    #[error("{what} is {value}, the limit is {limit}")]
    OverLimit {
        what: String,
        value: u64,
        limit: u64,
    },
    #[error("{what}: sizes overflow")]
    Overflow { what: String },
    #[error("{what} {name:?} occurs twice")]
    Duplicate { what: &'static str, name: String },
    #[error("{what} is not valid UTF-8")]
    NotUtf8 { what: String },
    #[error("metadata key {key:?} is missing")]
    MissingKey { key: String },
    #[error("metadata key {key:?} is {found}, expected {expected}")]
    WrongType {
        key: String,
        expected: &'static str,
        found: String,
    },
    #[error("metadata key {key:?} has a value out of range: {value}")]
    OutOfRange { key: String, value: String },
    #[error("tensor {tensor:?} has type {ty}, which is not supported")]
    UnsupportedType { tensor: String, ty: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Malformed(String),
}

impl WeightsError {
    /// The error again, with the file it happened in named in front.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Self {
        match self {
            named @ Self::InFile { .. } => named,
            error => Self::InFile {
                path: path.to_path_buf(),
                error: Box::new(error),
            },
        }
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InFile { error, .. } => error.kind(),
            Self::Io(_) | Self::NotFound(_) => ErrorKind::NotFound,
            Self::UnsupportedVersion(_)
            | Self::BigEndian
            | Self::UnsupportedType { .. }
            | Self::Unsupported(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        }
    }
}
