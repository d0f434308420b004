//! The block types of GGUF: identity, name and size.

/// How the values of a tensor are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)] // The names are those of the format.
pub enum BlockType {
    F32,
    F16,
    BF16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    IQ1S,
    IQ1M,
    IQ2XXS,
    IQ2XS,
    IQ2S,
    IQ3XXS,
    IQ3S,
    IQ4NL,
    IQ4XS,
    TQ1_0,
    TQ2_0,
    MXFP4,
    NVFP4,
}

/// One row of the table.
struct Entry {
    ty: BlockType,
    id: u32,
    name: &'static str,
    len: usize,
    bytes: usize,
}

const fn entry(ty: BlockType, id: u32, name: &'static str, (len, bytes): (usize, usize)) -> Entry {
    Entry {
        ty,
        id,
        name,
        len,
        bytes,
    }
}

/// In the order of the enum.
const TABLE: [Entry; 26] = [
    entry(BlockType::F32, 0, "F32", (1, 4)),
    entry(BlockType::F16, 1, "F16", (1, 2)),
    entry(BlockType::BF16, 30, "BF16", (1, 2)),
    entry(BlockType::Q4_0, 2, "Q4_0", (32, 18)),
    entry(BlockType::Q4_1, 3, "Q4_1", (32, 20)),
    entry(BlockType::Q5_0, 6, "Q5_0", (32, 22)),
    entry(BlockType::Q5_1, 7, "Q5_1", (32, 24)),
    entry(BlockType::Q8_0, 8, "Q8_0", (32, 34)),
    entry(BlockType::Q2K, 10, "Q2_K", (256, 84)),
    entry(BlockType::Q3K, 11, "Q3_K", (256, 110)),
    entry(BlockType::Q4K, 12, "Q4_K", (256, 144)),
    entry(BlockType::Q5K, 13, "Q5_K", (256, 176)),
    entry(BlockType::Q6K, 14, "Q6_K", (256, 210)),
    entry(BlockType::IQ1S, 19, "IQ1_S", (256, 50)),
    entry(BlockType::IQ1M, 29, "IQ1_M", (256, 56)),
    entry(BlockType::IQ2XXS, 16, "IQ2_XXS", (256, 66)),
    entry(BlockType::IQ2XS, 17, "IQ2_XS", (256, 74)),
    entry(BlockType::IQ2S, 22, "IQ2_S", (256, 82)),
    entry(BlockType::IQ3XXS, 18, "IQ3_XXS", (256, 98)),
    entry(BlockType::IQ3S, 21, "IQ3_S", (256, 110)),
    entry(BlockType::IQ4NL, 20, "IQ4_NL", (32, 18)),
    entry(BlockType::IQ4XS, 23, "IQ4_XS", (256, 136)),
    entry(BlockType::TQ1_0, 34, "TQ1_0", (256, 54)),
    entry(BlockType::TQ2_0, 35, "TQ2_0", (256, 66)),
    entry(BlockType::MXFP4, 39, "MXFP4", (32, 17)),
    entry(BlockType::NVFP4, 40, "NVFP4", (64, 36)),
];

impl BlockType {
    /// All types, in the order of the enum.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|entry| entry.ty)
    }

    fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }

    /// The type that GGUF files number so, if it is known here; not all that are known have a decoder.
    pub fn from_ggml(id: u32) -> Option<Self> {
        let found = TABLE.iter().find(|entry| entry.id == id);
        found.map(|entry| entry.ty)
    }

    /// The number in GGUF files.
    pub fn ggml_id(self) -> u32 {
        self.entry().id
    }

    /// The usual name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// Values of one block.
    pub fn block_len(self) -> usize {
        self.entry().len
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        self.entry().bytes
    }

    /// Bytes of so many values; `None` if they are not whole blocks or the size does not fit.
    pub fn bytes_for(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_len()) {
            return None;
        }
        (values / self.block_len()).checked_mul(self.block_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum_and_ids_are_unique() {
        for (index, ty) in BlockType::all().enumerate() {
            assert_eq!(ty as usize, index);
            assert_eq!(BlockType::from_ggml(ty.ggml_id()), Some(ty));
        }
        assert_eq!(BlockType::from_ggml(4), None);
    }

    #[test]
    fn sizes_count_whole_blocks_and_never_overflow() {
        assert_eq!(BlockType::Q4_1.bytes_for(64), Some(40));
        assert_eq!(BlockType::Q4_1.bytes_for(33), None);
        assert_eq!(BlockType::F32.bytes_for(usize::MAX), None);
        assert_eq!(BlockType::Q6K.bytes_for(0), Some(0));
    }
}
