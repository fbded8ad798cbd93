//! Lengths in front of images: four bytes, the highest first, or decimal digits and a line feed. A length
//! of four bytes that begins as a digit would be 800 MB and more.

use super::step::{be32, length};

/// No length is there.
#[derive(Debug)]
pub(super) struct NoLength;

/// The length that `data` begins with: how many bytes it takes, and how many follow; `None` where it is
/// not all there.
pub(super) fn stated(data: &[u8]) -> Result<Option<(usize, usize)>, NoLength> {
    match data.first() {
        Some(first) if first.is_ascii_digit() => decimal(data),
        _ => Ok(be32(data, 0).map(|stated| (4, length(u64::from(stated))))),
    }
}

fn decimal(data: &[u8]) -> Result<Option<(usize, usize)>, NoLength> {
    const DIGITS: usize = 20;
    let end = data.iter().take(DIGITS + 1).position(|byte| !byte.is_ascii_digit());
    let Some(end) = end else {
        return if data.len() > DIGITS { Err(NoLength) } else { Ok(None) };
    };
    let behind = match (data[end], data.get(end + 1)) {
        (b'\n', _) => end + 1,
        (b'\r', Some(b'\n')) => end + 2,
        (b'\r', None) => return Ok(None),
        _ => return Err(NoLength),
    };
    let digits = std::str::from_utf8(&data[..end]).map_err(|_| NoLength)?;
    Ok(Some((behind, length(digits.parse().map_err(|_| NoLength)?))))
}
