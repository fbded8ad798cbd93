use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::frame::{
    Captured, Clock, DropRange, DropReason, Frame, FrameMeta, FrameName, RunId, Sequence,
    SourceName, UnixNanos,
};
use crate::manifest::{Earlier, Entry, LEDGER_NAME, Place, Range};
use crate::store::{FolderStore, Note, OpenSource, Opener, Outcome, ReceivedFrame, StoreOptions};

pub(super) fn store(out: &Path, source: &str, count: u64) {
    let store = FolderStore::open(out, StoreOptions::default()).unwrap();
    let mut source = store.source(&SourceName::parse(source).unwrap(), &Opener::default()).unwrap();
    let frames: Vec<_> = (0..count).map(|sequence| frame(sequence, false)).collect();
    assert_eq!(source.store_batch(&frames), vec![Outcome::Stored; frames.len()]);
}

/// Stores another frame in the place of one.
pub(super) fn replace(out: &Path, source: &str, sequence: u64) {
    let store = FolderStore::open(out, StoreOptions::default()).unwrap();
    let mut source = store.source(&SourceName::parse(source).unwrap(), &Opener::default()).unwrap();
    assert_eq!(source.store_batch(&[frame(sequence, true)]), [Outcome::Stored]);
}

fn frame(sequence: u64, replace: bool) -> ReceivedFrame {
    let name = FrameName::parse(&format!("{sequence:03}.jpg")).unwrap();
    let body = Bytes::from(format!("frame {sequence:03} {replace}"));
    let meta = FrameMeta {
        sequence: Sequence(sequence),
        media: name.media_type(),
        name,
        bytes: body.len() as u64,
        hash: None,
        captured: None,
        due: None,
        modified: None,
    };
    ReceivedFrame {
        frame: Frame { meta, body },
        from: Arc::default(),
        received: UnixNanos(1),
        replace,
    }
}

pub(super) fn check(path: &Path) -> VerifyReport {
    let options = VerifyOptions { threads: 3, named: 100, since: None };
    verify(path, options, &mut |_| {}).unwrap()
}

/// One source of many: what is known of the others is told all the same.
#[test]
fn a_source_that_cannot_be_read_hides_no_other() {
    let out = TempDir::new().unwrap();
    for source in ["a", "b", "c"] {
        store(out.path(), source, 3);
    }
    let manifest = out.path().join("b").join(FILE_NAME);
    fs::remove_file(&manifest).unwrap();
    symlink("/nowhere", &manifest).unwrap();
    let report = check(out.path());
    assert!(!report.is_proven() && !report.proven);
    let verified: Vec<_> = report.sources.iter().map(|s| (s.source.as_str(), s.verified)).collect();
    assert_eq!(verified, [("a", 3), ("c", 3)]);
    assert!(report.sources.iter().all(SourceReport::is_proven));
    assert_eq!((report.unreadable.count, report.unreadable.first[0].source.as_str()), (1, "b"));
    assert!(report.unreadable.first[0].reason.contains("manifest.jsonl"), "{report:?}");
    // By itself it is an error.
    let alone = verify(&out.path().join("b"), VerifyOptions::default(), &mut |_| {});
    assert!(alone.unwrap_err().to_string().contains("manifest.jsonl"));
}

#[test]
fn an_untouched_store_is_proven() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 300);
    store(out.path(), "infrared", 5);
    let mut last = Vec::new();
    let mut progress =
        |at: Progress<'_>| last.push((at.source.to_owned(), at.frames, at.of_frames));
    let report = verify(out.path(), VerifyOptions::default(), &mut progress).unwrap();
    assert_eq!(last.last(), Some(&("visible".to_owned(), 300, 300)));
    assert!(report.is_proven());
    let counts: Vec<_> =
        report.sources.iter().map(|s| (s.source.as_str(), s.frames, s.verified)).collect();
    assert_eq!(counts, [("infrared", 5, 5), ("visible", 300, 300)]);
    assert_eq!(report.sources[1].verified_bytes, 300 * "frame 000 false".len() as u64);
    let single =
        verify(&out.path().join("visible"), VerifyOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(single.sources[0], report.sources[1]);
}

