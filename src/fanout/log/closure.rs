//! Closures of any type in one log: each in its node, behind a pointer to its code.
//!
//! A `Box<dyn Fn>` in the node would be a second allocation, and a second cache line per call.

use std::fmt;
use std::ptr::NonNull;

use super::node::{NewNode, Node, NodeHeader};
use crate::fanout::observer::Observer;

/// A subscribed closure of any type: the default observer type of a
/// [`Subject<T>`](crate::fanout::Subject).
///
/// Made by subscribing, and seen by reference only.
#[repr(C)]
pub struct Closure<T: ?Sized> {
    call: unsafe fn(NonNull<()>, &T),
    /// The closure, in the same node; dropped with the node.
    code: NonNull<()>,
}

// SAFETY: represents a closure that is `Send + Sync` (`NewNode::of_closure`).
unsafe impl<T: ?Sized> Send for Closure<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: ?Sized> Sync for Closure<T> {}

impl<T: ?Sized> Observer<T> for Closure<T> {
    #[inline]
    fn notify(&self, value: &T) {
        // SAFETY: `code` is a closure of the type that `call` was made for, and lives in the node
        // that `self` is a part of.
        unsafe { (self.call)(self.code, value) };
    }
}

impl<T: ?Sized> fmt::Debug for Closure<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closure")
    }
}

/// The content of a node: the observer that the log knows, then the closure that it calls.
#[repr(C)]
struct Inline<P, F> {
    observer: P,
    code: F,
}

/// # Safety
/// `code` points to a living `F`.
#[inline]
unsafe fn call<T: ?Sized, F: Fn(&T)>(code: NonNull<()>, value: &T) {
    // SAFETY: the caller's promise.
    let code = unsafe { code.cast::<F>().as_ref() };
    code(value);
}

/// An observer type that has a `Closure<T>` in it.
pub(super) trait ClosureSlot<T: ?Sized>: Send + Sync + 'static {
    fn with_closure(closure: Closure<T>) -> Self;
    fn closure_mut(&mut self) -> &mut Closure<T>;
}

impl<T: ?Sized + 'static> ClosureSlot<T> for Closure<T> {
    fn with_closure(closure: Self) -> Self {
        closure
    }

    fn closure_mut(&mut self) -> &mut Self {
        self
    }
}

impl NewNode {
    /// A node whose observer is a `P` with a `Closure<T>` that calls `code`.
    pub(super) fn of_closure<T: ?Sized + 'static, P: ClosureSlot<T>, F>(code: F) -> Self
    where
        F: Fn(&T) + Send + Sync + 'static,
    {
        // With a stricter alignment the observer would start elsewhere in the node. An observer may
        // be aligned more strictly than the head: a 64-bit atomic is, where pointers have 32 bits.
        if align_of::<F>() > align_of::<NodeHeader>().max(align_of::<P>()) {
            inline_node::<T, P, Box<F>>(Box::new(code))
        } else {
            inline_node::<T, P, F>(code)
        }
    }
}

fn inline_node<T: ?Sized + 'static, P: ClosureSlot<T>, F>(code: F) -> NewNode
where
    F: Fn(&T) + Send + Sync + 'static,
{
    // Known when this is compiled, also for the branch that is never taken: no constant assertion.
    assert!(Node::<Inline<P, F>>::OFFSET == Node::<P>::OFFSET, "the observer would not be found");
    let closure = Closure { call: call::<T, F>, code: NonNull::dangling() };
    let node = NewNode::of(Inline { observer: P::with_closure(closure), code });
    // SAFETY: the node was just made of this type.
    let mut inline = unsafe { Node::<Inline<P, F>>::observer_ptr(node.header()) };
    // SAFETY: as above, and no other thread can reach it.
    let inline = unsafe { inline.as_mut() };
    inline.observer.closure_mut().code = NonNull::from(&mut inline.code).cast();
    node
}
