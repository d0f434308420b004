//! Checks of sizes, shared by all kernels.

use crate::KernelError;

/// `found` must be `expected`.
pub(crate) fn same(what: &'static str, expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found {
        return Ok(());
    }
    Err(KernelError::Size {
        what,
        expected,
        found,
    })
}

/// `found` must not be zero.
pub(crate) fn positive(what: &'static str, found: usize) -> Result<(), KernelError> {
    if found > 0 {
        return Ok(());
    }
    Err(KernelError::Zero { what })
}

/// The rows of `len` values when each has `width`.
pub(crate) fn rows(what: &'static str, len: usize, width: usize) -> Result<usize, KernelError> {
    positive(what, width)?;
    if len.is_multiple_of(width) {
        return Ok(len / width);
    }
    Err(KernelError::NotMultiple {
        what,
        unit: width,
        found: len,
    })
}

/// `a * b`.
pub(crate) fn product(what: &'static str, a: usize, b: usize) -> Result<usize, KernelError> {
    a.checked_mul(b).ok_or(KernelError::TooLarge { what })
}