#[test]
fn every_kind_of_damage_is_named() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 200);
    let folder = out.path().join("visible");
    fs::remove_file(folder.join("010.jpg")).unwrap();
    fs::write(folder.join("020.jpg"), "frame 020 fAlse").unwrap();
    fs::write(folder.join("030.jpg"), "short").unwrap();
    fs::remove_file(folder.join("040.jpg")).unwrap();
    symlink(folder.join("041.jpg"), folder.join("040.jpg")).unwrap();
    fs::write(folder.join("extra.jpg"), "x").unwrap();
    fs::write(folder.join(".framelane-x.part"), "x").unwrap();
    fs::create_dir(folder.join(".framelane-3.part")).unwrap();
    symlink("/", folder.join("link")).unwrap();
    fs::create_dir(out.path().join("empty")).unwrap();
    symlink(&folder, out.path().join("other")).unwrap();
    let manifest = folder.join(FILE_NAME);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("\"sequence\":50,", "\"sequence\":51,", 1) + "{\"torn")
        .unwrap();

    let report = check(out.path());
    assert!(!report.is_proven());
    assert_eq!(report.unknown.first, ["empty", "other"]);
    let source = &report.sources[0];
    assert_eq!((source.frames, source.verified), (200, 196));
    assert_eq!(source.missing.first, ["010.jpg"]);
    assert_eq!(
        source.unknown.first,
        [".framelane-3.part", ".framelane-x.part", "extra.jpg", "link"]
    );
    let altered: Vec<_> = source.altered.first.iter().map(|a| (a.name.as_str(), &a.how)).collect();
    assert!(matches!(altered[0], ("020.jpg", Alteration::Content { .. })), "{altered:?}");
    assert_eq!(altered[1], ("030.jpg", &Alteration::Length { expected: 15, found: 5 }));
    assert_eq!(altered[2], ("040.jpg", &Alteration::NotAFile));
    assert_eq!(altered.len(), 3);
    assert_eq!((source.bad_lines.count, source.bad_lines.first[0].line), (1, 201));
    assert_eq!(source.sequences.gaps.first, [SequenceGap { from: 50, to: 50 }]);
    assert_eq!(source.sequences.duplicates, 1);
}

#[test]
fn only_the_last_line_of_a_replaced_frame_counts() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 3);
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let mut source =
        store.source(&SourceName::parse("visible").unwrap(), &Opener::default()).unwrap();
    source.store_batch(&[frame(1, true)]);
    let report = check(out.path());
    assert!(report.is_proven());
    assert_eq!((report.sources[0].frames, report.sources[0].sequences.duplicates), (3, 0));
}

#[test]
fn findings_are_all_counted_and_some_named() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 150);
    let folder = out.path().join("visible");
    (0..150).for_each(|n| fs::remove_file(folder.join(format!("{n:03}.jpg"))).unwrap());
    let missing = &check(out.path()).sources[0].missing;
    assert_eq!((missing.count, missing.first.len()), (150, 100));
}

#[test]
fn a_folder_without_manifests_is_an_error_that_says_what_to_name() {
    let out = TempDir::new().unwrap();
    fs::write(out.path().join("0.jpg"), "x").unwrap();
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("`out`"), "{error}");
    let nowhere = out.path().join("nowhere");
    let error = verify(&nowhere, VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn a_link_that_leads_nowhere_is_told_with_its_target() {
    let out = TempDir::new().unwrap();
    let link = out.path().join("link");
    symlink("unplugged", &link).unwrap();
    let error = verify(&link, VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("a symbolic link to unplugged, and there is"), "{error}");
    // The same as all that is in a store.
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("link to unplugged, where there is nothing"), "{error}");
}

#[test]
fn a_store_that_has_its_source_behind_a_link_is_told_to_name_it() {
    let (out, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    store(elsewhere.path(), "visible", 1);
    let (link, target) = (out.path().join("visible"), elsewhere.path().join("visible"));
    symlink(&target, &link).unwrap();
    let error = verify(out.path(), VerifyOptions::default(), &mut |_| {}).unwrap_err();
    let (store, path) = (out.path().to_owned(), link.clone());
    assert_eq!(error, VerifyError::OnlyLinked { store, path, target, found: true });
    // Named itself it is followed, as the user's own word.
    assert!(check(&link).is_proven());
}

#[test]
fn what_a_file_system_has_of_its_own_is_neither_source_nor_unknown() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 1);
    let own = out.path().join("lost+found");
    fs::create_dir(&own).unwrap();
    // As it is for everybody but root.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o000)).unwrap();
    let report = check(out.path());
    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(report.is_proven() && report.unknown.is_empty(), "{report:?}");
    // A source may be called so all the same.
    store(out.path(), "lost+found", 1);
    assert_eq!(check(out.path()).sources.len(), 2);
}

