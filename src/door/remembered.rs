//! Which frames of a source the program has taken, where no folder remembers them.

use std::collections::{HashMap, VecDeque};

use crate::frame::{ContentHash, FrameName};

/// A sender whose connection was lost asks about as many frames at most, 4,096 if the limits say nothing else,
/// and has seldom more than once as many confirmed since.
const MOST: usize = 8_192;

/// A name's digest, long enough that nobody makes two names collide.
type Key = [u8; 16];

/// The last frames that were taken: about half a megabyte for each source that sends without end.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    content: HashMap<Key, ContentHash>,
    order: VecDeque<Key>,
}

impl Remembered {
    /// The content of the frame of that name.
    pub(super) fn content(&self, name: &FrameName) -> Option<ContentHash> {
        self.content.get(&key(name)).copied()
    }

    pub(super) fn take(&mut self, name: &FrameName, content: ContentHash) {
        let key = key(name);
        if self.content.insert(key, content).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.content.remove(&oldest);
        }
    }
}

fn key(name: &FrameName) -> Key {
    let mut key = Key::default();
    key.copy_from_slice(&blake3::hash(name.as_str().as_bytes()).as_bytes()[..16]);
    key
}
