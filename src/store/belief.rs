//! Whether a frame on offer is one that is stored, by what is said of both.

use super::contract::{Held, Offered, Opener};
use crate::frame::{ContentHash, Sequence, UnixNanos};

/// File systems of cameras keep times of whole seconds, or of two; a time like that tells two frames apart
/// only by chance.
const NANOS_A_SECOND: u64 = 1_000_000_000;

/// What is known of a stored frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredInfo {
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 of the content when it was stored.
    pub hash: ContentHash,
    /// When the sender's file was last changed, where it said so.
    pub modified: Option<UnixNanos>,
    /// Place in the source when it was stored.
    pub sequence: Sequence,
    /// Who sent it.
    pub from: Opener,
}

impl StoredInfo {
    /// What `asker` is told of a frame that it offers under this one's name.
    ///
    /// The hash decides. Where the sender has none at hand, equal length and modification time are taken
    /// for equal content, as rsync does; but only of the sender's own earlier frame, and only where the
    /// time says something: one on a whole second, before 1970 or of exactly then is what cards, archives
    /// and broken clocks write into any file.
    pub fn compare(&self, asker: &Opener, offered: &Offered<'_>) -> Held {
        if self.bytes != offered.bytes {
            return Held::Other;
        }
        match offered.hash {
            Some(hash) if hash == self.hash => Held::Same,
            Some(_) => Held::Other,
            None if asker.is(&self.from) && is_same_time(self.modified, offered.modified) => {
                Held::Same
            }
            None => Held::NeedsHash,
        }
    }
}

fn is_same_time(stored: Option<UnixNanos>, offered: Option<UnixNanos>) -> bool {
    let tells = |time: &UnixNanos| !time.0.is_multiple_of(NANOS_A_SECOND);
    stored.filter(tells).is_some_and(|stored| offered == Some(stored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameName;

    const TIME: u64 = 1_764_000_000_123_456_789;

    fn stored(pin: Option<&str>, modified: Option<u64>) -> StoredInfo {
        StoredInfo {
            bytes: 3,
            hash: blake3::hash(b"abc"),
            modified: modified.map(UnixNanos),
            sequence: Sequence(0),
            from: Opener::with_pin(pin),
        }
    }

    /// What `asker` is told of a frame of three bytes.
    fn told(stored: &StoredInfo, asker: Option<&str>, modified: Option<u64>) -> Held {
        let name = FrameName::parse("0.jpg").unwrap();
        let modified = modified.map(UnixNanos);
        let offered =
            Offered { sequence: Sequence(0), name: &name, bytes: 3, modified, hash: None };
        stored.compare(&Opener::with_pin(asker), &offered)
    }

    #[test]
    fn a_time_is_believed_of_the_senders_own_frame_alone() {
        let own = stored(Some("a"), Some(TIME));
        assert_eq!(told(&own, Some("a"), Some(TIME)), Held::Same);
        assert_eq!(told(&own, Some("a"), Some(TIME + 1)), Held::NeedsHash);
        assert_eq!(told(&own, Some("a"), None), Held::NeedsHash);
        assert_eq!(told(&own, Some("b"), Some(TIME)), Held::NeedsHash);
        // Nobody knows who stored it, or who asks.
        assert_eq!(told(&stored(None, Some(TIME)), Some("a"), Some(TIME)), Held::NeedsHash);
        assert_eq!(told(&stored(None, Some(TIME)), None, Some(TIME)), Held::NeedsHash);
    }

    #[test]
    fn times_that_tell_nothing_are_not_believed() {
        for time in [0, 1_764_000_000_000_000_000, 1_764_000_001_000_000_000] {
            let own = stored(Some("a"), Some(time));
            assert_eq!(told(&own, Some("a"), Some(time)), Held::NeedsHash, "{time}");
        }
    }

    #[test]
    fn a_hash_decides_whoever_asks() {
        let name = FrameName::parse("0.jpg").unwrap();
        let own = stored(Some("a"), Some(TIME));
        for (content, bytes, expected) in
            [(&b"abc"[..], 3, Held::Same), (b"xyz", 3, Held::Other), (b"abcd", 4, Held::Other)]
        {
            let offered = Offered {
                sequence: Sequence(0),
                name: &name,
                bytes,
                modified: Some(UnixNanos(TIME)),
                hash: Some(blake3::hash(content)),
            };
            assert_eq!(own.compare(&Opener::with_pin(Some("b")), &offered), expected);
        }
    }
}
