//! Fields behind the fixed part of a message or header: the room that the protocol has to grow.
//!
//! A field is a varint number, a varint length and as many bytes. Numbers go up, so that none comes twice. An
//! odd number that a decoder does not know is skipped, an even one is refused by its number: whoever adds a field
//! decides by its number whether a peer that does not know it may go on.

use super::codec::{Reader, WireError, Writer};

/// True where what has this number may be skipped by whoever does not know it. It holds for fields, messages,
/// records over TCP and streams over QUIC alike.
pub const fn is_ignorable(number: u64) -> bool {
    number % 2 == 1
}

/// The highest first byte that a later version may give a stream or a record of a new kind. What begins with more is
/// no framelane.
pub const MAX_KIND: u8 = 31;

/// The fields of one message or header, read one after the other up to the end of its payload.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    reader: Reader<'a>,
    what: &'static str,
    last: Option<u64>,
}

impl<'a> Fields<'a> {
    /// Takes what `reader` has left as the fields of `what`.
    ///
    /// # Errors
    /// None yet; each field is checked when it is read.
    pub(super) fn of(reader: &mut Reader<'a>, what: &'static str) -> Result<Self, WireError> {
        let rest = reader.take(reader.remaining(), what)?;
        Ok(Self { reader: Reader::new(rest), what, last: None })
    }

    /// The number of the next field and its content; `None` after the last.
    ///
    /// # Errors
    /// [`WireError`] where a field is cut short, or its number does not go up.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Reader<'a>)>, WireError> {
        if self.reader.remaining() == 0 {
            return Ok(None);
        }
        let number = self.reader.varint(self.what)?;
        if self.last.is_some_and(|last| last >= number) {
            return Err(self.malformed(format!("field {number} is out of order")));
        }
        self.last = Some(number);
        let length = self.reader.varint(self.what)?;
        let content = self.reader.take(usize::try_from(length).unwrap_or(usize::MAX), self.what)?;
        Ok(Some((number, Reader::new(content))))
    }

    /// What becomes of a field that nobody here knows.
    ///
    /// # Errors
    /// [`WireError::Malformed`] with its number, where it must not be skipped.
    pub(super) fn unknown(&self, number: u64) -> Result<(), WireError> {
        if is_ignorable(number) {
            return Ok(());
        }
        Err(self.malformed(format!(
            "it has field {number}, which this version does not know and must not skip"
        )))
    }

    /// Reads the rest where no field is known.
    ///
    /// # Errors
    /// As [`Fields::next`] and [`Fields::unknown`].
    pub(super) fn skip(mut self) -> Result<(), WireError> {
        while let Some((number, _)) = self.next()? {
            self.unknown(number)?;
        }
        Ok(())
    }

    fn malformed(&self, why: String) -> WireError {
        WireError::malformed(self.what, why)
    }
}

/// Writes a field whose content `fill` writes.
pub(super) fn put(out: &mut Writer, number: u64, fill: impl FnOnce(&mut Writer)) {
    let mut content = Writer::new();
    fill(&mut content);
    out.varint(number).varint(content.len() as u64).raw(&content.finish());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<u64>, WireError> {
        let mut fields = Fields::of(&mut Reader::new(bytes), "an example")?;
        let mut known = Vec::new();
        while let Some((number, content)) = fields.next()? {
            if number == 4 {
                content.end("field 4")?;
                known.push(number);
            } else {
                fields.unknown(number)?;
            }
        }
        Ok(known)
    }

    #[test]
    fn odd_ones_are_skipped_and_even_ones_refused_by_number() {
        assert_eq!(read(&[3, 2, 9, 9, 4, 0, 0x40, 0x81, 1, 0]), Ok(vec![4]));
        let error = read(&[6, 0]).unwrap_err().to_string();
        assert!(error.contains("an example") && error.contains("field 6"), "{error}");
    }

    #[test]
    fn numbers_go_up_and_lengths_are_held() {
        for bad in [&[4, 0, 4, 0][..], &[4, 0, 3, 0], &[3, 2, 9], &[3], &[4, 1, 0]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_put_comes_back() {
        let mut out = Writer::new();
        put(&mut out, 4, |_| {});
        put(&mut out, 5, |content| {
            content.u64(7);
        });
        assert_eq!(read(&out.finish()), Ok(vec![4]));
    }
}
