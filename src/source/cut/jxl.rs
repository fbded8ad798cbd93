//! JPEG XL: a codestream, whose frames each begin with a table of the lengths of their parts, bare or
//! in the boxes of a container.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jxl_bitstream::Bitstream;
use jxl_frame::data::Toc;
use jxl_frame::{FrameHeader, header::FrameType};
use jxl_image::ImageHeader;
use jxl_oxide_common::Bundle;

use super::step::{Step, Walk, be32, be64, length};
use super::{Kind, Why};

pub(super) const CONTAINER: [u8; 12] = *b"\0\0\0\x0cJXL \r\n\x87\n";
pub(super) const CODESTREAM: [u8; 2] = [0xff, 0x0a];

/// Bytes behind a header that have to be there when it is read: the reader takes what is missing for
/// zeros, and may see a shorter code in them.
const SLACK: usize = 4;

/// A header that cannot be read in this many bytes is none. With fewer, the reader may have failed because
/// there were too few: it does not tell in all cases.
const LONGEST_HEADER: usize = 1 << 16;

/// Frames of one image: layers, and those that others refer to.
const MAX_FRAMES: u32 = 1_000;

/// Parts of one frame, which is as many as its reader takes.
const MAX_PARTS: u64 = 1 << 16;

/// A bare codestream.
#[derive(Debug, Default)]
pub(super) struct Codestream {
    header: Option<Arc<ImageHeader>>,
    /// Where the next frame begins.
    at: usize,
    frames: u32,
    is_preview_next: bool,
    /// The last frame has been seen: the image ends where the next one would begin.
    is_last_seen: bool,
}

impl Walk for Codestream {
    fn step(&mut self, data: &[u8]) -> Step {
        match self.advance(data) {
            Ok(step) => step,
            Err(Fault::Short) => Step::More(data.len() + 1),
            Err(Fault::Damaged) if data.len().saturating_sub(self.at) < LONGEST_HEADER => {
                Step::More(data.len() + 1)
            }
            Err(Fault::Damaged) => {
                Step::Bad(Why::Damaged("what should be a JPEG XL frame is none"), 2)
            }
        }
    }

    fn kind(&self) -> Kind {
        Kind::JpegXl
    }

    fn torn_at(&self) -> usize {
        2
    }

    fn claimed(&self) -> usize {
        0
    }
}

enum Fault {
    Short,
    Damaged,
}

impl Codestream {
    fn advance(&mut self, data: &[u8]) -> Result<Step, Fault> {
        let header = match &self.header {
            Some(header) => header.clone(),
            None => {
                let (header, end) = guarded(|| image_header(data))?;
                self.is_preview_next = header.metadata.preview.is_some();
                self.at = end;
                self.header.insert(Arc::new(header)).clone()
            }
        };
        loop {
            if self.is_last_seen {
                let end = self.at;
                return Ok(if data.len() < end { Step::More(end) } else { Step::End(end) });
            }
            if data.len() <= self.at {
                return Ok(Step::More(self.at.saturating_add(1)));
            }
            let (end, is_last) = guarded(|| frame(&data[self.at..], &header))?;
            self.frames += 1;
            self.at = self.at.saturating_add(end);
            let is_preview = std::mem::take(&mut self.is_preview_next);
            self.is_last_seen = is_last && !is_preview;
            if self.frames == MAX_FRAMES {
                return Ok(Step::Bad(Why::Damaged("the JPEG XL image has too many frames"), 2));
            }
        }
    }
}

/// The reader of headers is another crate's: a panic in it is a damaged image, and no more.
fn guarded<T>(read: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(Fault::Damaged))
}

/// Reads the header of an image; gives where its first frame begins.
fn image_header(data: &[u8]) -> Result<(ImageHeader, usize), Fault> {
    let fault = |is_short| if is_short { Fault::Short } else { Fault::Damaged };
    let mut bits = Bitstream::new(data);
    let header = ImageHeader::parse(&mut bits, ()).map_err(|e| fault(e.unexpected_eof()))?;
    if header.metadata.colour_encoding.want_icc() {
        jxl_color::icc::read_icc(&mut bits).map_err(|e| fault(e.unexpected_eof()))?;
    }
    bits.zero_pad_to_byte().map_err(|e| fault(e.unexpected_eof()))?;
    let end = bits.num_read_bits() / 8;
    if data.len() < end + SLACK { Err(Fault::Short) } else { Ok((header, end)) }
}

