//! Memory of the C library, which code in C allocates from and Rust's allocator does not see.
#![expect(unsafe_code, reason = "no safe crate offers malloc_trim")]

/// Gives free pages of the C library's heap back to the system, and says whether there were any.
///
/// The C library keeps what is freed; only this makes it show in the resident memory. It walks all free
/// chunks under the heap's locks: milliseconds for tens of MiB, so not for a thread that is in a hurry.
pub fn give_back() -> bool {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes no pointer and may be called from any thread at any time.
    let trimmed = unsafe { libc::malloc_trim(0) } != 0;
    #[cfg(not(target_env = "gnu"))]
    let trimmed = false;
    trimmed
}

#[cfg(test)]
mod tests {
    #[test]
    fn giving_back_is_harmless_at_any_time() {
        super::give_back();
        super::give_back();
    }
}
