//! Lines that prove themselves: a checksum, a space, an object of JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Hex digits of the checksum.
const DIGITS: usize = 16;

/// Appends the line of a value.
pub(super) fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    // What is written here has neither maps with odd keys nor numbers that JSON does not know.
    let Ok(json) = serde_json::to_string(value) else { return };
    out.extend_from_slice(check(json.as_bytes()).as_bytes());
    out.push(b' ');
    out.extend_from_slice(json.as_bytes());
    out.push(b'\n');
}

/// The value of a line, without its end; `None` where it is not whole, or not one.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (said, json) = line.split_at_checked(DIGITS)?;
    let json = json.strip_prefix(b" ")?;
    (said == check(json).as_bytes()).then_some(())?;
    serde_json::from_slice(json).ok()
}

fn check(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_is_none() {
        let mut line = Vec::new();
        write(&(1_u64, "a\nb".to_owned()), &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(read::<(u64, String)>(&line), Some((1, "a\nb".to_owned())));
        for end in 0..line.len() {
            assert_eq!(read::<(u64, String)>(&line[..end]), None);
        }
        for place in 0..line.len() {
            let mut other = line.clone();
            other[place] ^= 1;
            assert_eq!(read::<(u64, String)>(&other), None, "at byte {place}");
        }
    }
}
