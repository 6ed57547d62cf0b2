//! Who is told: the trait that closures and users' own types share.

/// Something that is told of every published value.
///
/// Every `Fn(&T) + Send + Sync` is one. A type of your own that implements it can be stored inline
/// in a [`Subject<T, O>`](super::Subject), which spares the indirect call.
///
/// An observer runs on the publisher's thread, and several publishers may call it at once.
///
/// ```
/// use std::sync::atomic::{AtomicUsize, Ordering};
/// use pondwire::fanout::{Observer, Subject};
///
/// #[derive(Default)]
/// struct Bytes(AtomicUsize);
///
/// impl Observer<str> for Bytes {
///     fn notify(&self, text: &str) {
///         self.0.fetch_add(text.len(), Ordering::Relaxed);
///     }
/// }
///
/// let subject: Subject<str, Bytes> = Subject::typed();
/// let _kept = subject.subscribe_observer(Bytes::default())?;
/// subject.publish("four");
/// subject.for_each(|bytes| assert_eq!(bytes.0.load(Ordering::Relaxed), 4));
/// # Ok::<(), pondwire::fanout::Closed>(())
/// ```
pub trait Observer<T: ?Sized>: Send + Sync {
    /// Called once per published value.
    fn notify(&self, value: &T);
}

impl<T: ?Sized, F: Fn(&T) + Send + Sync> Observer<T> for F {
    #[inline]
    fn notify(&self, value: &T) {
        self(value);
    }
}