// --- Runs. ---

pub(super) const ONE: RunId = RunId([1; 16]);
const TWO: RunId = RunId([2; 16]);

/// A source with frames of run [`ONE`] and what is declared of it.
pub(super) fn declared(frames: &[u64], notes: &[Note]) -> (TempDir, VerifyReport) {
    let out = TempDir::new().unwrap();
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let mut opener = Opener::with_pin(Some("sha256:ab"));
    opener.name = Some("cam1".into());
    opener.run = Some(ONE);
    let mut source = store.source(&SourceName::parse("visible").unwrap(), &opener).unwrap();
    let began =
        Note::Began { run: ONE, at: UnixNanos(5), endless: false, live: false, first: None };
    source.note(&opener, &[began]).unwrap();
    let from = Arc::new(opener.clone());
    let frames: Vec<_> = frames
        .iter()
        .map(|&sequence| {
            let mut frame = ReceivedFrame { from: from.clone(), ..frame(sequence, false) };
            frame.frame.meta.captured =
                Some(Captured { at: UnixNanos(6), clock: Clock::Read, uncertainty: None });
            frame
        })
        .collect();
    assert_eq!(source.store_batch(&frames), vec![Outcome::Stored; frames.len()]);
    source.note(&opener, notes).unwrap();
    let report = check(out.path());
    (out, report)
}

pub(super) fn ended(captured: u64) -> Note {
    Note::Ended { run: ONE, at: UnixNanos(9), first: None, captured }
}

fn dropped(first: u64, count: u64, reason: DropReason) -> Note {
    let range = DropRange { first: Sequence(first), count, reason, captured: None };
    Note::Dropped { run: ONE, ranges: vec![range], place: Place::Sender }
}

fn gaps(report: &VerifyReport) -> Vec<(u64, u64)> {
    report.sources[0].account.gaps.first.iter().map(|gap| (gap.from, gap.to)).collect()
}

#[test]
fn a_run_of_which_all_is_stored_or_declared_is_complete() {
    let (_out, report) = declared(&[0, 1, 2], &[ended(3)]);
    assert!(report.proven);
    assert_eq!(
        (report.sources[0].account.state, report.sources[0].account.dropped),
        (State::Complete, 0)
    );
    // A frame that was given up and came all the same is none that was dropped.
    let notes = [dropped(2, 3, DropReason::Late), dropped(5, 1, DropReason::SpoolFull), ended(6)];
    let (_out, report) = declared(&[0, 1, 2], &notes);
    assert!(report.proven);
    let account = &report.sources[0].account;
    assert_eq!((account.state, account.dropped), (State::Complete, 3));
    let drops: Vec<_> = account.drops.iter().map(|drops| (drops.reason, drops.frames)).collect();
    assert_eq!(drops, [("late", 2), ("spool-full", 1)]);
}

#[test]
fn a_run_has_its_frames_from_where_its_sender_says() {
    let ended = |first| Note::Ended { run: ONE, at: UnixNanos(9), first, captured: 3 };
    let (_out, report) = declared(&[5, 6, 7], &[ended(Some(Sequence(5)))]);
    assert!(report.proven, "{report:?}");
    // Otherwise what was taken for its first when it began counts.
    let (_out, report) = declared(&[5, 6, 7], &[ended(None)]);
    assert_eq!(gaps(&report), [(0, 2)]);
}

#[test]
fn frames_without_file_or_declaration_are_a_gap() {
    let (_out, report) = declared(&[0, 3], &[dropped(1, 1, DropReason::Late), ended(6)]);
    assert!(!report.proven);
    assert_eq!(
        (report.sources[0].account.state, gaps(&report)),
        (State::Gap, vec![(2, 2), (4, 5)])
    );
    let (_out, report) = declared(&[], &[ended(u64::MAX)]);
    assert_eq!(gaps(&report), [(0, u64::MAX - 1)]);
    let (_out, report) = declared(&[], &[ended(0)]);
    assert!(report.proven);
}

