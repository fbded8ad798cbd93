//! The cutter: what it holds, and how it goes from one image to the next.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::jpeg::Jpeg;
use super::jpeg_tail::{Behind, JpegTail};
use super::lengths;
use super::starts::{self, Form, Found, Head, Weak};
use super::state::{State, Tail, Torn, padding};
use super::step::{Step, Walk, length};
use super::{Cut, Framing, Kind, Why, jxl};

/// Silence after which an image that is whole goes out though more of it could come.
const PATIENCE: Duration = Duration::from_millis(3);
/// The same where more of it was announced.
const LONG_PATIENCE: Duration = Duration::from_secs(1);
/// Silence after which what was passed over is told.
const SKIP_PATIENCE: Duration = Duration::from_millis(200);

/// An overlong image of a stated length is passed over by that, up to this many of the largest; beyond,
/// the length is no length.
const FAR: usize = 64;
/// What is consumed of the buffer before the rest is moved to its front.
const SLACK: usize = 1 << 20;

/// Cuts images out of bytes as they come.
///
/// Give it bytes with [`push`](Self::push), then take all that [`next`](Self::next) has. When nothing
/// came for [`patience`](Self::patience), call [`quiet`](Self::quiet); at the end of the input
/// [`finish`](Self::finish); and take again. Holds at most a frame of the largest size and what was
/// pushed last. How the input is divided into pushes makes no difference.
pub struct Cutter {
    framing: Framing,
    /// The longest frame.
    most: usize,
    buffer: Vec<u8>,
    /// What of the buffer is consumed.
    begin: usize,
    /// Bytes consumed since the beginning.
    consumed: u64,
    state: State,
    /// Bytes that are thrown away as they come, as part of what is passed over.
    discard: u64,
    /// What the last image was.
    last: Option<Kind>,
    /// Where what is passed over begins, and why.
    skipped: Option<(u64, Why)>,
    cuts: VecDeque<Cut>,
    is_finished: bool,
}

impl std::fmt::Debug for Cutter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutter").field("consumed", &self.consumed).finish_non_exhaustive()
    }
}

impl Cutter {
    /// A cutter of images of at most `max_frame` bytes.
    pub fn new(framing: Framing, max_frame: u64) -> Self {
        Self {
            framing,
            most: length(max_frame),
            buffer: Vec::new(),
            begin: 0,
            consumed: 0,
            state: State::Boundary { is_late: false },
            discard: 0,
            last: None,
            skipped: None,
            cuts: VecDeque::new(),
            is_finished: false,
        }
    }

