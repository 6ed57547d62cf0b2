//! Two ends of a stream in memory, which wait for each other as the ends of a connection do, without descriptors.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that wait for the client: memory that it can make the server keep beside its queue.
const TO_CLIENT: usize = 64 << 10;

/// The most bytes that wait for the server, which reads nothing from a client that does not read.
const TO_SERVER: usize = 16 << 10;

/// One direction.
struct Flow {
    capacity: usize,
    state: Mutex<FlowState>,
}

#[derive(Default)]
struct FlowState {
    /// Without memory while nothing waits and the reader does.
    bytes: BytesMut,
    has_no_writer: bool,
    has_no_reader: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The end that reads. Dropping it ends the writer's.
pub(crate) struct PipeReader(Arc<Flow>);

/// The end that writes. Dropping it is the end of the reader's stream.
pub(crate) struct PipeWriter(Arc<Flow>);

/// One end of a stream of both directions.
pub(crate) struct Pipe {
    pub(crate) reader: PipeReader,
    pub(crate) writer: PipeWriter,
}

/// Two connected ends: the server's, and the one that stands for the client.
pub(crate) fn pair() -> (Pipe, Pipe) {
    let flow = |capacity| {
        let flow = Arc::new(Flow { capacity, state: Mutex::default() });
        (PipeReader(Arc::clone(&flow)), PipeWriter(flow))
    };
    let ((one_reader, other_writer), (other_reader, one_writer)) =
        (flow(TO_SERVER), flow(TO_CLIENT));
    let one = Pipe { reader: one_reader, writer: one_writer };
    (one, Pipe { reader: other_reader, writer: other_writer })
}

impl Flow {
    /// Waits until there is something to read, or nothing more will come, and then calls `read`. The writer is woken.
    fn poll_read<T>(&self, cx: &Context<'_>, read: impl FnOnce(&mut BytesMut) -> T) -> Poll<T> {
        let mut state = self.state.lock();
        if state.bytes.is_empty() && !state.has_no_writer {
            set_waker(&mut state.reader, cx);
            state.bytes = BytesMut::new();
            return Poll::Pending;
        }
        let result = read(&mut state.bytes);
        let has_space = state.bytes.len() < self.capacity;
        let writer = if has_space { state.writer.take() } else { None };
        drop(state);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(result)
    }
}

/// As [`Option::replace`], unless it would wake the same task.
fn set_waker(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl PipeReader {
    /// All that waits; empty at the end of the stream.
    pub(crate) fn poll_take(&self, cx: &Context<'_>) -> Poll<Bytes> {
        self.0.poll_read(cx, |bytes| bytes.split().freeze())
    }

    /// Waits until a read would not wait.
    pub(crate) async fn readable(&self) {
        poll_fn(|cx| self.0.poll_read(cx, |_| ())).await;
    }

    /// Appends all that waits; returns its length, 0 at the end of the stream.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): nothing waits.
    pub(crate) fn try_read_buf(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(bytes) => {
                buffer.extend_from_slice(&bytes);
                Ok(bytes.len())
            }
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl AsyncRead for PipeReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = |bytes: &mut BytesMut| {
            let len = bytes.len().min(buffer.remaining());
            buffer.put_slice(&bytes[..len]);
            bytes.advance(len);
        };
        self.0.poll_read(cx, read).map(Ok)
    }
}

impl PipeWriter {
    /// Waits until there is space; returns how much, 0 if nobody reads.
    pub(crate) fn poll_space(&self, cx: &Context<'_>) -> Poll<usize> {
        let mut state = self.0.state.lock();
        if state.has_no_reader {
            return Poll::Ready(0);
        }
        match self.0.capacity.saturating_sub(state.bytes.len()) {
            0 => {
                set_waker(&mut state.writer, cx);
                Poll::Pending
            }
            space => Poll::Ready(space),
        }
    }

    /// Writes as much as there is space for.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock): there is none. [`BrokenPipe`](io::ErrorKind::BrokenPipe): nobody
    /// reads, or the stream was ended.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.has_no_reader || state.has_no_writer {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let len = bytes.len().min(self.0.capacity.saturating_sub(state.bytes.len()));
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.bytes.extend_from_slice(&bytes[..len]);
        let reader = state.reader.take();
        drop(state);
        reader.into_iter().for_each(Waker::wake);
        Ok(len)
    }

    /// Ends the reader's stream.
    pub(crate) fn end(&self) {
        let mut state = self.0.state.lock();
        state.has_no_writer = true;
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl AsyncWrite for PipeWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // Only this end adds bytes, so the space stays.
        ready!(self.poll_space(cx));
        Poll::Ready(self.try_write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.has_no_reader = true;
        let wakers = [state.reader.take(), state.writer.take()];
        let unread = mem::take(&mut state.bytes);
        drop(state);
        drop(unread);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn each_end_waits_for_the_other() {
        let runtime = Builder::new_multi_thread().worker_threads(2).build().unwrap();
        let (one, mut other) = pair();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 7) as u8).collect();
        let sent = bytes.clone();
        let sending = runtime.spawn(async move {
            let mut writer = one.writer;
            for (n, part) in sent.chunks(77_777).enumerate() {
                writer.write_all(part).await.unwrap();
                if n % 3 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            one.reader
        });
        let received = runtime.block_on(async {
            let mut received = Vec::new();
            // By each way to read.
            let mut part = vec![0; 10_000];
            other.reader.read_exact(&mut part).await.unwrap();
            received.extend(part);
            other.reader.readable().await;
            let mut buffer = BytesMut::new();
            let len = other.reader.try_read_buf(&mut buffer).unwrap();
            assert_eq!(len, buffer.len());
            assert!((1..=TO_CLIENT).contains(&len), "{len}");
            received.extend(buffer);
            loop {
                let taken = poll_fn(|cx| other.reader.poll_take(cx)).await;
                if taken.is_empty() {
                    return received;
                }
                received.extend(taken);
            }
        });
        assert!(received == bytes);
        let reader = runtime.block_on(sending).unwrap();
        drop(reader);
        assert_eq!(other.writer.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let (one, other) = pair();
        let long = vec![7; TO_CLIENT + 1];
        // In the other direction, too, where less waits.
        assert_eq!(other.writer.try_write(&long).unwrap(), TO_SERVER);
        assert_eq!(other.writer.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        let cx = &Context::from_waker(Waker::noop());
        assert_eq!(one.writer.poll_space(cx), Poll::Ready(TO_CLIENT));
        assert_eq!(one.writer.try_write(&long).unwrap(), TO_CLIENT);
        assert_eq!(one.writer.try_write(b"x").unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(one.writer.poll_space(cx).is_pending());
        assert_eq!(other.reader.poll_take(cx).map(|bytes| bytes.len()), Poll::Ready(TO_CLIENT));
        assert!(other.reader.poll_take(cx).is_pending());
        let nothing = other.reader.try_read_buf(&mut BytesMut::new());
        assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.writer.try_write(b"").unwrap(), 0);
        assert_eq!(one.writer.try_write(b"last").unwrap(), 4);
        one.writer.end();
        assert_eq!(one.writer.try_write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert_eq!(other.reader.poll_take(cx), Poll::Ready(Bytes::from_static(b"last")));
        assert_eq!(other.reader.poll_take(cx), Poll::Ready(Bytes::new()));
        drop(one.reader);
        assert_eq!(other.writer.poll_space(cx), Poll::Ready(0));
    }
}