/// A later run of the same sender, with so many frames, all of which are stored.
fn send_again(store: &Path, frames: u64) {
    let mut opener = Opener::with_pin(Some("sha256:ab"));
    opener.run = Some(TWO);
    let store = FolderStore::open(store, StoreOptions::default()).unwrap();
    let mut source = store.source(&SourceName::parse("visible").unwrap(), &opener).unwrap();
    let began =
        Note::Began { run: TWO, at: UnixNanos(6), endless: false, live: false, first: None };
    source.note(&opener, &[began]).unwrap();
    let from = Arc::new(opener.clone());
    let again: Vec<_> = (0..frames)
        .map(|sequence| ReceivedFrame { from: from.clone(), ..frame(sequence, false) })
        .collect();
    source.store_batch(&again);
    let (at, first, captured) = (UnixNanos(7), None, frames);
    source.note(&opener, &[Note::Ended { run: TWO, at, first, captured }]).unwrap();
}

#[test]
fn what_the_receiver_refused_is_not_proven_until_it_is_sent_again() {
    let notes = [dropped(1, 3, DropReason::Refused), dropped(4, 1, DropReason::Late), ended(5)];
    for (frames, is_proven) in [(5, true), (6, true), (4, false)] {
        let (out, report) = declared(&[0], &notes);
        let account = &report.sources[0].account;
        assert!(!report.proven);
        assert_eq!((account.state, account.dropped, account.refused), (State::Complete, 4, 3));
        // Fewer frames are those of another folder.
        send_again(out.path(), frames);
        let report = check(out.path());
        let refused = report.sources[0].account.refused;
        assert_eq!((report.proven, refused == 0), (is_proven, is_proven), "{frames}");
    }
    // Where nothing was stored, the number of frames alone tells that it is the same folder.
    for (frames, is_proven) in [(3, true), (4, false)] {
        let (out, _) = declared(&[], &[dropped(0, 3, DropReason::Refused), ended(3)]);
        send_again(out.path(), frames);
        assert_eq!(check(out.path()).proven, is_proven, "{frames}");
    }
}

#[test]
fn drops_of_a_folder_that_a_later_run_of_it_brought_are_told_apart() {
    let notes = [dropped(1, 2, DropReason::Unreadable), dropped(4, 1, DropReason::Conflict)];
    let (out, _) = declared(&[0, 3], &[&notes[..], &[ended(5)]].concat());
    let account = |report: VerifyReport| {
        let account = &report.sources[0].account;
        (account.dropped, account.came_later, account.refused, account.other_content)
    };
    assert_eq!(account(check(out.path())), (3, 0, 1, 1));
    send_again(out.path(), 5);
    assert_eq!(account(check(out.path())), (3, 3, 0, 0));
    // Of a folder with fewer frames nothing is known.
    let (out, _) = declared(&[0, 3], &[&notes[..], &[ended(5)]].concat());
    send_again(out.path(), 4);
    assert_eq!(account(check(out.path())), (3, 0, 1, 1));
    // Where no frame was stored, the number alone does not tell that what could not be read is there now.
    let (out, _) = declared(&[], &[dropped(0, 3, DropReason::Vanished), ended(3)]);
    send_again(out.path(), 3);
    assert_eq!(account(check(out.path())), (3, 0, 0, 0));
}

/// A source whose frames come about while it runs: so many of two runs, captured at these times, and what the first
/// dropped.
fn watched(drops: &[DropRange], brought: &[u64]) -> Account {
    let out = TempDir::new().unwrap();
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let name = SourceName::parse("visible").unwrap();
    let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
    for (run, began, first, times) in [(ONE, 100, 0, &[][..]), (TWO, 300, 50, brought)] {
        let mut opener = Opener::with_pin(Some("sha256:ab"));
        opener.run = Some(run);
        let mut source = store.source(&name, &opener).unwrap();
        let began = Note::Began { run, at: at(began), endless: true, live: false, first: None };
        source.note(&opener, &[began]).unwrap();
        let from = Arc::new(opener.clone());
        for (place, &time) in times.iter().enumerate() {
            let mut frame =
                ReceivedFrame { from: from.clone(), ..frame(first + place as u64, false) };
            let clock = Clock::Modified;
            let captured = Captured { at: at(time), clock, uncertainty: None };
            frame.frame.meta.captured = Some(captured);
            assert_eq!(source.store_batch(&[frame]), [Outcome::Stored]);
        }
        if run == ONE {
            let ranges = drops.to_vec();
            let dropped = Note::Dropped { run, ranges, place: Place::Sender };
            source.note(&opener, &[dropped]).unwrap();
        }
        let captured = if run == ONE { 50 } else { times.len() as u64 };
        source.note(&opener, &[Note::Ended { run, at: at(400), first: None, captured }]).unwrap();
    }
    drop(store);
    check(out.path()).sources.remove(0).account
}

