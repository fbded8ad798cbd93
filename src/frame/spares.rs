//! Memory of long bodies that is used again.
//!
//! A page of memory that the system has just given costs more when it is first touched than to copy a frame's bytes
//! into it. So the bodies of a receiver, which come and go at the frames' rate, use a few megabytes in turn.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bodies below this length are the allocator's own business, which keeps what is freed of these.
const LEAST: usize = 256 * 1_024;

/// Lengths are rounded up to this, and an eighth more, so that the next frame's body, which is a little longer,
/// fits as well.
const GRAIN: usize = 64 * 1_024;

/// A few buffers for bodies: those in use and those that wait for the next frame have a bounded length together.
///
/// Clones are the same few.
#[derive(Debug, Clone)]
pub(crate) struct Spares(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    is_open: AtomicBool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Those that wait.
    idle: Vec<Vec<u8>>,
    /// The lengths of all, those in use included.
    bytes: usize,
}

/// The bytes of a body as they come, whose memory may be used again after it.
#[derive(Debug, Default)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    /// Where it goes, and its length there.
    home: Option<(Spares, usize)>,
}

impl Spares {
    /// Buffers of at most `most` bytes together.
    pub(crate) fn new(most: u64) -> Self {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        Self(Arc::new(Shared { most, is_open: AtomicBool::new(true), kept: Mutex::default() }))
    }

    /// How long they are together at most.
    pub(crate) fn most(&self) -> u64 {
        self.0.most as u64
    }

    /// Whether buffers are kept. Where not, those that wait go back to the system, and so does each that is let go.
    pub(crate) fn keep(&self, keep: bool) {
        if self.0.is_open.swap(keep, Ordering::Relaxed) && !keep {
            let mut kept = self.0.kept();
            let idle = std::mem::take(&mut kept.idle);
            kept.bytes -= idle.iter().map(Vec::capacity).sum::<usize>();
        }
    }

    /// An empty body with room for `length` bytes; `None` where it is short, or there is no room for it here.
    pub(crate) fn take(&self, length: usize) -> Option<Body> {
        if length < LEAST || !self.0.is_open.load(Ordering::Relaxed) {
            return None;
        }
        let bytes = self.0.kept().take(length, self.0.most)?;
        let home = Some((self.clone(), bytes.capacity()));
        Some(Body { bytes, home })
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is counted is right at every moment, so another thread's panic does not spoil it.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn take(&mut self, length: usize, most: usize) -> Option<Vec<u8>> {
        let wanted = length.checked_add(length / 8)?.checked_next_multiple_of(GRAIN)?;
        // One that is much longer is for longer frames.
        let fits =
            |buffer: &Vec<u8>| (length..=wanted.saturating_mul(2)).contains(&buffer.capacity());
        // The one that was used last is in the processor's cache, as far as anything is.
        if let Some(place) = self.idle.iter().rposition(fits) {
            return Some(self.idle.remove(place));
        }
        while self.bytes.saturating_add(wanted) > most {
            let oldest = (!self.idle.is_empty()).then(|| self.idle.remove(0))?;
            self.bytes -= oldest.capacity();
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(wanted).ok()?;
        self.bytes += buffer.capacity();
        Some(buffer)
    }
}

impl Body {
    /// Goes on in `other`, which is empty and has room for all of it.
    pub(crate) fn move_to(&mut self, mut other: Self) {
        other.bytes.clear();
        other.bytes.extend_from_slice(&self.bytes);
        *self = other;
    }

    /// The bytes, of which nothing is copied. Their memory is used again when the last of them is let go.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        match self.home {
            None => Bytes::from(std::mem::take(&mut self.bytes)),
            Some(_) => Bytes::from_owner(self),
        }
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for Body {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Body {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let Some((home, length)) = self.home.take() else { return };
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.clear();
        let mut kept = home.0.kept();
        // One that has grown is not what was counted.
        if home.0.is_open.load(Ordering::Relaxed) && buffer.capacity() == length {
            kept.idle.push(buffer);
        } else {
            kept.bytes -= length;
            drop(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn held(spares: &Spares) -> (usize, usize) {
        let kept = spares.0.kept();
        (kept.idle.len(), kept.bytes)
    }

    #[test]
    fn the_memory_of_one_body_is_the_next_ones() {
        let spares = Spares::new(8 << 20);
        let mut body = spares.take(MIB).unwrap();
        body.extend_from_slice(&[7; MIB]);
        let place = body.as_ptr();
        let bytes = body.into_bytes();
        assert_eq!((bytes.as_ptr(), bytes.len()), (place, MIB), "nothing is copied");
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(held(&spares).0, 0, "a part of it is in use");
        drop(part);
        assert_eq!(held(&spares).0, 1);
        let again = spares.take(MIB + 1_000).unwrap();
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn they_are_no_more_than_was_said() {
        let spares = Spares::new(4 << 20);
        assert!(spares.take(LEAST - 1).is_none() && spares.take(5 << 20).is_none());
        assert!(spares.take(usize::MAX).is_none());
        let bodies: Vec<Body> = std::iter::from_fn(|| spares.take(MIB)).collect();
        assert_eq!(bodies.len(), 3);
        assert!(held(&spares).1 <= 4 << 20);
        drop(bodies);
        assert_eq!(held(&spares).0, 3);
        // What is too short for this one makes room for it.
        let long = spares.take(3 << 20).unwrap();
        assert!(long.capacity() >= 3 << 20 && held(&spares).1 <= 4 << 20);
        assert!(spares.take(LEAST).is_some());
    }

    #[test]
    fn nothing_is_kept_where_memory_is_short() {
        let spares = Spares::new(8 << 20);
        let (one, other) = (spares.take(MIB).unwrap(), spares.take(MIB).unwrap());
        drop(one);
        spares.keep(false);
        assert_eq!(held(&spares).0, 0);
        assert!(spares.take(MIB).is_none());
        drop(other);
        assert_eq!(held(&spares), (0, 0));
        spares.keep(true);
        assert!(spares.take(MIB).is_some());
    }

    #[test]
    fn a_body_that_has_outgrown_its_memory_is_not_kept() {
        let spares = Spares::new(8 << 20);
        let mut body = spares.take(MIB).unwrap();
        body.resize(2 * MIB, 0);
        drop(body);
        assert_eq!(held(&spares), (0, 0));
    }

    #[test]
    fn a_body_moves_with_what_has_come() {
        let spares = Spares::new(8 << 20);
        let mut body = Body::default();
        body.extend_from_slice(b"begun");
        body.move_to(spares.take(MIB).unwrap());
        body.extend_from_slice(b" and ended");
        assert_eq!(&body.into_bytes()[..], b"begun and ended");
        assert_eq!(held(&spares).0, 1);
        assert_eq!(&Body::default().into_bytes()[..], b"");
    }
}
