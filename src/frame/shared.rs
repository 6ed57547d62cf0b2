//! The one allocation behind a frame: a header with the reference count, then the wire bytes.
//!
//! `Arc<[u8]>` would be two words and could not hold the variants; `Arc<Vec<u8>>` would be two
//! allocations. So this is an `Arc` of a header with bytes after it, and follows its protocol.
//!
//! Invariants, from [`Builder::finish`] on:
//! 1. `header` points to a `Header` followed by `wire_len` initialised bytes, allocated with
//!    `layout(wire_len)`; only the counter and the cells of the variants change.
//! 2. `references` counts the `Shared` values that exist; the drop that takes it to 0 frees the
//!    memory.
//! 3. If `is_text`, the bytes after the head are UTF-8 (the contract of [`Shared::builder`]).
//! 4. If `is_text`, one bracket follows the `payload_len` bytes of the payload.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::variant::Variants;
use crate::encode::Output;
use crate::scan;
use crate::websocket::{Head, Opcode};

struct Header {
    references: AtomicUsize,
    wire_len: usize,
    payload_len: usize,
    head_len: u8,
    /// A text frame, not a control frame.
    is_text: bool,
    variants: Variants,
}

/// The offset of the wire bytes from the header.
const BYTES_AT: usize = size_of::<Header>();

fn layout(wire_len: usize) -> Layout {
    let bytes = Layout::array::<u8>(wire_len).expect("a frame is smaller than the address space");
    let (layout, bytes_at) =
        Layout::new::<Header>().extend(bytes).expect("a frame is smaller than the address space");
    debug_assert_eq!(bytes_at, BYTES_AT);
    layout
}

/// A shared reference to a finished frame.
pub(super) struct Shared {
    header: NonNull<Header>,
}

// SAFETY: the bytes are immutable and the header's parts are `Sync`; the counter's protocol
// (below) orders every access before the deallocation.
unsafe impl Send for Shared {}
// SAFETY: as for `Send`.
unsafe impl Sync for Shared {}

impl Shared {
    /// Allocates a text frame for a document of `document_len` bytes, of which `payload_len` and a
    /// bracket come last, and writes its head.
    ///
    /// # Safety
    /// The bytes that are written to the builder must be UTF-8 when taken together.
    pub(super) unsafe fn builder(document_len: usize, payload_len: usize) -> Builder {
        let head = Head::new(Opcode::Text, document_len);
        Self::with_head(head.as_bytes(), document_len, payload_len, true)
    }

    /// Allocates a control frame for a payload of `payload_len` bytes, which are at most 125, and
    /// writes its head.
    pub(super) fn control_builder(opcode: Opcode, payload_len: usize) -> Builder {
        Self::with_head(Head::new(opcode, payload_len).as_bytes(), payload_len, 0, false)
    }

    fn with_head(head: &[u8], document_len: usize, payload_len: usize, is_text: bool) -> Builder {
        let wire_len = head.len() + document_len;
        let layout = layout(wire_len);
        // SAFETY: the layout's size is not zero, because the header's is not.
        let memory = unsafe { alloc(layout) };
        let Some(header) = NonNull::new(memory.cast::<Header>()) else {
            handle_alloc_error(layout)
        };
        let value = Header {
            references: AtomicUsize::new(1),
            wire_len,
            payload_len,
            head_len: head.len() as u8,
            is_text,
            variants: Variants::default(),
        };
        // SAFETY: `header` is valid for writes and aligned, both by `layout`.
        unsafe { header.write(value) };
        let mut builder = Builder { header, wire_len, written: 0 };
        builder.put(head);
        builder
    }

    fn header(&self) -> &Header {
        // SAFETY: invariant 1, and `self` is one of the references that keep it alive.
        unsafe { self.header.as_ref() }
    }

    pub(super) fn head_len(&self) -> usize {
        usize::from(self.header().head_len)
    }

    /// The payload's length within the document; one bracket follows it.
    pub(super) fn payload_len(&self) -> usize {
        self.header().payload_len
    }

    pub(super) fn variants(&self) -> &Variants {
        &self.header().variants
    }

    /// Counts `count` more references, which the caller will make.
    #[inline]
    fn add_references(&self, count: usize) {
        // Relaxed: a new reference is made from an existing one, so no order is needed.
        let before = self.header().references.fetch_add(count, Ordering::Relaxed);
        if before > isize::MAX as usize || count > isize::MAX as usize {
            // Only leaked clones get here; continuing could free memory in use.
            std::process::abort();
        }
    }

