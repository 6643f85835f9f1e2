//! What safe Rust cannot do wrong: memory that is not there, an allocator that does not end.

#![allow(unsafe_code, reason = "that is what is shown here to do no harm")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Allocations from this size on do not end.
static STUCK_FROM: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Stuck;

#[global_allocator]
static ALLOCATOR: Stuck = Stuck;

unsafe impl GlobalAlloc for Stuck {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        while layout.size() >= STUCK_FROM.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

/// From now on no allocation of so many bytes ends: not the one, either, into which the host puts a batch.
pub(crate) fn allocate_no_more(from: usize) {
    STUCK_FROM.store(from, Ordering::Relaxed);
}

/// What no text is.
pub(crate) fn text() -> String {
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff]) }
}

/// Elements that begin at an address where there are none.
pub(crate) fn vector<T: Copy>(address: usize, len: usize) -> Vec<T> {
    let _ = (address, len);
    #[cfg(target_arch = "wasm32")]
    return unsafe { Vec::from_raw_parts(address as *mut T, len, len) };
    #[cfg(not(target_arch = "wasm32"))]
    Vec::new()
}
