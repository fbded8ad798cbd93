use proptest::prelude::*;

use super::*;

const LIKELY: Outlook = Outlook::PerhapsWhole { likely: true };
const UNLIKELY: Outlook = Outlook::PerhapsWhole { likely: false };

fn opening(format: &str, directory: &str) -> Opening {
    Opening { format: format.to_owned(), directory: directory.to_owned() }
}

fn header(bytes: u64, name: &str) -> Header {
    Header { bytes, name: FrameName::parse(name).unwrap() }
}

#[test]
fn golden_texts() {
    assert_eq!(&opening("visible", "out").encode().unwrap()[..], b"visible|out");
    assert_eq!(&header(48_213, "7.png").encode().unwrap()[..], b"48213|7.png");
    assert_eq!(Header::parse(b"48213|7.png"), Ok(header(48_213, "7.png")));
    assert_eq!(Opening::parse(b"visible|out"), Ok(opening("visible", "out")));
}

#[test]
fn a_header_grows_from_need_more_to_perhaps_whole() {
    let text = b"48213|7.png";
    for cut in 0..=6 {
        assert_eq!(header_outlook(&text[..cut]), Ok(Outlook::NeedMore), "{cut}");
    }
    for cut in 7..text.len() {
        assert_eq!(header_outlook(&text[..cut]), Ok(UNLIKELY), "{cut}");
    }
    assert_eq!(header_outlook(text), Ok(LIKELY));
    // A name that is unsafe so far can still become a safe one; only silence settles it.
    assert_eq!(header_outlook(b"5|.."), Ok(UNLIKELY));
    assert_eq!(header_outlook(b"5|nul"), Ok(UNLIKELY));
    assert_eq!(header_outlook(b"5|.png"), Ok(UNLIKELY));
}

#[test]
fn a_character_cut_in_two_is_waited_for() {
    let text = "5|雪.png".as_bytes();
    assert_eq!(header_outlook(&text[..3]), Ok(Outlook::NeedMore));
    assert_eq!(header_outlook(&text[..4]), Ok(Outlook::NeedMore));
    assert_eq!(header_outlook(&text[..5]), Ok(UNLIKELY));
    assert!(Header::parse(&text[..4]).is_err());
}

#[test]
fn what_can_become_no_header_is_refused_at_once() {
    let long = format!("5|{}", "x".repeat(MAX_TEXT_BYTES));
    for bad in [
        &b"-5|a.png"[..],
        b"5a",
        b" 5|a",
        b"+5|a",
        b"1_0|a",
        b"|a.png",
        b"5|a|b",
        b"0000000000000",
        b"99999999999999999999|a.png",
        b"5|a\xff.png",
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        long.as_bytes(),
    ] {
        assert!(header_outlook(bad).is_err(), "{:?}", bad.escape_ascii().to_string());
    }
}

