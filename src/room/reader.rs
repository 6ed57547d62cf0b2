//! A connection that reads a room's log itself.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use super::index::{IndexKey, Receiver};
use super::shard::{Link, RoomLog, cursor_of_readers};
use super::{Shared, user_key};
use crate::fanout::Closed;
use crate::frame::Frame;
use crate::log::{Cursor, Place, Readers, Recipient, Refused, To};
use crate::outbox::{Batch, Push};
use crate::sync::Arc;

/// A member of a room that takes the frames from the room itself: for a server of your own with a task for each
/// connection. Dropping it leaves the room.
///
/// ```
/// use bytes::Buf;
/// use pondwire::{Frame, Payload, Room};
///
/// # async fn write(mut socket: impl tokio::io::AsyncWrite + Unpin, room: &Room) -> std::io::Result<()> {
/// use tokio::io::AsyncWriteExt;
///
/// let mut reader = room.reader("ann").expect("the room is open");
/// room.publish(&Frame::broadcast("/chat/42", "say", "b-1", Payload::EMPTY));
/// # room.close();
/// while let Some(mut batch) = reader.next_batch().await {
///     if batch.lagged() > 0 {
///         break; // A chat has no gap: the client comes back. A stream of prices would go on.
///     }
///     // A server gives this a time limit: a peer that reads nothing blocks it forever.
///     socket.write_all_buf(&mut batch).await?;
/// }
/// # Ok(()) }
/// # let mut written = Vec::new();
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # let done = std::pin::pin!(write(&mut written, &Room::new())).poll(&mut cx);
/// # assert!(matches!(done, std::task::Poll::Ready(Ok(()))) && written[0] == 0x81);
/// ```
///
/// All readers of a room share one copy of what is published: a publish appends one entry, however many readers there
/// are, and a reader gets the frames in place, without a reference count or an allocation. A publish that finds
/// readers asleep calls their wakers, all of them: which of them polls next, and whether it does at all, nobody knows.
///
/// The connection receives exactly what takes its place in the room's order between the join and the leave: frames to
/// all, to [audiences](super::Room::publish_to_audience), to all but [one user](super::Room::publish_except) and to
/// [users by name](super::Room::publish_to), but keys ([`publish_keyed`](super::Room::publish_keyed)) mean nothing
/// here. A frame that is not for a reader costs it a comparison, and a frame to users by name wakes only their readers.
///
/// # Bounds
///
/// A frame is kept until all readers have come past it, or until it would exceed the
/// [options](super::RoomOptions) of the room: `max_frames` and `max_bytes` hold for the frames that some reader may
/// still get, and again for those that no reader has come to look for. They are kept in chunks of up to 64 frames or
/// 64 KiB and one frame (and no more than a quarter of the bounds, and a frame); the last chunk is kept while there is
/// a reader. A reader that is further behind has *lagged*: it goes on with the oldest frame that is kept, and
/// [`Batch::lagged`] says how many it has missed; at that moment the caller decides whether the connection ends.
/// A reader that does not poll keeps its present chunk and nothing else.
///
/// If the log is full and its oldest frame cannot be dropped, a new frame is *refused* for all members. That is so while
/// a thread takes that frame over for the readers or a shard, or if its publisher is suspended.
/// [`Room::refused`](super::Room::refused) counts these frames; [`Batch::lagged`] does not. To prevent it, publish what
/// clients send only while [`Room::unread`](super::Room::unread) is small; [`docs::patterns`] has the
/// code. Or compare `refused` after each batch with its value at the batch before: if it has grown, the connection may
/// have missed a frame.
///
/// [`docs::patterns`]: crate::docs::patterns#a-reader-for-each-connection
// Of the size of a cache line: with many readers, misses are what a delivery costs.
#[must_use = "dropping it leaves the room"]
pub struct RoomReader {
    /// `None` while it is dropped.
    place: Option<Place>,
    recipient: Recipient,
    room: StdArc<Shared>,
    /// The place in the room's index.
    at: u32,
}

/// What a room's readers read from.
pub(super) struct Source {
    log: RoomLog,
    cursor: Arc<Cursor<Link>>,
}

