//! Lines of the ledger, there and back.

use proptest::prelude::*;

use super::*;
use crate::manifest::lines::MAX_LINE_BYTES;

pub(crate) const RUN: RunId = RunId([0x5a; 16]);

pub(crate) fn dropped(first: u64, last: u64) -> Entry {
    let (range, reason) = (Range { first, last }, Some(DropReason::Late));
    let captured = Some((UnixNanos(first), UnixNanos(last)));
    Entry::Dropped { run: RUN, range, reason, place: Place::Sender, captured }
}

fn line(entry: &Entry) -> String {
    let mut line = Vec::new();
    entry.write_line(&mut line);
    assert!(line.len() <= MAX_LINE_BYTES / 2);
    String::from_utf8(line).unwrap()
}

#[test]
fn golden_lines() {
    let range = Range { first: 3, last: 9 };
    let run = RUN;
    let text = |text: &str| Some(text.to_owned());
    for (entry, golden) in [
        (
            Entry::Opened {
                owner: text("sha256:ab"),
                name: text("cam1"),
                source: "visible".to_owned(),
                at: UnixNanos(7),
            },
            r#"{"owner":"sha256:ab","name":"cam1","source":"visible","opened":7}"#,
        ),
        (
            Entry::Opened { owner: None, name: None, source: "v".to_owned(), at: UnixNanos(7) },
            r#"{"source":"v","opened":7}"#,
        ),
        (
            Entry::Began {
                run,
                at: UnixNanos(5),
                first: 0,
                endless: false,
                live: false,
                sender: text("sha256:ab"),
            },
            r#"{"run":"R","began":5,"first":0,"sender":"sha256:ab"}"#,
        ),
        (
            Entry::Began {
                run,
                at: UnixNanos(5),
                first: 8,
                endless: true,
                live: true,
                sender: None,
            },
            r#"{"run":"R","began":5,"first":8,"endless":true,"live":true}"#,
        ),
        (
            dropped(3, 9),
            r#"{"run":"R","dropped":{"first":3,"last":9},"reason":"late","where":"sender","captured_unix_ns":[3,9]}"#,
        ),
        (
            Entry::StoredBefore { run, range, earlier: None },
            r#"{"run":"R","stored_before":{"first":3,"last":9}}"#,
        ),
        (
            Entry::StoredBefore {
                run,
                range,
                earlier: Some(Earlier { run: RunId([0xa5; 16]), first: 1 }),
            },
            r#"{"run":"R","stored_before":{"first":3,"last":9},"by":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5","by_first":1}"#,
        ),
        (Entry::TakenAway { run, range }, r#"{"run":"R","taken_away":{"first":3,"last":9}}"#),
        (
            Entry::Ended { run, at: UnixNanos(6), first: None, captured: 10 },
            r#"{"run":"R","ended":6,"captured":10}"#,
        ),
        (
            Entry::Ended { run, at: UnixNanos(6), first: Some(8), captured: 10 },
            r#"{"run":"R","first":8,"ended":6,"captured":10}"#,
        ),
        (
            Entry::ResumedBy { run, by: RunId([0xa5; 16]) },
            r#"{"run":"R","resumed_by":"a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5"}"#,
        ),
        (
            Entry::Expired { run, range, at: UnixNanos(8) },
            r#"{"run":"R","expired":{"first":3,"last":9},"expired_unix_ns":8}"#,
        ),
    ] {
        let golden = golden.replace("\"R\"", &format!("\"{RUN}\""));
        assert_eq!(line(&entry), format!("{golden}\n"));
        assert_eq!(Entry::parse(golden.as_bytes()).unwrap(), Some(entry));
    }
}

#[test]
fn what_is_not_known_is_ignored_and_what_is_wrong_is_refused() {
    let parse = |text: &str| Entry::parse(text.replace("\"R\"", &format!("\"{RUN}\"")).as_bytes());
    for unknown in
        ["{}", r#"{"paused":3}"#, r#"{"run":"R","paused":{"first":1}}"#, r#"{"note":"mine"}"#]
    {
        assert_eq!(parse(unknown).unwrap(), None, "{unknown}");
    }
    let later = r#"{"run":"R","dropped":{"first":1,"last":2,"by":3},"reason":"new","more":[]}"#;
    assert!(matches!(parse(later).unwrap(), Some(Entry::Dropped { reason: None, .. })));
    for wrong in [
        "",
        "7",
        r#"{"run":7}"#,
        r#"{"run":"abc","began":1}"#,
        r#"{"run":"R","dropped":{"first":9,"last":3}}"#,
        r#"{"run":"R","dropped":{"first":-1,"last":3}}"#,
        r#"{"run":"R","ended":1e30,"captured":1}"#,
    ] {
        assert!(parse(wrong).is_err(), "{wrong} was taken");
    }
}

#[test]
fn neighbours_become_one() {
    assert_eq!(dropped(0, 4).joined(&dropped(5, 9)), Some(dropped(0, 9)));
    assert_eq!(dropped(0, 4).joined(&dropped(6, 9)), None);
    assert_eq!(dropped(5, 9).joined(&dropped(0, 4)), None);
    assert_eq!(
        dropped(0, u64::MAX).joined(&dropped(u64::MAX, u64::MAX)),
        Some(dropped(0, u64::MAX))
    );
    let before =
        Entry::StoredBefore { run: RUN, range: Range { first: 5, last: 6 }, earlier: None };
    assert_eq!(dropped(0, 4).joined(&before), None);
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Entry::parse(&line);
    }
}