#[test]
fn whole_headers_with_unsafe_names_are_refused() {
    for bad in
        ["5|", "5", "", "5|..", "5|../x", "5|a/b", "5|a\\b", "5|a\0", "5|nul", "5|manifest.jsonl"]
    {
        assert!(Header::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

#[test]
fn a_directory_becomes_one_safe_name() {
    for (format, directory, source) in [
        ("visible", "visible", "visible"),
        ("visible", "./visible/", "visible"),
        ("0", "D:\\data\\infrared", "infrared"),
        ("0", "/srv/store/ir//./", "ir"),
        ("visible", "..", "visible"),
        ("visible", "../..", "visible"),
        ("visible", "/", "visible"),
        ("visible", ".", "visible"),
        ("visible", "D:", "visible"),
        ("visible", "D:\\", "visible"),
        ("visible", "D:x", "visible"),
        ("visible", "a/nul", "visible"),
    ] {
        assert_eq!(opening(format, directory).source().unwrap().as_str(), source, "{directory}");
    }
    assert!(opening("a/b", "..").source().is_err());
}

#[test]
fn what_is_no_opening_is_refused() {
    assert!(opening_outlook(b"visible|a|b").is_err());
    assert!(opening_outlook(b"|a").is_err());
    assert!(opening_outlook(&[b'x'; MAX_TEXT_BYTES + 1]).is_err());
    assert_eq!(opening_outlook(b"visible"), Ok(Outlook::NeedMore));
    assert_eq!(opening_outlook(b"visible|"), Ok(Outlook::NeedMore));
    assert_eq!(opening_outlook(b"visible|o"), Ok(UNLIKELY));
    for bad in [&b"visible"[..], b"visible|", b"", b"a|b|c"] {
        assert!(Opening::parse(bad).is_err());
    }
    assert!(opening("a|b", "c").encode().is_err());
}

#[test]
fn frames_the_protocol_cannot_carry_are_named() {
    let error = header(1, "tiny.png").encode().unwrap_err().to_string();
    assert!(error.contains("tiny.png") && error.contains("2 bytes or more"), "{error}");
    let error = header(5, "a|b.png").encode().unwrap_err().to_string();
    assert!(error.contains("a|b.png") && error.contains("rename"), "{error}");
    assert!(header(10_u64.pow(12), "a.png").encode().is_err());
}

#[test]
fn numbers_in_names() {
    for (name, number) in [
        ("7.png", Some(7)),
        ("0012.jpg", Some(12)),
        ("cam1_0042.tiff", Some(42)),
        ("雪7.png", Some(7)),
        ("12雪", Some(12)),
        ("a.mp4", None),
        ("frame.png", None),
        ("1234567890123456.png", None),
    ] {
        assert_eq!(header(5, name).number(), number, "{name}");
    }
}

#[test]
fn commands_merged_and_split() {
    use Decoded::{NeedMore, Value};
    assert_eq!(Command::decode(b""), Ok(NeedMore(1)));
    assert_eq!(Command::decode(b"cont"), Ok(NeedMore(8)));
    assert_eq!(Command::decode(b"ov"), Ok(NeedMore(4)));
    assert_eq!(Command::decode(b"over"), Ok(Value(Command::Over, 4)));
    assert_eq!(Command::decode(b"continue48213|7.png"), Ok(Value(Command::Continue, 8)));
    for bad in [&b"x"[..], b"oven", b"contINUE", b"\xff", b"ok"] {
        assert!(Command::decode(bad).is_err());
    }
}

#[test]
fn replies() {
    assert_eq!(decode_ok(b""), Ok(Decoded::NeedMore(2)));
    assert_eq!(decode_ok(b"o"), Ok(Decoded::NeedMore(2)));
    assert_eq!(decode_ok(b"ok"), Ok(Decoded::Value((), 2)));
    for bad in [&b"no"[..], b"okok", b"OK", b"ok\n"] {
        assert!(decode_ok(bad).is_err());
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1_200)) {
        let _ = opening_outlook(&bytes);
        let _ = header_outlook(&bytes);
        let _ = Opening::parse(&bytes).map(|opening| opening.source());
        let _ = Header::parse(&bytes).map(|header| header.number());
        let _ = Command::decode(&bytes);
        let _ = decode_ok(&bytes);
    }

    #[test]
    fn headers_come_back(bytes in 2..1_000_000_000_000_u64, name in "[^|/\\\\\\pC]{1,40}") {
        if let Ok(name) = FrameName::parse(&name) {
            let header = Header { bytes, name };
            let text = header.encode().unwrap();
            prop_assert_eq!(Header::parse(&text), Ok(header));
            for cut in 0..text.len() {
                prop_assert!(header_outlook(&text[..cut]).is_ok());
            }
        }
    }

    #[test]
    fn a_source_is_never_a_path(format in "\\PC{0,10}", directory in "[a-zA-Z./\\\\: |]{0,30}") {
        if let Ok(source) = opening(&format, &directory).source() {
            prop_assert!(!source.as_str().contains(['/', '\\']));
            prop_assert!(source.as_str() != "..");
        }
    }
}