    /// Takes the next bytes of the input.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.discard > 0 {
            let gone = length(self.discard).min(bytes.len());
            (self.discard, bytes) = (self.discard - gone as u64, &bytes[gone..]);
            self.consumed += gone as u64;
        }
        if self.begin > SLACK && self.begin > self.buffer.len() / 2 {
            self.buffer.drain(..self.begin);
            self.begin = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// What can be cut by now.
    #[expect(clippy::should_implement_trait, reason = "an end is not the last: more may be pushed")]
    pub fn next(&mut self) -> Option<Cut> {
        loop {
            if let Some(cut) = self.cuts.pop_front() {
                return Some(cut);
            }
            let goes_on = match self.framing {
                Framing::Structure => self.by_structure(),
                Framing::Length => self.by_length(),
                Framing::Raw(bytes) => self.by_size(length(bytes.max(1))),
            };
            if !goes_on && self.cuts.is_empty() {
                return None;
            }
        }
    }

    /// How long the input has to be silent before [`quiet`](Self::quiet) is called; `None` where silence
    /// says nothing, as in the middle of an image.
    pub fn patience(&self) -> Option<Duration> {
        match &self.state {
            State::Behind { .. } if self.is_awaiting() => Some(LONG_PATIENCE),
            State::Behind { end, tail: Tail::Boxes, .. } if self.data().len() >= end + 8 => {
                Some(LONG_PATIENCE)
            }
            State::Behind { .. } => Some(PATIENCE),
            _ if self.skipped.is_some() => Some(SKIP_PATIENCE),
            _ => None,
        }
    }

    /// The input has been silent for [`patience`](Self::patience): an image that is whole goes out.
    pub fn quiet(&mut self) {
        if let State::Behind { .. } = self.state {
            let bytes = self.length_behind();
            self.emit(bytes, true);
        } else if !matches!(self.state, State::Image { .. } | State::Jpeg(_) | State::Overlong(_)) {
            self.tell_skipped();
        }
    }

    /// The input has ended.
    pub fn finish(&mut self) {
        self.is_finished = true;
    }

    /// What is being passed over, if anything: where that began, and why.
    pub fn skipping(&self) -> Option<(u64, Why)> {
        self.skipped
    }

    fn data(&self) -> &[u8] {
        &self.buffer[self.begin..]
    }

    fn consume(&mut self, bytes: usize) {
        let here = bytes.min(self.buffer.len() - self.begin);
        self.begin += here;
        self.consumed += here as u64;
        self.discard += (bytes - here) as u64;
        if self.begin == self.buffer.len() {
            self.buffer.clear();
            self.begin = 0;
            // A large frame now and then does not keep its memory.
            self.buffer.shrink_to(4 * SLACK);
        }
    }

    fn skip(&mut self, bytes: usize, why: Why) {
        if bytes == 0 {
            return;
        }
        let was_text = matches!(self.skipped, Some((_, Why::Multipart)));
        if was_text && why != Why::Multipart {
            self.tell_skipped();
        }
        self.skipped.get_or_insert((self.consumed, why));
        self.consume(bytes);
    }

    fn tell_skipped(&mut self) {
        if let Some((from, why)) = self.skipped.take() {
            let bytes = Range { start: from, end: self.consumed };
            // What is yet to come of it is told when it has.
            if self.discard > 0 {
                self.skipped = Some((from, why));
            } else if !bytes.is_empty() {
                self.cuts.push_back(Cut::Skipped { bytes, why });
            }
        }
    }

    /// Gives out the image that begins here and has this length.
    fn emit(&mut self, bytes: usize, is_late: bool) {
        if let State::Behind { is_overlong: true, .. } = self.state {
            self.skip(bytes, Why::TooLarge);
            self.state = State::Boundary { is_late };
            return;
        }
        self.tell_skipped();
        let kind = match &self.state {
            State::Image { form, .. } => form.kind(),
            State::Jpeg(_) | State::Behind { tail: Tail::Jpeg(_), .. } => Kind::Jpeg,
            State::Behind { tail: Tail::Tiff, .. } => Kind::Tiff,
            State::Behind { tail: Tail::Boxes, .. } => Kind::JpegXl,
            _ => Kind::Raw,
        };
        self.emit_as(bytes, kind);
        self.state = State::Boundary { is_late };
    }

    fn emit_as(&mut self, bytes: usize, kind: Kind) {
        let image = Bytes::copy_from_slice(&self.data()[..bytes]);
        self.last = Some(kind);
        self.cuts.push_back(Cut::Image { bytes: image, kind });
        self.consume(bytes);
    }

    /// The end of the input: what is left is no image.
    fn end(&mut self, why: Why) -> bool {
        if self.is_finished {
            self.skip(self.data().len(), why);
            self.discard = 0;
            self.tell_skipped();
        }
        false
    }

    fn by_size(&mut self, bytes: usize) -> bool {
        if self.data().len() < bytes {
            return self.end(Why::Truncated);
        }
        self.emit_as(bytes, Kind::Raw);
        true
    }

    fn by_length(&mut self) -> bool {
        if matches!(self.state, State::Lost) {
            self.skip(self.data().len(), Why::NoLength);
            return self.end(Why::NoLength);
        }
        let (head, bytes) = match lengths::stated(self.data()) {
            Ok(Some(stated)) => stated,
            Ok(None) => return self.end(Why::Truncated),
            Err(lengths::NoLength) => {
                self.state = State::Lost;
                return true;
            }
        };
        if bytes > self.most {
            self.skip(head.saturating_add(bytes), Why::TooLarge);
            if self.discard == 0 {
                self.tell_skipped();
            }
            return true;
        }
        if self.data().len() < head + bytes {
            return self.end(Why::Truncated);
        }
        self.tell_skipped();
        self.consume(head);
        if bytes > 0 {
            let kind =
                starts::walk_of(&self.data()[..bytes]).map_or(Kind::Other, |walk| walk.kind());
            self.emit_as(bytes, kind);
        }
        true
    }

    /// One step by structure; false where more input is needed.
    fn by_structure(&mut self) -> bool {
        let data = &self.buffer[self.begin..];
        let data = &data[..data.len().min(self.most)];
        match &mut self.state {
            State::Boundary { is_late } => {
                let is_late = *is_late;
                self.at_boundary(is_late)
            }
            State::Seek { .. } => self.seek(),
            State::Image { walk, .. } => {
                let step = walk.step(data);
                let torn = (walk.torn_at(), walk.claimed());
                self.take_step(step, torn)
            }
            State::Jpeg(jpeg) => {
                let step = jpeg.step(data);
                let torn = (jpeg.torn_at(), jpeg.claimed());
                self.take_step(step, torn)
            }
            State::Overlong(jpeg) => {
                let step = jpeg.step(data);
                self.go_through_overlong(step)
            }
            State::Behind { .. } => self.look_behind(),
            State::Lost => false,
        }
    }

    fn at_boundary(&mut self, is_late: bool) -> bool {
        let data = self.data();
        if data.is_empty() {
            return self.end(Why::Truncated);
        }
        let head = starts::head(data);
        if let Head::Image(form) = head {
            self.begin_image(form);
            return true;
        }
        let is_text = starts::is_between_parts(data);
        if !self.is_finished && (head == Head::Short || is_text.is_none()) {
            return false;
        }
        // The first bytes of all say most about what was meant.
        if self.consumed == 0 && !self.is_finished && data.len() < 64 {
            return false;
        }
        let why = match (is_text, is_late) {
            (Some(true), _) => Why::Multipart,
            (_, true) => Why::Late,
            _ if head == Head::Short => Why::Truncated,
            _ if self.consumed == 0 => starts::looks_like(data).map_or(Why::NoImage, Why::Looks),
            _ => Why::NoImage,
        };
        self.skip(1, why);
        self.state = State::Seek { torn: None };
        true
    }

    fn begin_image(&mut self, form: Form) {
        self.state = match form {
            Form::Jpeg => State::Jpeg(Jpeg::default()),
            form => State::Image { form, walk: starts::walk(form) },
        };
    }

    /// Looks for the next image among bytes that are none.
    fn seek(&mut self) -> bool {
        let State::Seek { torn } = &self.state else { return false };
        let data = self.data();
        let is_likely = |kind| {
            self.last.is_none_or(|last| last == kind)
                || torn.as_ref().is_some_and(|torn| torn.kind == kind)
        };
        let codestream = self.last.is_some() && is_likely(Kind::JpegXl);
        let weak = Weak { tiff: is_likely(Kind::Tiff), codestream };
        let mut from = 0;
        let why = self.skipped.map_or(Why::NoImage, |(_, why)| why);
        loop {
            match starts::find(data, from, weak) {
                Found::Image(at, form) if !self.is_of_torn(at, form) => {
                    self.skip(at, why);
                    self.begin_image(form);
                    return true;
                }
                Found::Image(at, _) => from = at + 1,
                Found::Perhaps(at) if !self.is_finished => {
                    self.skip(at, why);
                    return false;
                }
                Found::Perhaps(at) => from = at + 1,
                Found::Nothing => {
                    self.skip(data.len(), why);
                    return self.end(why);
                }
            }
        }
    }

    /// Whether a beginning is part of the torn image in which it is, such as a thumbnail.
    fn is_of_torn(&self, at: usize, form: Form) -> bool {
        let State::Seek { torn: Some(torn) } = &self.state else { return false };
        if self.consumed + at as u64 >= torn.until {
            return false;
        }
        if form.kind() != torn.kind {
            return true;
        }
        let head = self.data()[at..].first_chunk::<11>();
        // The length of the first segment may be another.
        let is_alike = |head: &[u8; 11]| head[..4] == torn.head[..4] && head[6..] == torn.head[6..];
        torn.kind == Kind::Jpeg && !head.is_some_and(is_alike)
    }

    /// Goes by what the walk through an image says. `torn`: where another may begin in it if it was torn,
    /// and how far it claims to go.
    fn take_step(&mut self, step: Step, torn: (usize, usize)) -> bool {
        let have = self.data().len();
        match step {
            Step::End(end) => self.end_image(end, false),
            Step::More(bytes) if bytes > self.most => self.pass_over(bytes, torn),
            Step::More(_) if !self.is_finished => return false,
            Step::More(_) => self.tear(Why::Truncated, torn.0, have),
            Step::Bad(why, at) => self.tear(why, at, torn.1),
        }
        true
    }

    /// Passes over an image that is too long, by its length where it states one.
    fn pass_over(&mut self, bytes: usize, (torn_at, claimed): (usize, usize)) {
        let boundary = State::Boundary { is_late: false };
        match std::mem::replace(&mut self.state, boundary) {
            State::Jpeg(jpeg) => self.state = State::Overlong(jpeg),
            State::Image { form: Form::Png, walk } => {
                self.state = State::Image { form: Form::Png, walk };
                self.tear(Why::TooLarge, torn_at, claimed);
            }
            _ if bytes / FAR <= self.most => self.skip(bytes, Why::TooLarge),
            state => {
                self.state = state;
                self.tear(Why::Damaged("it points far outside itself"), torn_at, 0);
            }
        }
    }

    /// Throws away what has been walked of an overlong JPEG.
    fn go_through_overlong(&mut self, step: Step) -> bool {
        let State::Overlong(jpeg) = &mut self.state else { return false };
        match step {
            // What is behind it is counted from there, however much of it was thrown away before.
            Step::End(end) => {
                jpeg.forget_places(end);
                self.skip(end, Why::TooLarge);
                self.end_image(0, true);
            }
            Step::Bad(_, at) => {
                self.skip(at, Why::TooLarge);
                self.state = State::Seek { torn: None };
            }
            Step::More(_) => {
                let gone = jpeg.forget();
                self.skip(gone, Why::TooLarge);
                if gone == 0 && self.is_finished {
                    self.skip(self.data().len(), Why::TooLarge);
                    self.state = State::Boundary { is_late: false };
                }
                return gone > 0 || self.is_finished;
            }
        }
        true
    }

    /// Gives an image up, and looks for the next one from `at` in it. Up to `claimed` only what surely is
    /// no part of it is another.
    fn tear(&mut self, why: Why, at: usize, claimed: usize) {
        let data = self.data();
        let mut head = [0; 11];
        let known = data.len().min(head.len());
        head[..known].copy_from_slice(&data[..known]);
        let kind = match &self.state {
            State::Image { form, .. } => form.kind(),
            _ => Kind::Jpeg,
        };
        let torn = Torn { until: self.consumed + claimed as u64, kind, head };
        self.skip(at.max(1).min(self.data().len()), why);
        self.state = State::Seek { torn: Some(torn) };
    }

    fn end_image(&mut self, end: usize, is_overlong: bool) {
        let tail = match &mut self.state {
            State::Jpeg(jpeg) | State::Overlong(jpeg) => {
                Tail::Jpeg(JpegTail::new(std::mem::take(&mut jpeg.traits), end))
            }
            State::Image { form: Form::Tiff, .. } => Tail::Tiff,
            State::Image { form: Form::Container, .. } => Tail::Boxes,
            _ => return self.emit(end, false),
        };
        self.state = State::Behind { end, tail, is_overlong };
    }

    /// Looks for the end of what belongs to an image behind its own.
    fn look_behind(&mut self) -> bool {
        let data = &self.buffer[self.begin..];
        let data = &data[..data.len().min(self.most)];
        let (most, is_full) = (self.most, data.len() >= self.most);
        let State::Behind { end, tail, .. } = &mut self.state else { return false };
        let behind = match tail {
            Tail::Jpeg(tail) => tail.step(data, most),
            Tail::Tiff => padding(data, *end),
            Tail::Boxes => match jxl::box_behind(data, *end) {
                Some(further) if further > most => Behind::End(*end),
                Some(further) if data.len() >= further => {
                    *end = further;
                    return true;
                }
                None if data.len() >= *end + 8 => Behind::End(*end),
                _ => Behind::More,
            },
        };
        match behind {
            Behind::End(bytes) => self.emit(bytes, false),
            // What was announced does not fit.
            Behind::More if is_full && self.is_awaiting() => {
                self.skip(most, Why::TooLarge);
                self.state = State::Seek { torn: None };
            }
            Behind::More if is_full || self.is_finished => {
                let bytes = self.length_behind();
                self.emit(bytes, false);
            }
            Behind::More => return false,
        }
        true
    }

    fn is_awaiting(&self) -> bool {
        matches!(&self.state, State::Behind { tail: Tail::Jpeg(tail), .. } if tail.is_awaiting())
    }

    /// The length of the image that is whole, if nothing more comes for it.
    fn length_behind(&self) -> usize {
        let data = self.data();
        let data = &data[..data.len().min(self.most)];
        match &self.state {
            State::Behind { tail: Tail::Jpeg(tail), .. } => {
                let bytes = tail.length(data, self.is_finished);
                bytes.min(self.most)
            }
            State::Behind { end, tail: Tail::Tiff, .. } => match starts::head(&data[*end..]) {
                Head::Other => data.len(),
                Head::Short | Head::Image(_) => *end,
            },
            State::Behind { end, .. } => *end,
            _ => 0,
        }
    }
}