#[test]
fn drops_of_a_watched_folder_that_came_later_are_known_by_their_times() {
    let drop = |first, count, reason, captured: Option<(u64, u64)>| {
        let time = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let captured = captured.map(|(from, to)| (time(from), time(to)));
        DropRange { first: Sequence(first), count, reason, captured }
    };
    let late = [
        drop(0, 3, DropReason::Late, Some((150, 160))),
        drop(9, 2, DropReason::Late, Some((200, 201))),
    ];
    // A file is found a little after it was made.
    assert_eq!(watched(&late, &[145, 155, 200]).came_later, 3);
    // No more than were dropped, none of another time, none that came about when the later run was there.
    assert_eq!(watched(&late, &[150, 151, 152, 153, 154]).came_later, 3);
    assert_eq!(watched(&late, &[100, 139, 161, 170, 250]).came_later, 0);
    let now = [drop(0, 3, DropReason::Late, Some((290, 310)))];
    assert_eq!(watched(&now, &[295, 305]).came_later, 1);
    // Files that were there when the run began have no time of their own in its declaration.
    let old = [drop(0, 2, DropReason::GivenUp, None)];
    let account = watched(&old, &[20, 30, 40, 120]);
    assert_eq!((account.dropped, account.came_later), (2, 2));
    // Of what was no image nothing can come.
    let no_images = [drop(0, 3, DropReason::NotAnImage, Some((150, 160)))];
    assert_eq!(watched(&no_images, &[150, 151]).came_later, 0);
}

#[test]
fn a_lost_ledger_is_told_as_one_and_made_good_by_the_same_folder() {
    let lost = |out: &Path, text: Option<&str>| {
        let ledger = out.join("visible").join(LEDGER_NAME);
        fs::remove_file(&ledger).unwrap();
        text.into_iter().for_each(|text| fs::write(&ledger, text).unwrap());
        let report = check(out);
        assert!(!report.proven && report.sources[0].verified == 3);
        assert_eq!(report.sources[0].account.state, State::AccountLost, "{text:?}");
    };
    for text in [None, Some(""), Some("{\"source\":\"visible\",\"opened\":7}\n")] {
        let (out, report) = declared(&[0, 1, 2], &[ended(3)]);
        assert!(report.proven);
        lost(out.path(), text);
        send_again(out.path(), 4);
        let report = check(out.path());
        assert!(report.proven, "{:?}", report.sources[0].account);
        let runs = &report.sources[0].account.runs.first;
        let lost = runs.iter().find(|run| run.began_unix_ns.is_none()).unwrap();
        assert!(lost.resumed_by.is_some() && lost.state == State::Complete, "{runs:?}");
    }
}

#[test]
fn a_run_that_has_not_ended_is_not_proven_until_a_later_one_has_all_of_it() {
    let (out, report) = declared(&[0, 1], &[]);
    assert!(!report.proven);
    assert_eq!(report.sources[0].account.state, State::NotEnded);
    send_again(out.path(), 3);
    let report = check(out.path());
    assert!(report.proven, "{report:?}");
    let runs = &report.sources[0].account.runs.first;
    assert_eq!(runs[0].resumed_by.as_deref(), Some(runs[1].run.as_str()));
    assert_eq!((runs[1].stored, runs[1].stored_before), (1, 2));
}

#[test]
fn frames_that_expired_are_not_missing() {
    let (out, _) = declared(&[0, 1, 2], &[ended(3)]);
    fs::remove_file(out.path().join("visible/001.jpg")).unwrap();
    assert!(!check(out.path()).proven);
    let expired = Entry::Expired { run: ONE, range: Range { first: 0, last: 1 }, at: UnixNanos(8) };
    let ledger = out.path().join("visible").join(LEDGER_NAME);
    let mut text = fs::read(&ledger).unwrap();
    expired.write_line(&mut text);
    fs::write(&ledger, &text).unwrap();
    let report = check(out.path());
    assert!(report.proven, "{report:?}");
    assert_eq!((report.sources[0].expired, report.sources[0].verified), (1, 2));
    // A ledger of which a line cannot be read may have said anything.
    text.extend_from_slice(b"{\"run\":7}\n");
    fs::write(&ledger, text).unwrap();
    assert!(!check(out.path()).proven);
}

