//! The C library's heap, which is what this program allocates from.

/// Keeps all threads at one heap. Objects are made by one thread and freed by another; with a heap for each, what one
/// frees the other cannot use again.
pub fn use_one_heap() {
    // SAFETY: sets a parameter of the allocator; no memory is involved.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory back that was used for a moment, such as a large transaction.
pub fn give_back() {
    // SAFETY: releases free pages only.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
