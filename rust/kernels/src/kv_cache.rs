//! Where keys and values lie in a layer's paged cache.

use half::f16;

use crate::{KernelError, shape};

/// How a value of a cache is stored: in single or in half precision.
pub trait KvCell: Copy + Send + Sync {
    /// The nearest that can be stored.
    fn of(value: f32) -> Self;

    /// Cells with their type as a value.
    fn cells(cells: &[Self]) -> KvCells<'_>;
}

/// A cache, or a part of one.
#[derive(Debug, Clone, Copy)]
pub enum KvCells<'a> {
    /// Four bytes a value.
    F32(&'a [f32]),
    /// Two.
    F16(&'a [f16]),
}

impl KvCell for f32 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    fn cells(cells: &[Self]) -> KvCells<'_> {
        KvCells::F32(cells)
    }
}

impl KvCell for f16 {
    #[inline(always)]
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }

    fn cells(cells: &[Self]) -> KvCells<'_> {
        KvCells::F16(cells)
    }
}

/// One layer's cache. Keys are `[blocks, kv_heads, head_dim, block_size]`, so that scores of neighbouring
/// positions are computed together; values are `[blocks, kv_heads, block_size, head_dim]`, or a part of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLayout {
    /// Positions of a block.
    pub block_size: usize,
    /// Heads of keys and of values.
    pub kv_heads: usize,
    /// Values of a head.
    pub head_dim: usize,
    /// The first so many of a key are its value too, and the cache of values is empty.
    pub shared: Option<usize>,
}

impl KvLayout {
    /// Values of a head of the result.
    pub fn value_dim(&self) -> usize {
        self.shared.unwrap_or(self.head_dim)
    }

    /// Values of one position.
    pub(crate) fn width(&self) -> Result<usize, KernelError> {
        let width = shape::product("kv_heads * head_dim", self.kv_heads, self.head_dim)?;
        shape::positive("kv_heads * head_dim", width)?;
        shape::positive("block_size", self.block_size)?;
        Ok(width)
    }

    /// Blocks of a cache.
    pub(crate) fn blocks<T>(&self, k_cache: &[T], v_cache: &[T]) -> Result<usize, KernelError> {
        let block = shape::product("block", self.width()?, self.block_size)?;
        if let Some(shared) = self.shared {
            shape::positive("shared", shared)?;
            let (what, index, len) = ("shared value", shared, self.head_dim);
            if shared > len {
                return Err(KernelError::OutOfRange { what, index, len });
            }
        }
        shape::same("v_cache", self.beside(k_cache.len()), v_cache.len())?;
        shape::rows("k_cache", k_cache.len(), block)
    }

    /// How many values are beside so many keys.
    fn beside(&self, keys: usize) -> usize {
        if self.shared.is_some() { 0 } else { keys }
    }

    /// Where the keys and values of one head in one block begin.
    pub(crate) fn start(&self, block: usize, head: usize) -> usize {
        (block * self.kv_heads + head) * self.block_size * self.head_dim
    }
}

/// Store `k` and `v`, both `[t, kv_heads, head_dim]`, at `slots` (block number * block size + place in it); no `v`
/// where it is a part of `k`.
pub fn kv_write<T: KvCell>(
    layout: &KvLayout,
    k_cache: &mut [T],
    v_cache: &mut [T],
    k: &[f32],
    v: &[f32],
    slots: &[u32],
) -> Result<(), KernelError> {
    let width = layout.width()?;
    let blocks = layout.blocks(k_cache, v_cache)?;
    let len = shape::product("k", slots.len(), width)?;
    shape::same("k", len, k.len())?;
    shape::same("v", layout.beside(len), v.len())?;
    let (size, dim, len) = (
        layout.block_size,
        layout.head_dim,
        blocks * layout.block_size,
    );
    if let Some(&slot) = slots.iter().find(|&&slot| slot as usize >= len) {
        let (what, index) = ("slot", slot as usize);
        return Err(KernelError::OutOfRange { what, index, len });
    }
    let place = |slot: u32, head: usize| {
        let (block, place) = (slot as usize / size, slot as usize % size);
        (layout.start(block, head), place)
    };
    for (&slot, k) in slots.iter().zip(k.chunks_exact(width)) {
        for (head, k) in k.chunks_exact(dim).enumerate() {
            let (start, place) = place(slot, head);
            let column = k_cache[start..start + size * dim].iter_mut();
            for (cell, value) in column.skip(place).step_by(size).zip(k) {
                *cell = T::of(*value);
            }
        }
    }
    for (&slot, v) in slots.iter().zip(v.chunks_exact(width)) {
        for (head, v) in v.chunks_exact(dim).enumerate() {
            let (start, place) = place(slot, head);
            let row = &mut v_cache[start + place * dim..][..dim];
            for (cell, value) in row.iter_mut().zip(v) {
                *cell = T::of(*value);
            }
        }
    }
    Ok(())
}