#[test]
fn folders_are_walked_and_one_without_frames_is_unknown_as_a_whole() {
    let out = TempDir::new().unwrap();
    let store = FolderStore::open(out.path(), StoreOptions::default()).unwrap();
    let mut source =
        store.source(&SourceName::parse("visible").unwrap(), &Opener::default()).unwrap();
    let frames: Vec<_> = ["flight1/0.jpg", "flight1/left/1.jpg", "2.jpg"]
        .into_iter()
        .map(|name| {
            let mut frame = frame(0, false);
            frame.frame.meta.name = FrameName::parse(name).unwrap();
            frame
        })
        .collect();
    assert_eq!(source.store_batch(&frames), vec![Outcome::Stored; 3]);
    let folder = out.path().join("visible");
    fs::write(folder.join("flight1/extra"), "x").unwrap();
    fs::create_dir_all(folder.join("other/inner")).unwrap();
    fs::write(folder.join("other/inner/file"), "x").unwrap();
    symlink(folder.join("flight1"), folder.join("link")).unwrap();
    let report = check(out.path());
    assert!(report.proven);
    assert_eq!(report.sources[0].unknown.first, ["flight1/extra", "link", "other"]);
    fs::remove_dir_all(folder.join("flight1/left")).unwrap();
    symlink("/", folder.join("flight1/left")).unwrap();
    let report = check(out.path());
    assert_eq!(report.sources[0].altered.first[0].how, Alteration::NotAFile);
    assert!(!report.proven);
}

/// The fields of the report are a contract: other people's scripts read them.
#[test]
fn the_whole_report_as_json() {
    let (out, _) = declared(&[0, 3], &[dropped(1, 1, DropReason::Late), ended(4)]);
    let report = check(out.path());
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["proven"], false);
    let mut keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["folder", "proven", "resumed_from_unix_ns", "sources", "unknown", "unreadable"]
    );
    let run = "01".repeat(16);
    assert_eq!(
        json["sources"][0]["account"],
        serde_json::json!({
            "state": "gap", "owner": "sha256:ab", "owner_name": "cam1",
            "runs": { "count": 1, "first": [ { "run": run, "state": "gap", "began_unix_ns": 5,
                "ended_unix_ns": 9, "resumed_by": null, "captured": 4, "stored": 2,
                "stored_before": 0, "dropped": 1, "expired": 0, "taken_away": 0,
                "elsewhere": 0 } ] },
            "gaps": { "count": 1, "first": [
                { "run": run, "from": 2, "to": 2, "taken_away": false } ] },
            "dropped": 1, "came_later": 0,
            "drops": [ { "reason": "late", "where": "sender", "frames": 1 } ], "refused": 0,
            "other_content": 0, "ambiguous": 0, "copies": 0, "contradictory": 0, "expired": 0,
        })
    );
}

#[test]
fn the_report_as_json() {
    let out = TempDir::new().unwrap();
    store(out.path(), "visible", 2);
    fs::write(out.path().join("visible/001.jpg"), "short").unwrap();
    let json = serde_json::to_value(&check(out.path()).sources[0]).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "source": "visible", "frames": 2, "verified": 1, "verified_bytes": 15,
            "read_before": 0, "read_before_bytes": 0,
            "missing": { "count": 0, "first": [] },
            "altered": { "count": 1, "first": [
                { "name": "001.jpg", "how": "length", "expected": 15, "found": 5 } ] },
            "expired": 0,
            "skipped": 0,
            "unknown": { "count": 0, "first": [] },
            "bad_lines": { "count": 0, "first": [] },
            "bad_ledger_lines": { "count": 0, "first": [] },
            "account": { "state": "undeclared", "owner": null, "owner_name": null,
                "runs": { "count": 0, "first": [] }, "gaps": { "count": 0, "first": [] },
                "dropped": 0, "came_later": 0, "drops": [], "refused": 0, "other_content": 0,
                "ambiguous": 0, "copies": 0, "contradictory": 0, "expired": 0 },
            "sequences": { "first": 0, "last": 1, "gaps": { "count": 0, "first": [] },
                "duplicates": 0, "too_scattered": false },
        })
    );
}