    #[inline]
    pub(super) fn wire(&self) -> &[u8] {
        // SAFETY: the allocation continues after the header (invariant 1).
        let bytes = unsafe { self.header.byte_add(BYTES_AT) };
        // SAFETY: `wire_len` bytes there are initialised and immutable (invariant 1) and live as
        // long as `self`.
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>().as_ptr(), self.header().wire_len) }
    }

    /// The document of a text frame.
    ///
    /// # Panics
    /// It is a control frame.
    #[inline]
    pub(super) fn document(&self) -> &str {
        assert!(self.header().is_text, "a control frame has no document");
        let document = &self.wire()[self.head_len()..];
        debug_assert!(std::str::from_utf8(document).is_ok());
        // SAFETY: invariant 3, it is a text frame.
        unsafe { std::str::from_utf8_unchecked(document) }
    }
}

impl Shared {
    /// Turns this reference into a pointer, for [`from_raw`](Self::from_raw) to turn back.
    pub(super) fn into_raw(self) -> NonNull<()> {
        let raw = self.as_raw();
        std::mem::forget(self);
        raw
    }

    /// The address of the allocation: the same for all references to a frame, and no other frame's
    /// while one of them exists.
    pub(super) fn as_raw(&self) -> NonNull<()> {
        self.header.cast()
    }

    /// The reference that [`into_raw`](Self::into_raw) turned into a pointer.
    ///
    /// # Safety
    /// `raw` is from `into_raw`, and is turned back once.
    pub(super) unsafe fn from_raw(raw: NonNull<()>) -> Self {
        Self { header: raw.cast() }
    }
}

impl Clone for Shared {
    #[inline]
    fn clone(&self) -> Self {
        self.add_references(1);
        Self { header: self.header }
    }
}

/// References that were counted in one atomic operation and are not handed out yet.
///
/// Invariant: `left` of the counted references belong to this value, and one more to `lender`.
pub(super) struct Lent<'a> {
    lender: &'a Shared,
    left: usize,
}

impl<'a> Lent<'a> {
    pub(super) fn new(lender: &'a Shared, count: usize) -> Self {
        lender.add_references(count);
        Self { lender, left: count }
    }

    #[inline]
    pub(super) const fn left(&self) -> usize {
        self.left
    }

    /// One of the references that are left, which is counted already.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Shared> {
        self.left = self.left.checked_sub(1)?;
        Some(Shared { header: self.lender.header })
    }

    /// One of the references that are left, or one that is counted now.
    #[inline]
    pub(super) fn one(&mut self) -> Shared {
        self.next().unwrap_or_else(|| self.lender.clone())
    }

    /// Takes back an unused reference, instead of decrementing the count.
    #[inline]
    pub(super) fn give_back(&mut self, unused: Shared) {
        if unused.header == self.lender.header {
            self.left += 1;
            std::mem::forget(unused);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            // Release: as in the drop of each of them. The lender still exists, so this cannot be
            // the last.
            self.lender.header().references.fetch_sub(self.left, Ordering::Release);
        }
    }
}

impl Drop for Shared {
    #[inline]
    fn drop(&mut self) {
        // Release: this owner's accesses come before the free.
        if self.header().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // Acquire: all other owners' accesses come before the free. A load and not a fence, which
        // ThreadSanitizer does not understand; it reads this thread's own write, from its cache.
        self.header().references.load(Ordering::Acquire);
        // SAFETY: the count is 0, so this was the last reference (invariant 2).
        unsafe { free(self.header) };
    }
}

/// Drops the header and frees the memory.
///
/// # Safety
/// `header` is from [`Shared::with_head`], not freed, and the last pointer that is used.
unsafe fn free(header: NonNull<Header>) {
    // SAFETY: the header is initialised and the caller holds the last pointer.
    let wire_len = unsafe { header.as_ref() }.wire_len;
    // SAFETY: as above; it is not used again.
    unsafe { header.drop_in_place() };
    // SAFETY: allocated in `Shared::with_head` with this very layout.
    unsafe { dealloc(header.cast::<u8>().as_ptr(), layout(wire_len)) };
}

/// A frame being written, from its first byte to its last.
pub(super) struct Builder {
    header: NonNull<Header>,
    wire_len: usize,
    written: usize,
}

