//! Filling an image up to an exact size with bytes that viewers skip.

/// Bytes of a JPEG segment's marker and length.
const SEGMENT_HEAD: usize = 4;
/// The most that a JPEG segment holds beside its length field.
const MAX_SEGMENT: usize = 65_533;
/// Bytes of a PNG chunk around its data: length, type, check sum.
const CHUNK_FRAME: usize = 12;
/// A private, ancillary chunk that may be copied: its case bits say so.
const CHUNK_TYPE: [u8; 4] = *b"fiLl";
/// Length of the last chunk, IEND, which has no data.
const IEND: usize = 12;

/// Adds comment segments behind the JPEG's start marker until it has `bytes` bytes. Left as it is
/// if it is longer already, or so close that no segment fits.
pub(super) fn pad_jpeg(jpeg: Vec<u8>, bytes: usize) -> Vec<u8> {
    let mut missing = bytes.saturating_sub(jpeg.len());
    if missing == 0 {
        return jpeg;
    }
    let mut padded = Vec::with_capacity(bytes.max(jpeg.len()));
    padded.extend_from_slice(&jpeg[..2]);
    while missing >= SEGMENT_HEAD {
        let mut content = (missing - SEGMENT_HEAD).min(MAX_SEGMENT);
        // Never leave a rest that is too short for a segment of its own.
        if (1..SEGMENT_HEAD).contains(&(missing - SEGMENT_HEAD - content)) {
            content -= SEGMENT_HEAD;
        }
        padded.extend_from_slice(&[0xff, 0xfe]);
        padded.extend_from_slice(&(content as u16 + 2).to_be_bytes());
        padded.resize(padded.len() + content, b' ');
        missing -= SEGMENT_HEAD + content;
    }
    // Any marker may be preceded by fill bytes (ITU-T T.81, B.1.1.2).
    padded.resize(padded.len() + missing, 0xff);
    padded.extend_from_slice(&jpeg[2..]);
    padded
}

/// Adds one chunk before the PNG's last until it has `bytes` bytes. Left as it is if it is longer
/// already, or so close that no chunk fits.
pub(super) fn pad_png(mut png: Vec<u8>, bytes: usize) -> Vec<u8> {
    let Some(content) = bytes.checked_sub(png.len() + CHUNK_FRAME) else { return png };
    let end = png.split_off(png.len() - IEND);
    png.extend_from_slice(&(content as u32).to_be_bytes());
    let checked = png.len();
    png.extend_from_slice(&CHUNK_TYPE);
    png.resize(png.len() + content, 0);
    let sum = crc32(&png[checked..]);
    png.extend_from_slice(&sum.to_be_bytes());
    png.extend_from_slice(&end);
    png
}

/// The CRC of PNG chunks (PNG specification, annex D), bit by bit: paddings are short.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_crc() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b"IEND"), 0xae42_6082);
    }
}