#[test]
fn drops_beyond_all_counting_are_as_many_as_can_be_counted() {
    let (out, _) = declared(&[0], &[ended(1)]);
    let ledger = out.path().join("visible").join(LEDGER_NAME);
    let mut text = fs::read(&ledger).unwrap();
    let (range, place, captured) = (Range { first: 1, last: u64::MAX }, Place::Sender, None);
    for run in [ONE, TWO] {
        for reason in [DropReason::Refused, DropReason::Conflict] {
            let reason = Some(reason);
            Entry::Dropped { run, range, reason, place, captured }.write_line(&mut text);
        }
    }
    fs::write(&ledger, text).unwrap();
    let report = check(out.path());
    let account = &report.sources[0].account;
    assert_eq!((account.dropped, account.refused), (u64::MAX, u64::MAX));
    assert_eq!(account.state, State::Contradictory, "the run has one frame");
    assert!(!report.proven);
}

/// Lines of a ledger that do not fit one another, each beside three stored frames of a run.
#[test]
fn an_account_that_contradicts_itself_is_not_complete() {
    let before = |first, run, earlier| Entry::StoredBefore {
        run: ONE,
        range: Range { first, last: first },
        earlier: Some(Earlier { run, first: earlier }),
    };
    let dropped = |first, last| Entry::Dropped {
        run: ONE,
        range: Range { first, last },
        reason: Some(DropReason::Late),
        place: Place::Sender,
        captured: None,
    };
    let ended = |captured| Entry::Ended { run: ONE, at: UnixNanos(9), first: Some(0), captured };
    let state = |lines: &[Entry]| {
        let (out, _) = declared(&[0, 1, 2], &[]);
        add_lines(out.path(), lines);
        let report = check(out.path());
        let account = &report.sources[0].account;
        assert_eq!(report.proven, account.state == State::Complete);
        (account.state, account.contradictory)
    };
    assert_eq!(state(&[ended(3)]), (State::Complete, 0));
    assert_eq!(state(&[ended(2)]), (State::Contradictory, 1), "one more than it had");
    assert_eq!(state(&[ended(0)]), (State::Contradictory, 3));
    assert_eq!(
        state(&[dropped(10, 12), ended(3)]),
        (State::Contradictory, 3),
        "it never had these"
    );
    // A frame is where another run, or this, is said to have stored it, and did not.
    assert_eq!(state(&[before(3, TWO, 3), ended(4)]), (State::Gap, 0));
    assert_eq!(state(&[before(3, ONE, 3), ended(4)]), (State::Gap, 0));
    assert_eq!(state(&[before(3, ONE, 1), ended(4)]), (State::Complete, 0));
}

pub(super) fn add_lines(out: &Path, lines: &[Entry]) {
    let ledger = out.join("visible").join(LEDGER_NAME);
    let mut text = fs::read(&ledger).unwrap();
    lines.iter().for_each(|line| line.write_line(&mut text));
    fs::write(&ledger, text).unwrap();
}

/// Frames of a run that were deleted since, with their lines, and the folder was sent again.
#[test]
fn a_gap_is_made_good_by_a_later_run_of_the_folder() {
    for (frames, state) in [(4, State::Complete), (5, State::Complete), (3, State::Gap)] {
        let (out, _) = declared(&[0, 1, 2, 3], &[ended(4)]);
        let folder = out.path().join("visible");
        let lines = fs::read_to_string(folder.join(FILE_NAME)).unwrap();
        let left: Vec<_> = lines.lines().take(2).collect();
        fs::write(folder.join(FILE_NAME), left.join("\n") + "\n").unwrap();
        for name in ["002.jpg", "003.jpg"] {
            fs::remove_file(folder.join(name)).unwrap();
        }
        assert_eq!(check(out.path()).sources[0].account.state, State::Gap);
        send_again(out.path(), frames);
        let report = check(out.path());
        let account = &report.sources[0].account;
        assert_eq!((account.state, report.proven), (state, state == State::Complete), "{frames}");
        assert_eq!(account.gaps.is_empty(), state == State::Complete);
    }
}
