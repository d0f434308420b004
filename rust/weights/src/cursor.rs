//! A little-endian reader over untrusted bytes: every step is checked, none can panic.

use crate::error::WeightsError;

/// Reads forward through `bytes`; `what` names the thing being read for the error.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn position(&self) -> usize {
        self.at
    }

    pub fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8], WeightsError> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else {
            return Err(self.truncated(count, what));
        };
        self.at += taken.len();
        Ok(taken)
    }

    /// Refuses a count of elements that cannot be there, before anything is allocated for them.
    pub fn check_room(&self, count: u64, each: u64, what: &str) -> Result<(), WeightsError> {
        match count.checked_mul(each) {
            Some(needed) if needed <= self.remaining() as u64 => Ok(()),
            needed => Err(self.truncated(needed.unwrap_or(u64::MAX), what)),
        }
    }

    pub fn u8(&mut self, what: &str) -> Result<u8, WeightsError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub fn u32(&mut self, what: &str) -> Result<u32, WeightsError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64, WeightsError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// `N` bytes by value.
    pub fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], WeightsError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N as u64, what)?);
        Ok(bytes)
    }

    /// A string with its 64-bit length in front, as bytes.
    pub fn string(&mut self, what: &str, limit: u64) -> Result<&'a [u8], WeightsError> {
        let length = self.u64(what)?;
        if length > limit {
            return Err(WeightsError::OverLimit {
                what: format!("the length of {what}"),
                value: length,
                limit,
            });
        }
        self.take(length, what)
    }

    /// The same, as text.
    pub fn text(&mut self, what: &str, limit: u64) -> Result<&'a str, WeightsError> {
        let bytes = self.string(what, limit)?;
        std::str::from_utf8(bytes).map_err(|_| WeightsError::NotUtf8 {
            what: what.to_owned(),
        })
    }

    fn truncated(&self, needed: u64, what: &str) -> WeightsError {
        WeightsError::Truncated {
            what: what.to_owned(),
            offset: self.at,
            needed,
            available: self.remaining(),
        }
    }
}