/// Reads the header of a frame; gives the frame's length, and whether it is the last.
fn frame(data: &[u8], image: &ImageHeader) -> Result<(usize, bool), Fault> {
    let fault = |is_short| if is_short { Fault::Short } else { Fault::Damaged };
    let mut bits = Bitstream::new(data);
    let header = FrameHeader::parse(&mut bits, image).map_err(|e| fault(e.unexpected_eof()))?;
    let is_shown =
        matches!(header.frame_type, FrameType::RegularFrame | FrameType::SkipProgressive);
    if parts(&header) > MAX_PARTS {
        return Err(Fault::Damaged);
    }
    let toc = Toc::parse(&mut bits, &header).map_err(|e| fault(e.unexpected_eof()))?;
    bits.zero_pad_to_byte().map_err(|e| fault(e.unexpected_eof()))?;
    let end = bits.num_read_bits() / 8;
    if data.len() < end + SLACK {
        return Err(Fault::Short);
    }
    Ok((end.saturating_add(toc.total_byte_size()), header.is_last && is_shown))
}

/// Parts of a frame by its sides, as its table counts them. The reader's own count of them overflows for the largest
/// sides that a header can have.
fn parts(header: &FrameHeader) -> u64 {
    let along = |side: u32| u64::from(side.div_ceil(header.group_dim()));
    let groups = along(header.color_sample_width()) * along(header.color_sample_height());
    groups.saturating_mul(u64::from(header.passes.num_passes))
}

/// A codestream in its container.
#[derive(Debug, Default)]
pub(super) struct Container {
    at: usize,
    /// The codestream's last byte has been seen, and the image could end where the boxes do.
    is_whole: bool,
    /// A codestream whose box says that it goes to the end of the file, and where it begins.
    unending: Option<(usize, Codestream)>,
}

impl Walk for Container {
    fn step(&mut self, data: &[u8]) -> Step {
        if data.len() < CONTAINER.len() {
            return Step::More(CONTAINER.len());
        }
        self.at = self.at.max(CONTAINER.len());
        loop {
            if let Some((begin, codestream)) = &mut self.unending {
                return match codestream.step(&data[*begin..]) {
                    Step::More(bytes) => Step::More(begin.saturating_add(bytes)),
                    Step::End(bytes) => Step::End(*begin + bytes),
                    Step::Bad(why, at) => Step::Bad(why, *begin + at),
                };
            }
            if let Some(step) = self.take_box(data) {
                return step;
            }
        }
    }

    fn kind(&self) -> Kind {
        Kind::JpegXl
    }

    fn torn_at(&self) -> usize {
        self.at.max(CONTAINER.len())
    }

    fn claimed(&self) -> usize {
        self.at
    }
}

/// Boxes that may be behind the codestream as well as before it.
fn is_aside(name: &[u8; 4]) -> bool {
    matches!(name, b"Exif" | b"xml " | b"jumb" | b"jbrd" | b"brob" | b"jxli" | b"free" | b"skip")
}

/// Boxes behind the codestream of a container whose image ends at `end`: `Some` new end where one
/// begins there, even one that is not all there yet.
pub(super) fn box_behind(data: &[u8], end: usize) -> Option<usize> {
    let stated = length(u64::from(be32(data, end)?));
    let name = data.get(end + 4..)?.first_chunk::<4>()?;
    (is_aside(name) && stated >= 8).then(|| end.saturating_add(stated))
}

impl Container {
    fn take_box(&mut self, data: &[u8]) -> Option<Step> {
        let at = self.at;
        let (Some(short), Some(name)) =
            (be32(data, at), data.get(at + 4..).and_then(|rest| rest.first_chunk::<4>()))
        else {
            return Some(Step::More(at + 8));
        };
        let bad = |what| Some(Step::Bad(Why::Damaged(what), at.max(CONTAINER.len())));
        let is_before = matches!(name, b"ftyp" | b"jxll" | b"jxlc" | b"jxlp" | b"uuid");
        if !is_before && !is_aside(name) {
            return bad("what should be a box of JPEG XL is none");
        }
        let (head, whole) = match short {
            0 if name == b"jxlc" => {
                self.unending = Some((at + 8, Codestream::default()));
                return None;
            }
            0 => return bad("a box of JPEG XL has no end"),
            1 => match be64(data, at + 8) {
                None => return Some(Step::More(at + 16)),
                Some(long) => (16, length(long)),
            },
            short => (8, length(u64::from(short))),
        };
        if whole < head {
            return bad("a box of JPEG XL has a wrong length");
        }
        let end = at.saturating_add(whole);
        if name == b"jxlp" {
            // The highest bit of its counter marks the last part.
            match be32(data, at + head) {
                None => return Some(Step::More(end.max(at + head + 4))),
                Some(counter) => self.is_whole |= counter >> 31 == 1,
            }
        }
        self.is_whole |= name == b"jxlc";
        if data.len() < end {
            return Some(Step::More(end));
        }
        self.at = end;
        self.is_whole.then_some(Step::End(end))
    }
}
