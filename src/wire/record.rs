//! How messages and frames follow one another on a TCP connection.
//!
//! A record is one type byte and then, by type: a session message in its own encoding, a frame
//! header followed by as many body bytes as it announces, or a close code with a reason. QUIC needs
//! none of this: there every frame has its own stream.

use bytes::Bytes;

use super::codec::{Decoded, Reader, WireError, Writer, peek_varint};
use super::field::{MAX_KIND, is_ignorable};
use super::header::FrameHeader;
use super::limits::MAX_MESSAGE_BYTES;
use super::message::Message;

const MESSAGE: u8 = 1;
const FRAME: u8 = 2;
const CLOSE: u8 = 3;

const MAX_REASON_BYTES: u64 = 1_024;

/// The start of a record; the body of a frame follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A session message.
    Message(Message),
    /// A frame; its body follows.
    Frame(FrameHeader),
    /// The sender of this record ends the session.
    Close {
        /// A [`super::CloseCode`] number.
        code: u64,
        /// For people.
        reason: String,
    },
}

/// The bytes of a message record.
pub fn message(message: &Message) -> Bytes {
    let mut out = Writer::new();
    out.byte(MESSAGE).raw(&message.encode());
    out.finish()
}

/// The bytes of a frame record up to its body.
///
/// # Errors
/// As [`FrameHeader::encode`].
pub fn frame(header: &FrameHeader) -> Result<Bytes, WireError> {
    let mut out = Writer::new();
    out.byte(FRAME).raw(&header.encode()?);
    Ok(out.finish())
}

/// The bytes of a close record.
pub fn close(code: u64, reason: &str) -> Bytes {
    let mut out = Writer::new();
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES as usize)];
    out.byte(CLOSE).varint(code).text(reason);
    out.finish()
}

/// Decodes the start of a record at the start of `bytes`.
///
/// # Errors
/// [`WireError`] as soon as what is there cannot become a record.
pub fn decode(bytes: &[u8]) -> Result<Decoded<Record>, WireError> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(Decoded::NeedMore(1)) };
    match kind {
        MESSAGE => Ok(behind_type(Message::decode(rest)?, Record::Message)),
        FRAME => Ok(behind_type(FrameHeader::decode(rest)?, Record::Frame)),
        CLOSE => decode_close(rest),
        other if other <= MAX_KIND && is_ignorable(u64::from(other)) => decode_skipped(other, rest),
        other => Err(WireError::malformed(
            "a record",
            format!("unknown type {other}; is the peer a framelane of another version?"),
        )),
    }
}

fn behind_type<T>(decoded: Decoded<T>, wrap: fn(T) -> Record) -> Decoded<Record> {
    match decoded {
        Decoded::NeedMore(need) => Decoded::NeedMore(need + 1),
        Decoded::Value(value, length) => Decoded::Value(wrap(value), length + 1),
    }
}

/// A record of a later version that may be skipped: a length and as many bytes, at most as a message has.
fn decode_skipped(kind: u8, bytes: &[u8]) -> Result<Decoded<Record>, WireError> {
    let (length, length_bytes) = match peek_varint(bytes) {
        Decoded::NeedMore(need) => return Ok(Decoded::NeedMore(1 + need)),
        Decoded::Value(value, length) => (value, length),
    };
    if length > MAX_MESSAGE_BYTES {
        let what = "the length of a record";
        return Err(WireError::OverLimit { what, value: length, limit: MAX_MESSAGE_BYTES });
    }
    let total = 1 + length_bytes + length as usize;
    if bytes.len() + 1 < total {
        return Ok(Decoded::NeedMore(total));
    }
    Ok(Decoded::Value(Record::Message(Message::Skipped { kind: u64::from(kind) }), total))
}

fn decode_close(bytes: &[u8]) -> Result<Decoded<Record>, WireError> {
    let (_, code_bytes) = match peek_varint(bytes) {
        Decoded::NeedMore(need) => return Ok(Decoded::NeedMore(1 + need)),
        Decoded::Value(code, length) => (code, length),
    };
    let (reason, reason_bytes) = match peek_varint(&bytes[code_bytes..]) {
        Decoded::NeedMore(need) => return Ok(Decoded::NeedMore(1 + code_bytes + need)),
        Decoded::Value(value, length) => (value, length),
    };
    if reason > MAX_REASON_BYTES {
        let what = "the reason of a close";
        return Err(WireError::OverLimit { what, value: reason, limit: MAX_REASON_BYTES });
    }
    let total = code_bytes + reason_bytes + reason as usize;
    if bytes.len() < total {
        return Ok(Decoded::NeedMore(1 + total));
    }
    let mut reader = Reader::new(&bytes[..total]);
    let code = reader.varint("a close")?;
    let reason = reader.text(MAX_REASON_BYTES, "a close")?.to_owned();
    Ok(Decoded::Value(Record::Close { code, reason }, 1 + total))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_close() {
        assert_eq!(&close(3, "ok")[..], b"\x03\x03\x02ok");
        let close = Record::Close { code: 3, reason: "ok".to_owned() };
        assert_eq!(decode(b"\x03\x03\x02ok"), Ok(Decoded::Value(close, 5)));
    }

    #[test]
    fn prefixes_need_more() {
        for bytes in [message(&Message::ClockProbe(1)), close(70, "why")] {
            for cut in 0..bytes.len() {
                match decode(&bytes[..cut]) {
                    Ok(Decoded::NeedMore(total)) => assert!(total > cut && total <= bytes.len()),
                    other => panic!("{cut} bytes gave {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_record_of_a_later_version_is_skipped_where_it_may_be() {
        let skipped = Record::Message(Message::Skipped { kind: 5 });
        assert_eq!(decode(b"\x05\x02xx\x03"), Ok(Decoded::Value(skipped, 4)));
        assert_eq!(decode(b"\x05\x02x"), Ok(Decoded::NeedMore(4)));
        assert_eq!(decode(b"\x05"), Ok(Decoded::NeedMore(2)));
        assert!(decode(b"\x06\x00").is_err());
        assert!(decode(b"\x05\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn another_protocol_is_told_apart() {
        assert!(decode(b"GET / HTTP/1.1\r\n").is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
