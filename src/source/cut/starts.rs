//! Where images begin.

use memchr::memchr2;

use super::Kind;
use super::jpeg::Jpeg;
use super::jxl::{CODESTREAM, CONTAINER, Codestream, Container};
use super::png::{Png, SIGNATURE};
use super::step::{Walk, be16};
use super::tiff::Tiff;

/// The longest beginning that is asked for.
const LONGEST: usize = 16;

/// How images begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Jpeg,
    Png,
    Tiff,
    Codestream,
    Container,
}

impl Form {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Jpeg => Kind::Jpeg,
            Self::Png => Kind::Png,
            Self::Tiff => Kind::Tiff,
            Self::Codestream | Self::Container => Kind::JpegXl,
        }
    }
}

/// What bytes begin as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Image(Form),
    /// There are too few of them to tell.
    Short,
    Other,
}

/// Where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Image(usize, Form),
    /// An image may begin here: there is too little behind it to tell.
    Perhaps(usize),
    Nothing,
}

/// Beginnings that are short, and so taken for one only where they are likely.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weak {
    pub(super) tiff: bool,
    pub(super) codestream: bool,
}

/// What `data` begins as, where an image is expected.
pub(super) fn head(data: &[u8]) -> Head {
    let first = [
        begins(data, &SIGNATURE, Form::Png),
        begins(data, &CONTAINER, Form::Container),
        begins(data, &CODESTREAM, Form::Codestream),
        jpeg_head(data, false),
        tiff_head(data),
    ];
    choose(first)
}

/// What `data` begins as, where anything may be: only what hardly comes about by chance.
fn sure_head(data: &[u8], weak: Weak) -> Head {
    choose([
        begins(data, &SIGNATURE, Form::Png),
        begins(data, &CONTAINER, Form::Container),
        jpeg_head(data, true),
        if weak.tiff { tiff_head(data) } else { Head::Other },
        if weak.codestream { begins(data, &CODESTREAM, Form::Codestream) } else { Head::Other },
    ])
}

fn choose<const N: usize>(heads: [Head; N]) -> Head {
    let sure = heads.iter().find(|head| matches!(head, Head::Image(_)));
    *sure.unwrap_or(if heads.contains(&Head::Short) { &Head::Short } else { &Head::Other })
}

fn begins(data: &[u8], with: &[u8], form: Form) -> Head {
    if data.starts_with(with) {
        Head::Image(form)
    } else if with.starts_with(data) {
        Head::Short
    } else {
        Head::Other
    }
}

fn jpeg_head(data: &[u8], sure: bool) -> Head {
    match begins(data, &[0xff, 0xd8, 0xff], Form::Jpeg) {
        Head::Image(_) => {}
        other => return other,
    }
    let Some(&code) = data.get(3) else { return Head::Short };
    // Filling, or a segment that can be the first.
    if !matches!(code, 0xc0..=0xc7 | 0xc9..=0xcf | 0xdb..=0xdf | 0xe0..=0xef | 0xfe | 0xff) {
        return Head::Other;
    }
    if !sure {
        return Head::Image(Form::Jpeg);
    }
    if data.len() < LONGEST {
        return Head::Short;
    }
    let length = be16(data, 4).unwrap_or(0);
    let starts = |names: &[&[u8]]| names.iter().any(|name| data[6..].starts_with(name));
    let is_plausible = match code {
        0xe0 => starts(&[b"JFIF\0", b"JFXX\0", b"AVI1"]),
        0xe1 => starts(&[b"Exif\0", b"http"]),
        0xe2 => starts(&[b"ICC_PROFILE", b"MPF\0", b"urn:"]),
        0xdb => length > 2 && matches!((length - 2) % 64, 1..=8) && data[6] & 0xec == 0,
        0xc4 => length >= 19 && data[6] & 0xec == 0,
        0xee => starts(&[b"Adobe"]),
        0xdd => length == 4,
        0xfe | 0xe3..=0xed | 0xef => length >= 2,
        _ => false,
    };
    if is_plausible { Head::Image(Form::Jpeg) } else { Head::Other }
}

fn tiff_head(data: &[u8]) -> Head {
    choose([
        begins(data, b"II*\0", Form::Tiff),
        begins(data, b"MM\0*", Form::Tiff),
        begins(data, b"II+\0\x08\0\0\0", Form::Tiff),
        begins(data, b"MM\0+\0\x08\0\0", Form::Tiff),
    ])
}

