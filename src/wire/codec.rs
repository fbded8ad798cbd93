//! Reading and writing the protocol's primitive values.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The largest value of a QUIC variable-length integer (RFC 9000, section 16).
pub const MAX_VARINT: u64 = (1 << 62) - 1;

/// What is wrong with bytes from a peer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The bytes end inside a value, and no more will come.
    #[error("{what} is cut short")]
    Truncated {
        /// Which value.
        what: &'static str,
    },
    /// A value that the protocol does not allow there.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A length or count over its limit.
    #[error("{what} is {value}, over the limit of {limit}")]
    OverLimit {
        /// Which value.
        what: &'static str,
        /// What was announced.
        value: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A version this end does not speak.
    #[error("{what} has version {found}; this end speaks version {spoken}")]
    Version {
        /// Which structure.
        what: &'static str,
        /// The peer's version.
        found: u64,
        /// Ours.
        spoken: u64,
    },
}

impl WireError {
    pub(super) fn malformed(what: &'static str, why: impl Into<String>) -> Self {
        Self::Malformed { what, why: why.into() }
    }
}

/// The outcome of decoding from a buffer that may not hold everything yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<T> {
    /// More bytes are needed; at least this many in the buffer altogether.
    NeedMore(usize),
    /// A value, and how many bytes it took.
    Value(T, usize),
}

/// A cursor over bytes that have all arrived.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] where fewer are left.
    pub fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        if count > self.rest.len() {
            return Err(WireError::Truncated { what });
        }
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.take(1, what)?[0])
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// A QUIC variable-length integer (RFC 9000, section 16).
    ///
    /// # Errors
    /// [`WireError::Truncated`].
    pub fn varint(&mut self, what: &'static str) -> Result<u64, WireError> {
        match peek_varint(self.rest) {
            Decoded::Value(value, length) => {
                self.rest = &self.rest[length..];
                Ok(value)
            }
            Decoded::NeedMore(_) => Err(WireError::Truncated { what }),
        }
    }

    /// A varint that must not be over `limit`.
    ///
    /// # Errors
    /// [`WireError::OverLimit`], [`WireError::Truncated`].
    pub fn limited(&mut self, limit: u64, what: &'static str) -> Result<u64, WireError> {
        let value = self.varint(what)?;
        if value > limit {
            return Err(WireError::OverLimit { what, value, limit });
        }
        Ok(value)
    }

    /// A varint length of at most `limit`, and as many bytes of UTF-8.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn text(&mut self, limit: u64, what: &'static str) -> Result<&'a str, WireError> {
        let length = self.limited(limit, what)?;
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX), what)?;
        std::str::from_utf8(bytes)
            .map_err(|_| WireError::Malformed { what, why: "it is not UTF-8".to_owned() })
    }

    /// Checks that nothing is left over.
    ///
    /// # Errors
    /// [`WireError::Malformed`] where bytes are left.
    pub fn end(&self, what: &'static str) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let why = format!("{} bytes are left over at its end", self.rest.len());
        Err(WireError::Malformed { what, why })
    }
}

/// Decodes a varint at the start of `bytes`.
pub(crate) fn peek_varint(bytes: &[u8]) -> Decoded<u64> {
    let Some(&first) = bytes.first() else { return Decoded::NeedMore(1) };
    let length = 1_usize << (first >> 6);
    if bytes.len() < length {
        return Decoded::NeedMore(length);
    }
    let start = u64::from(first & 0x3f);
    let value = bytes[1..length].iter().fold(start, |value, &byte| (value << 8) | u64::from(byte));
    Decoded::Value(value, length)
}

/// Builds the bytes of a value.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// Starts empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.put_u8(value);
        self
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes.put_u64(value);
        self
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.put_slice(bytes);
        self
    }

    /// A QUIC variable-length integer in its shortest form. Values over 2^62 - 1, which no count,
    /// length or sequence of ours reaches, are written as 2^62 - 1.
    pub fn varint(&mut self, value: u64) -> &mut Self {
        match value {
            0..=0x3f => self.bytes.put_u8(value as u8),
            0x40..=0x3fff => self.bytes.put_u16(0x4000 | value as u16),
            0x4000..=0x3fff_ffff => self.bytes.put_u32(0x8000_0000 | value as u32),
            _ => self.bytes.put_u64(0xc000_0000_0000_0000 | value.min(MAX_VARINT)),
        }
        self
    }

    /// A varint length and the text's bytes.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.varint(text.len() as u64).raw(text.as_bytes())
    }

    /// The same, of the longest beginning of the text that has at most `limit` bytes and ends between characters.
    pub fn text_up_to(&mut self, limit: u64, text: &str) -> &mut Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.text(&text[..text.floor_char_boundary(limit)])
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True where nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes.
    pub fn finish(self) -> bytes::Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_rfc_9000_appendix_a_1() {
        for (value, bytes) in [
            (37, &[0x25][..]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ] {
            let mut writer = Writer::new();
            writer.varint(value);
            assert_eq!(&writer.finish()[..], bytes);
            assert_eq!(Reader::new(bytes).varint("example"), Ok(value));
        }
    }

    proptest! {
        #[test]
        fn varints_come_back(value in 0..=MAX_VARINT) {
            let mut writer = Writer::new();
            writer.varint(value);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("value"), Ok(value));
            prop_assert!(reader.end("value").is_ok());
            for cut in 0..bytes.len() {
                prop_assert!(matches!(peek_varint(&bytes[..cut]), Decoded::NeedMore(_)));
            }
        }
    }
}