impl RoomReader {
    pub(super) fn join(
        room: &StdArc<Shared>,
        audience: u32,
        user_id: &str,
    ) -> Result<Self, Closed> {
        let log = room.log.get()?;
        let source = || Source { log: log.clone(), cursor: Arc::clone(cursor_of_readers(log)) };
        let Source { log, cursor } = room.log.source.get_or_init(source);
        let hash = room.index.hash(user_id);
        let waiting = readers(cursor).open();
        let receiver = Receiver::Seat { cursor: cursor.number, seat: waiting };
        // Before the join: a frame by name that does not find it yet comes before the join.
        let joined = room.index.insert(user_id, hash, receiver).and_then(|key| {
            let joined = readers(cursor).join(log, cursor, audience);
            match joined {
                Ok(place) => Ok((key, place)),
                Err(closed) => {
                    room.index.remove(key);
                    Err(closed)
                }
            }
        });
        let (key, place) = joined.inspect_err(|_| readers(cursor).close(waiting))?;
        let recipient = Recipient {
            audience,
            user: user_key(hash),
            cursor: cursor.number,
            member: key.member,
            place: waiting,
        };
        Ok(Self { place: Some(place), recipient, room: StdArc::clone(room), at: key.at })
    }

    /// Waits for frames: at most 64. `None` at the end: the room was closed, its last handle was dropped, or this reader
    /// has [left](Self::leave), and all that was published before has been returned.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken nothing.
    pub async fn next_batch(&mut self) -> Option<Batch<'_>> {
        let frames = poll_fn(|cx| self.poll_frames(cx)).await?;
        Some(self.batch(frames))
    }

    /// [`next_batch`](Self::next_batch) for code that polls. The waker of the last call is woken.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Batch<'_>>> {
        self.poll_frames(cx).map(|frames| frames.map(|frames| self.batch(frames)))
    }

    /// A batch if there are frames now. `None` means that there are none yet, or that this is the end.
    #[inline]
    pub fn try_batch(&mut self) -> Option<Batch<'_>> {
        let Self { place, recipient, room, .. } = self;
        let place = place.as_mut()?;
        // Nearly always one of the first two.
        let (frames, lagged) = if let Some(frames) = place.look() {
            (frames, 0)
        } else {
            let Source { log, cursor } = source(room);
            if place.has_nothing(log, cursor) {
                return None;
            }
            let frames = readers(cursor).try_read(log, cursor, place, recipient)?;
            (frames, place.take_missed())
        };
        Some(Batch::of_shared(place.frames(), frames, lagged))
    }

    /// Sends a frame to this connection alone, in order with the room's frames.
    ///
    /// For answers that come later. The acknowledgement of the join is not one of them: a frame that was published right
    /// after the join would come before it. Write that one to the connection before the first batch.
    ///
    /// Costs as much as a publish, and each other reader a comparison. [`Push::DroppedNewest`] if the room's log is
    /// full, or the frame larger than it may be; [`Push::Closed`] if the room is closed, or has no handle any more.
    #[allow(clippy::needless_pass_by_value, reason = "as `Outbox::push`")]
    pub fn push(&self, frame: Frame) -> Push {
        let Recipient { cursor, place, member, .. } = self.recipient;
        match source(&self.room).log.publish(&frame, To::Member { cursor, seat: place, member }) {
            Ok(()) => Push::Queued,
            Err(Refused::Closed) => Push::Closed,
            Err(Refused::Busy | Refused::TooLarge) => Push::DroppedNewest,
        }
    }

    /// Leaves the room. The reader still returns what was published before; then it is at its end.
    pub fn leave(&mut self) {
        if let Some(place) = &mut self.place {
            let Source { log, cursor } = source(&self.room);
            readers(cursor).leave(log, cursor, place);
        }
        // After the leave, as for members at seats.
        self.room.index.remove(self.key());
    }

    const fn key(&self) -> IndexKey {
        IndexKey { at: self.at, member: self.recipient.member }
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<Option<u64>> {
        let Self { place, recipient, room, .. } = self;
        let Some(place) = place else { return Poll::Ready(None) };
        let Source { log, cursor } = source(room);
        readers(cursor).poll_read(log, cursor, place, recipient, cx)
    }

    /// Of the frames that were found last.
    #[inline]
    fn batch(&mut self, frames: u64) -> Batch<'_> {
        let place = self.place.as_mut().expect("it is not being dropped");
        let lagged = place.take_missed();
        Batch::of_shared(place.frames(), frames, lagged)
    }
}

/// That of a room that has a reader.
#[inline]
fn source(room: &Shared) -> &Source {
    room.log.source.get().expect("made before the first reader")
}

fn readers(cursor: &Cursor<Link>) -> &Readers {
    cursor.notify.readers().expect("the cursor of readers")
}

impl Drop for RoomReader {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        self.room.index.remove(self.key());
        let Source { log, cursor } = source(&self.room);
        let readers = readers(cursor);
        readers.remove(log, cursor, place);
        readers.close(self.recipient.place);
    }
}

impl fmt::Debug for RoomReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomReader").field("member", &self.recipient.member).finish_non_exhaustive()
    }
}
