//! A lying count costs no memory: what is allocated while refusing a small file stays small.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use cortex_weights::{Gguf, Safetensors};

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, counting all bytes ever asked for.
struct Counting;

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the ones that the system's allocator needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the pointer came from `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocated_by(parse: impl FnOnce() -> bool) -> usize {
    let before = ALLOCATED.load(Ordering::Relaxed);
    assert!(parse(), "the lying file was accepted");
    ALLOCATED.load(Ordering::Relaxed) - before
}

// One test only: others in this process would be counted too.
#[test]
fn lying_counts_cost_no_memory() {
    let changes: [fn(&mut Draft); 8] = [
        |d| d.tensor_count = Some(100_000),
        |d| d.metadata_count = Some(60_000),
        |d| d.metadata.push(entry_array("x", U8, 1 << 24, &[])),
        |d| d.metadata.push(entry_array("x", U64, 1 << 20, &[0; 64])),
        |d| d.metadata.push(entry_array("x", TEXT, 1 << 20, &[0; 64])),
        |d| {
            d.metadata
                .push(entry("x", TEXT, &(15_u64 << 20).to_le_bytes()));
        },
        |d| d.tensors[2].dims = vec![32, 1 << 40],
        |d| d.tensors[0].dim_count = Some(u32::MAX),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut draft = Draft::valid();
        change(&mut draft);
        let bytes = draft.bytes();
        let used = allocated_by(|| Gguf::parse(bytes).is_err());
        assert!(used < 64 << 10, "case {index} allocated {used} bytes");
    }
    let huge = r#"{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}"#;
    let bytes = safetensors(huge, &[0; 4]);
    let used = allocated_by(|| Safetensors::parse(bytes).is_err());
    assert!(used < 64 << 10, "safetensors allocated {used} bytes");
}
