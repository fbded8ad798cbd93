//! A socket that is read in gulps: TLS asks for little at a time, and a system call for each of its wishes would cost
//! more than all else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads from a connection what there is, up to a length that may change meanwhile. The memory for it is there from
/// the first byte on.
#[derive(Debug)]
pub(super) struct Gulps<S> {
    inner: S,
    buffer: Vec<u8>,
    /// What of the buffer was read and not passed on.
    left: std::ops::Range<usize>,
    length: Gulp,
}

/// The length of a connection's gulps.
#[derive(Debug, Clone)]
pub(super) struct Gulp(Arc<AtomicUsize>);

impl Gulp {
    pub(super) fn set(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed).max(1)
    }
}

impl<S> Gulps<S> {
    pub(super) fn new(inner: S, bytes: usize) -> Self {
        let length = Gulp(Arc::new(AtomicUsize::new(bytes)));
        Self { inner, buffer: Vec::new(), left: 0..0, length }
    }

    /// The length of the gulps from the next one on.
    pub(super) fn length(&self) -> Gulp {
        self.length.clone()
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.inner
    }

    pub(super) fn into_inner(self) -> S {
        self.inner
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gulps<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left.is_empty() {
            let length = this.length.get();
            if this.buffer.len() != length {
                this.buffer = vec![0; length];
            }
            let mut gulp = ReadBuf::new(&mut this.buffer);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut gulp))?;
            this.left = 0..gulp.filled().len();
        }
        let bytes = this.left.len().min(out.remaining());
        out.put_slice(&this.buffer[this.left.start..][..bytes]);
        this.left.start += bytes;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gulps<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn gulps_are_as_long_as_is_said_and_nothing_is_lost_between_them() {
        let all: Vec<u8> = (0..1_000).map(|byte| byte as u8).collect();
        let mut gulps = Gulps::new(&all[..], 10);
        let length = gulps.length();
        let mut got = vec![0; 7];
        gulps.read_exact(&mut got).await.unwrap();
        assert_eq!((gulps.buffer.len(), gulps.left.len()), (10, 3));
        length.set(300);
        let mut rest = vec![0; 4];
        gulps.read_exact(&mut rest).await.unwrap();
        assert_eq!((gulps.buffer.len(), gulps.left.len()), (300, 299));
        got.extend_from_slice(&rest);
        length.set(0);
        gulps.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, all);
    }
}
