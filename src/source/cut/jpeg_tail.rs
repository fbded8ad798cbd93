//! What belongs to a JPEG behind its end: further pictures, makers' trailers, whatever is not the start
//! of the next one.

use super::jpeg::{Jpeg, Traits};
use super::starts::{self, Form, Found, Head, Weak};
use super::step::{Step, Walk};

/// Bytes without an image behind a picture's last part that are still taken to be its own.
const MOST: usize = 16 << 20;

/// What becomes of a frame whose first picture has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// It may go on.
    More,
    /// It has this length.
    End(usize),
}

/// A picture behind the first one that is being walked.
#[derive(Debug)]
struct Second {
    begin: usize,
    walk: Jpeg,
    /// The index names it, so it is ours whatever it looks like.
    is_indexed: bool,
    /// It is ours.
    is_ours: bool,
}

/// The way from the end of a JPEG's first picture to the end of all that belongs to it.
#[derive(Debug)]
pub(super) struct JpegTail {
    traits: Traits,
    indexed: std::vec::IntoIter<usize>,
    /// The end of the last picture that is ours.
    end: usize,
    /// Where the next start is looked for.
    at: usize,
    /// A further picture is announced, not by the index.
    expects: bool,
    second: Option<Second>,
}

impl JpegTail {
    /// For a picture that ends at `end` and told `traits`.
    pub(super) fn new(mut traits: Traits, end: usize) -> Self {
        let indexed = std::mem::take(&mut traits.indexed).into_iter();
        let expects = traits.is_radiometric() || traits.speaks_of_more;
        Self { traits, indexed, end, at: end, expects, second: None }
    }

    /// Whether something is missing that was announced.
    pub(super) fn is_awaiting(&self) -> bool {
        self.expects && self.at == self.end || self.second.is_some() || self.indexed.len() > 0
    }

    /// Whether a picture that was announced is not there, or not all of it.
    pub(super) fn misses_some(&self) -> bool {
        self.expects || self.second.is_some() || self.indexed.len() > 0
    }

    /// Looks at `data`, all from the frame's first byte on. Needs at most `limit` bytes of it.
    pub(super) fn step(&mut self, data: &[u8], limit: usize) -> Behind {
        loop {
            let behind = match self.second.take() {
                Some(second) => self.go_through(second, data),
                None => self.look_on(data, limit),
            };
            if let Some(behind) = behind {
                return behind;
            }
        }
    }

    /// The length of the frame if nothing more is to come for it: the input has ended, or is silent.
    pub(super) fn length(&self, data: &[u8], has_ended: bool) -> usize {
        match &self.second {
            Some(second) if !second.is_ours => second.begin,
            Some(second) if second.is_indexed || !has_ended => self.end,
            Some(_) => data.len(),
            None if has_ended => data.len(),
            None if starts::is_between_parts(&data[self.end..]) != Some(false) => self.end,
            None => match starts::find(data, self.at, Weak::default()) {
                Found::Image(at, _) | Found::Perhaps(at) => at.max(self.end),
                Found::Nothing => data.len(),
            },
        }
    }

    /// Goes on through a further picture.
    fn go_through(&mut self, mut second: Second, data: &[u8]) -> Option<Behind> {
        let step = second.walk.step(&data[second.begin..]);
        if !second.is_ours {
            match self.is_next_frame(&second.walk, step) {
                Some(true) => return Some(Behind::End(second.begin)),
                Some(false) => second.is_ours = true,
                None => {}
            }
        }
        match step {
            Step::More(_) => {
                self.second = Some(second);
                return Some(Behind::More);
            }
            Step::End(bytes) => {
                self.end = second.begin + bytes;
                self.at = self.end;
                self.expects = false;
            }
            // Not a picture then: bytes like others.
            Step::Bad(_, at) => self.at = (second.begin + at.max(2)).max(self.at),
        }
        None
    }

    /// Whether a picture that was not named by the index begins the next frame; `None` before its header
    /// tells.
    fn is_next_frame(&self, picture: &Jpeg, step: Step) -> Option<bool> {
        if self.expects && self.traits.is_radiometric() {
            return match step {
                _ if picture.traits.is_radiometric() => Some(true),
                _ if picture.is_past_header() => Some(false),
                Step::More(_) => None,
                _ => Some(false),
            };
        }
        // A camera's next picture tells of the camera, as this one does.
        match step {
            _ if picture.traits.exif => Some(true),
            _ if picture.is_past_header() => Some(false),
            Step::More(_) => None,
            _ => Some(false),
        }
    }

    /// Looks for the next picture.
    fn look_on(&mut self, data: &[u8], limit: usize) -> Option<Behind> {
        while let Some(&named) = self.indexed.as_slice().first() {
            if named >= self.end && named.saturating_add(3) <= limit {
                if data.len() < named + 3 {
                    return Some(Behind::More);
                }
                if data[named..].starts_with(&[0xff, 0xd8, 0xff]) {
                    self.indexed.next();
                    self.begin(named, true);
                    return None;
                }
            }
            self.indexed.next();
        }
        let behind = &data[self.end..];
        if self.at == self.end {
            match (starts::head(behind), starts::is_between_parts(behind)) {
                (_, Some(true)) => return Some(Behind::End(self.end)),
                (Head::Image(Form::Jpeg), _) if self.expects => {
                    self.begin(self.end, false);
                    return None;
                }
                (Head::Image(_), _) => return Some(Behind::End(self.end)),
                (Head::Short, _) | (_, None) => return Some(Behind::More),
                (Head::Other, _) => {}
            }
        }
        let most = self.end.saturating_add(MOST).min(limit);
        let window = &data[..data.len().min(most)];
        match starts::find(window, self.at.min(window.len()), Weak::default()) {
            Found::Image(at, Form::Jpeg) if self.expects || self.traits.exif => {
                self.begin(at, false);
                None
            }
            Found::Image(at, _) => Some(Behind::End(at)),
            _ if data.len() >= most => Some(Behind::End(self.end)),
            Found::Perhaps(at) => {
                self.at = at;
                Some(Behind::More)
            }
            Found::Nothing => {
                self.at = window.len();
                Some(Behind::More)
            }
        }
    }

    fn begin(&mut self, begin: usize, is_indexed: bool) {
        let walk = Jpeg::default();
        self.second = Some(Second { begin, walk, is_indexed, is_ours: is_indexed });
    }
}