/// Finds the first place at or behind `from` where an image surely begins.
pub(super) fn find(data: &[u8], from: usize, weak: Weak) -> Found {
    let mut at = from;
    while let Some(candidate) = next_candidate(data, at, weak.tiff) {
        match sure_head(&data[candidate..], weak) {
            Head::Image(form) => return Found::Image(candidate, form),
            Head::Short => return Found::Perhaps(candidate),
            Head::Other => at = candidate + 1,
        }
    }
    Found::Nothing
}

/// The next byte with which an image could begin.
fn next_candidate(data: &[u8], from: usize, tiff: bool) -> Option<usize> {
    let rest = data.get(from..)?;
    let plain = memchr2(0xff, 0x89, rest).map(|at| from + at);
    let tiff = if tiff { memchr2(b'I', b'M', rest).map(|at| from + at) } else { None };
    [plain, container(data, from), tiff].into_iter().flatten().min()
}

/// Containers begin with zeros, of which there are many: they are found by the letters behind those.
fn container(data: &[u8], from: usize) -> Option<usize> {
    let finder = memchr::memmem::find(&data[from..], &CONTAINER[..8]).map(|at| from + at);
    let tail = data.len().saturating_sub(CONTAINER.len() - 1).max(from);
    finder.or_else(|| (tail..data.len()).find(|&at| CONTAINER.starts_with(&data[at..])))
}

/// The walk through an image of this form.
pub(super) fn walk(form: Form) -> Box<dyn Walk + Send> {
    match form {
        Form::Jpeg => Box::new(Jpeg::default()),
        Form::Png => Box::new(Png::default()),
        Form::Tiff => Box::new(Tiff::default()),
        Form::Codestream => Box::new(Codestream::default()),
        Form::Container => Box::new(Container::default()),
    }
}

/// The walk through what `data` begins as, if that is an image.
pub(super) fn walk_of(data: &[u8]) -> Option<Box<dyn Walk + Send>> {
    match head(data) {
        Head::Image(form) => Some(walk(form)),
        Head::Short | Head::Other => None,
    }
}

/// What bytes look like that are no image, where that can be told.
pub(super) fn looks_like(data: &[u8]) -> Option<&'static str> {
    let has = |at: usize, what: &[u8]| data.get(at..).is_some_and(|rest| rest.starts_with(what));
    Some(if has(4, b"fcTL") || has(4, b"IHDR") || has(4, b"IDAT") || has(4, b"acTL") {
        "PNG without its signature, as ffmpeg -c:v apng writes it; use -c:v png"
    } else if has(0, b"RIFF") && has(8, b"AVI ") {
        "an AVI file; use ffmpeg -f image2pipe"
    } else if has(0, b"RIFF") && has(8, b"WEBP") {
        "WebP, which is not cut here; send each with `framing` length"
    } else if has(4, b"ftyp") {
        "an MP4 file or the like; use ffmpeg -f image2pipe"
    } else if has(0, b"\x1a\x45\xdf\xa3") {
        "a Matroska file; use ffmpeg -f image2pipe"
    } else if has(0, b"\0\0\0\x01") || has(0, b"\0\0\x01") {
        "H.264 or the like; use ffmpeg -f image2pipe -c:v mjpeg"
    } else if has(0, b"YUV4MPEG2") {
        "yuv4mpeg; use ffmpeg -f image2pipe"
    } else if has(0, b"P5") || has(0, b"P6") {
        "PNM, which is not cut here; use PNG"
    } else if has(0, b"BM") {
        "BMP, which is not cut here; use PNG"
    } else if data.iter().take(64).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
    {
        "text"
    } else {
        return None;
    })
}

/// Whether bytes are what servers put between the parts of a stream; `None` where too few are there.
pub(super) fn is_between_parts(data: &[u8]) -> Option<bool> {
    let marks: [&[u8]; 3] = [b"\r\n--", b"\n--", b"--"];
    if marks.iter().any(|mark| data.starts_with(mark)) {
        return Some(true);
    }
    if marks.iter().any(|mark| mark.starts_with(data)) { None } else { Some(false) }
}
