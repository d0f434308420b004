//! Columns of stored matrices as rows.

/// Every `step`th output from `first` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pick {
    pub first: usize,
    pub step: usize,
}

impl Pick {
    /// Those of a row.
    pub fn of(self, row: &[f32]) -> impl Iterator<Item = f32> {
        row.iter().copied().skip(self.first).step_by(self.step)
    }
}

/// The picked columns of a row-major matrix as rows; a value has `size` bytes.
pub(super) fn transposed(data: &[u8], width: usize, size: usize, pick: Pick) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() / pick.step);
    for column in (pick.first..width).step_by(pick.step) {
        for row in data.chunks_exact(width * size) {
            out.extend_from_slice(&row[column * size..][..size]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_rows() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8];
        let all = Pick { first: 0, step: 1 };
        let odd = Pick { first: 1, step: 2 };
        assert_eq!(transposed(&data, 4, 1, all), [1, 5, 2, 6, 3, 7, 4, 8]);
        assert_eq!(transposed(&data, 4, 1, odd), [2, 6, 4, 8]);
        assert_eq!(transposed(&data, 2, 2, all), [1, 2, 5, 6, 3, 4, 7, 8]);
    }
}
