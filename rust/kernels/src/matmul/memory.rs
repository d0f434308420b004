//! Memory of weights: each piece begins at a cache line, and pieces lie together on large pages.
//!
//! A matrix of a small model is smaller than a large page, and a stream over small pages reads memory at half
//! the speed. So pieces are cut from regions, one after the other; a region is freed with its last piece.
//! Regions are zero as the system gives them, and nobody touches a page before its weights are written: then all
//! threads that write have the system give them pages, and each page is in the cache when it is written.

use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes of a large page.
const PAGE: usize = 2 << 20;
/// Bytes of a region that several pieces share.
const REGION: usize = 16 << 20;

/// Numbers for which any bytes are a value, and zeros are zero.
pub(crate) trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for u16 {}
impl Plain for f32 {}
impl Plain for half::f16 {}
impl Plain for half::bf16 {}

/// Memory from the system, zero at first.
struct Region {
    start: NonNull<u8>,
    layout: Layout,
    /// Bytes given away.
    used: Mutex<usize>,
}

// SAFETY: a region is an address range; who may read and write which part is the business of its pieces.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The region that the next piece is cut from, while any piece of it is in use.
static OPEN: Mutex<Weak<Region>> = Mutex::new(Weak::new());

/// Pages that nobody has touched.
#[cfg(target_os = "linux")]
fn zeroed(layout: Layout) -> Option<NonNull<u8>> {
    let (size, excess) = (layout.size(), layout.align());
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping anywhere; what of it is before and behind the aligned range is given back, and the advice
    // changes no byte. Where the system has no large pages it fails, and the memory is as good as any other.
    unsafe {
        let all = libc::mmap(std::ptr::null_mut(), size + excess, access, kind, -1, 0);
        if all == libc::MAP_FAILED {
            return None;
        }
        let before = all.align_offset(excess);
        let start = all.wrapping_byte_add(before);
        if before > 0 {
            libc::munmap(all, before);
        }
        libc::munmap(start.wrapping_byte_add(size), excess - before);
        libc::madvise(start, size, libc::MADV_HUGEPAGE);
        NonNull::new(start.cast())
    }
}

/// # Safety
/// The memory came from `zeroed` with this layout, and nobody uses it.
#[cfg(target_os = "linux")]
unsafe fn free(start: NonNull<u8>, layout: Layout) {
    // SAFETY: as the caller promised.
    unsafe { libc::munmap(start.as_ptr().cast(), layout.size()) };
}

#[cfg(not(target_os = "linux"))]
fn zeroed(layout: Layout) -> Option<NonNull<u8>> {
    // SAFETY: the layout has a size.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })
}

/// # Safety
/// As above.
#[cfg(not(target_os = "linux"))]
unsafe fn free(start: NonNull<u8>, layout: Layout) {
    // SAFETY: as the caller promised.
    unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
}

impl Region {
    fn new(layout: Layout) -> Self {
        Self {
            start: zeroed(layout).unwrap_or_else(|| handle_alloc_error(layout)),
            layout,
            used: Mutex::new(0),
        }
    }

    /// Cut off so many bytes.
    fn cut(&self, bytes: usize) -> Option<NonNull<u8>> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > self.layout.size() - *used {
            return None;
        }
        // SAFETY: the range is inside the region.
        let start = unsafe { self.start.add(*used) };
        *used += bytes.next_multiple_of(LINE).min(self.layout.size() - *used);
        Some(start)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the last piece is gone, and the memory came from `zeroed` with this layout.
        unsafe { free(self.start, self.layout) };
    }
}

/// A region with so many bytes to spare, and where they are.
fn cut(bytes: usize) -> (Arc<Region>, NonNull<u8>) {
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(region) = open.upgrade()
        && let Some(start) = region.cut(bytes)
    {
        return (region, start);
    }
    let size = bytes.max(REGION).next_multiple_of(PAGE);
    let layout = Layout::from_size_align(size, PAGE);
    let layout = layout.unwrap_or_else(|_| handle_alloc_error(Layout::new::<[u8; PAGE]>()));
    let region = Arc::new(Region::new(layout));
    let start = region.cut(bytes).unwrap_or(region.start);
    *open = Arc::downgrade(&region);
    (region, start)
}

/// Numbers in a region.
pub(crate) struct Piece<T> {
    start: NonNull<T>,
    len: usize,
    _region: Arc<Region>,
}

// SAFETY: a piece owns its numbers as a vector does.
unsafe impl<T: Plain + Send> Send for Piece<T> {}
// SAFETY: as above.
unsafe impl<T: Plain + Sync> Sync for Piece<T> {}

impl<T: Plain> Piece<T> {
    /// So many zeros; `None` if the address space has no room for them.
    pub fn zeros(len: usize) -> Option<Self> {
        let bytes = len.checked_mul(size_of::<T>())?;
        if bytes > isize::MAX as usize - 2 * PAGE {
            return None;
        }
        let (region, start) = cut(bytes);
        Some(Self {
            start: start.cast(),
            len,
            _region: region,
        })
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

impl<T: Plain> Deref for Piece<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the range holds initialised numbers, is aligned to a cache line and belongs to this piece.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Piece<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; nobody else has the range.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> std::fmt::Debug for Piece<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn pieces_are_zero_aligned_and_apart() {
        let mut pieces: Vec<Piece<u16>> =
            (0..40).map(|i| Piece::zeros(i * 40_009).unwrap()).collect();
        for (i, piece) in pieces.iter_mut().enumerate() {
            assert_eq!(piece.as_ptr() as usize % LINE, 0);
            assert!(piece.iter().all(|value| *value == 0));
            piece.fill(i as u16 + 1);
        }
        for (i, piece) in pieces.iter().enumerate() {
            assert_eq!(piece.len(), i * 40_009);
            assert!(piece.iter().all(|value| *value == i as u16 + 1));
        }
    }

    #[test]
    fn a_piece_larger_than_a_region_has_one_of_its_size() {
        let mut large: Piece<u8> = Piece::zeros(REGION + 1).unwrap();
        large[REGION] = 3;
        assert_eq!((large.bytes(), large[REGION], large[0]), (REGION + 1, 3, 0));
        assert!(Piece::<f32>::zeros(usize::MAX / 4).is_none());
    }

    #[test]
    fn memory_is_zeroed_when_it_is_used_again() {
        for _ in 0..3 {
            let mut piece: Piece<f32> = Piece::zeros(1_000_000).unwrap();
            assert!(piece.iter().all(|value| *value == 0.0));
            piece.fill(f32::NAN);
        }
    }
}
