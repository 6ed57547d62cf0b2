//! A hint to the CPU's cache, on targets that have one in stable Rust.

/// Asks the CPU to fetch `observer`, which will be read soon. Any address is allowed.
#[inline]
pub(super) fn prefetch<O>(observer: *const O) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing; any address is allowed.
        unsafe { _mm_prefetch::<{ _MM_HINT_T0 }>(observer.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = observer;
}
