//! What the kernels refuse.

use crate::BlockType;

/// A call whose sizes do not fit together; nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A buffer or dimension is not what the others ask for.
    #[error("{what} is {found}, but {expected} is needed")]
    Size {
        /// Which buffer or dimension.
        what: &'static str,
        /// What fits.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// A dimension that must not be zero.
    #[error("{what} is zero")]
    Zero {
        /// Which dimension.
        what: &'static str,
    },
    /// A dimension that must be a multiple of another.
    #[error("{what} is {found}, which is not a multiple of {unit}")]
    NotMultiple {
        /// Which dimension.
        what: &'static str,
        /// What it must be a multiple of.
        unit: usize,
        /// What was given.
        found: usize,
    },
    /// An index beyond the end.
    #[error("{what} {index} is beyond the end ({len})")]
    OutOfRange {
        /// What is indexed.
        what: &'static str,
        /// The index.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// A row that does not hold whole blocks.
    #[error("{values} values are not whole blocks of {}, which has {} a block", ty.name(), ty.block_len())]
    PartialBlock {
        /// The block type.
        ty: BlockType,
        /// Values of the row.
        values: usize,
    },
    /// A block type without a decoder.
    #[error("values of type {} are not supported", ty.name())]
    Unsupported {
        /// The block type.
        ty: BlockType,
    },
    /// Something that two owners claim.
    #[error("{what} is claimed twice")]
    Shared {
        /// What.
        what: &'static str,
    },
    /// Sizes whose product does not fit into memory.
    #[error("{what} is too large")]
    TooLarge {
        /// Which size.
        what: &'static str,
    },
}