impl Builder {
    /// The address of the next bytes; checks that at least `length` are left.
    #[inline]
    fn end(&self, length: usize) -> NonNull<u8> {
        assert!(length <= self.wire_len - self.written, "a frame is as long as measured");
        // SAFETY: `written <= wire_len`, so this stays within the allocation.
        unsafe { self.header.byte_add(BYTES_AT + self.written) }.cast::<u8>()
    }

    /// The finished frame.
    ///
    /// # Panics
    /// Fewer bytes were written than announced.
    pub(super) fn finish(self) -> Shared {
        assert_eq!(self.written, self.wire_len, "a frame is as long as it was measured");
        let header = self.header;
        std::mem::forget(self);
        Shared { header }
    }
}

impl Output for Builder {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.end(bytes.len());
        // SAFETY: there are `bytes.len()` bytes left; the source cannot overlap memory to which
        // only this builder has a pointer.
        unsafe { end.copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len()) };
        self.written += bytes.len();
    }

    fn put_with_spaces(&mut self, bytes: &[u8]) {
        let end = self.end(bytes.len()).cast::<MaybeUninit<u8>>();
        // SAFETY: there are `bytes.len()` bytes left, and only this builder has a pointer to them.
        let room = unsafe { std::slice::from_raw_parts_mut(end.as_ptr(), bytes.len()) };
        self.written += scan::copy_with_spaces(bytes, room).len();
    }
}

impl Drop for Builder {
    /// Reached if the code that writes it panics.
    fn drop(&mut self) {
        // SAFETY: not finished, so this is the only pointer.
        unsafe { free(self.header) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder(document_len: usize) -> Builder {
        // SAFETY: the tests write UTF-8 only.
        unsafe { Shared::builder(document_len, 0) }
    }

    fn frame(document: &str) -> Shared {
        let mut builder = builder(document.len());
        builder.put(document.as_bytes());
        builder.finish()
    }

    #[test]
    fn clones_share_and_the_last_one_frees() {
        let first = frame("{}");
        let second = first.clone();
        assert_eq!(first.wire().as_ptr(), second.wire().as_ptr());
        assert_eq!(first.header().references.load(Ordering::Relaxed), 2);
        drop(first);
        assert_eq!(second.document(), "{}");
        assert_eq!(second.header().references.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn lent_references_are_counted_at_once_and_the_rest_is_returned() {
        let shared = frame("{}");
        let count = |expected| {
            assert_eq!(shared.header().references.load(Ordering::Relaxed), expected);
        };
        let mut lent = Lent::new(&shared, 3);
        count(4);
        let first = lent.next().unwrap();
        assert_eq!(lent.left(), 2);
        count(4);
        lent.give_back(first);
        assert_eq!(lent.left(), 3);
        let taken: Vec<_> = std::iter::from_fn(|| lent.next()).collect();
        assert_eq!(taken.len(), 3);
        let one_more = lent.one();
        count(5);
        drop(taken);
        count(2);
        lent.give_back(one_more);
        assert_eq!(lent.left(), 1);
        drop(lent);
        count(1);
        // A reference to another frame is dropped, not mistaken for one to this.
        let other = frame("[]");
        let mut lent = Lent::new(&shared, 1);
        lent.give_back(other.clone());
        assert_eq!(other.header().references.load(Ordering::Relaxed), 1);
        assert_eq!(lent.left(), 1);
    }

    #[test]
    fn a_raw_reference_counts_until_it_is_turned_back() {
        let first = frame("{}");
        let raw = first.clone().into_raw();
        assert_eq!(raw, first.as_raw());
        assert_eq!(first.header().references.load(Ordering::Relaxed), 2);
        // SAFETY: from `into_raw` above, and turned back here only.
        let again = unsafe { Shared::from_raw(raw) };
        assert_eq!(again.document(), "{}");
        drop(again);
        assert_eq!(first.header().references.load(Ordering::Relaxed), 1);
    }

    #[test]
    #[should_panic(expected = "as long as measured")]
    fn writing_too_much_is_refused() {
        let mut builder = builder(1);
        builder.put(b"{}");
    }

    #[test]
    #[should_panic(expected = "as long as it was measured")]
    fn writing_too_little_is_refused() {
        let mut builder = builder(3);
        builder.put(b"{}");
        builder.finish();
    }

    #[test]
    fn many_threads_may_hold_it() {
        let shared = frame("{\"a\":1}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let clone = shared.clone();
                        assert_eq!(clone.document().len(), 7);
                        clone.variants().sse(clone.document().as_bytes());
                    }
                });
            }
        });
        assert_eq!(shared.header().references.load(Ordering::Relaxed), 1);
    }
}
