//! Sources of which runs go on: after their end, and in folders that were taken away.

use std::fs;

use tempfile::TempDir;

use super::tests::{ONE, add_lines, check, declared, ended};
use super::*;
use crate::frame::DropReason;
use crate::manifest::{Entry, Place, Range};

/// A run without a last frame, as of a camera.
fn endless_began() -> Entry {
    let (at, sender) = (UnixNanos(5), Some("sha256:ab".to_owned()));
    Entry::Began { run: ONE, at, first: 0, endless: true, live: true, sender }
}

/// A store with these frames of a camera's run, and what the ledger says of that.
fn of_a_camera(frames: &[u64], lines: &[Entry]) -> (TempDir, VerifyReport) {
    let (out, _) = declared(frames, &[]);
    fs::write(out.path().join("visible").join(LEDGER_NAME), "").unwrap();
    add_lines(out.path(), &[endless_began()]);
    add_lines(out.path(), lines);
    let report = check(out.path());
    (out, report)
}

fn end_at(captured: u64) -> Entry {
    Entry::Ended { run: ONE, at: UnixNanos(captured), first: Some(0), captured }
}

/// Its sender was not told that the end was noted, and with a spool goes on with the same run.
#[test]
fn a_run_that_goes_on_after_its_end_has_not_ended() {
    let state = |frames: &[u64], lines: &[Entry]| {
        let (_out, report) = of_a_camera(frames, lines);
        let account = &report.sources[0].account;
        assert_eq!(report.proven, account.state == State::Complete);
        (account.state, account.contradictory)
    };
    let again = endless_began;
    let five = [0, 1, 2, 3, 4];
    assert_eq!(state(&five, &[end_at(3), again()]), (State::NotEnded, 0));
    assert_eq!(state(&five[..3], &[end_at(3), again()]), (State::NotEnded, 0));
    assert_eq!(state(&five, &[end_at(3), again(), end_at(5)]), (State::Complete, 0));
    assert_eq!(state(&five, &[end_at(3), again(), end_at(6)]), (State::Gap, 0));
    assert_eq!(state(&five, &[end_at(3)]), (State::Contradictory, 2), "nothing says so");
}

#[test]
fn a_run_that_went_on_after_its_end_is_known_together_with_the_folder_that_was_taken_away() {
    let (flight, alone) = of_a_camera(&[0, 1, 2], &[end_at(3)]);
    assert!(alone.proven);
    let (rest, _) = of_a_camera(&[3, 4], &[]);
    let paths = [flight.path().to_owned(), rest.path().to_owned()];
    let states = || {
        let together = Together::of(&paths).unwrap();
        let course = Course { together: Some(&together), ..Course::default() };
        paths.each_ref().map(|path| {
            let report = verify_on(path, VerifyOptions::default(), course, &mut |_| {}).unwrap();
            report.sources[0].account.state
        })
    };
    assert_eq!(states(), [State::NotEnded; 2]);
    add_lines(rest.path(), &[end_at(5)]);
    assert_eq!(states(), [State::Complete; 2]);
    add_lines(rest.path(), &[endless_began(), end_at(6)]);
    assert_eq!(states(), [State::Gap; 2]);
}

/// A flight of a camera that dropped frames: each drop has its times.
#[test]
fn folders_of_a_live_source_with_drops_are_verified_together() {
    let lines = [
        Entry::Dropped {
            run: ONE,
            range: Range { first: 3, last: 3 },
            reason: Some(DropReason::Late),
            place: Place::Sender,
            captured: Some((UnixNanos(0), UnixNanos(u64::MAX))),
        },
        end_at(4),
    ];
    let (flight, alone) = of_a_camera(&[0, 1, 2], &lines);
    assert!(alone.proven);
    let (copy, _) = of_a_camera(&[0, 1, 2], &lines);
    // A day that was taken away has no ledger.
    let (day, _) = of_a_camera(&[0, 1, 2], &[]);
    fs::remove_file(day.path().join("visible").join(LEDGER_NAME)).unwrap();
    let paths = [flight, copy, day].map(|out| (out.path().to_owned(), out));
    let paths = paths.each_ref().map(|(path, _)| path.clone());
    for paths in [paths.to_vec(), paths.iter().rev().cloned().collect()] {
        let together = Together::of(&paths).unwrap();
        let course = Course { together: Some(&together), ..Course::default() };
        for path in &paths {
            let report = verify_on(path, VerifyOptions::default(), course, &mut |_| {}).unwrap();
            let account = &report.sources[0].account;
            assert_eq!((account.state, account.dropped), (State::Complete, 1), "{account:?}");
        }
    }
}

/// A flight that was taken away while its run went on, and the folder in which that ended.
#[test]
fn folders_that_share_a_run_are_complete_together() {
    let (flight, alone) = declared(&[0, 1, 2], &[]);
    assert_eq!(alone.sources[0].account.state, State::NotEnded);
    let (rest, _) = declared(&[3, 4], &[ended(5)]);
    add_lines(rest.path(), &[Entry::TakenAway { run: ONE, range: Range { first: 0, last: 2 } }]);
    assert_eq!(check(rest.path()).sources[0].account.state, State::Gap);

    let paths = [flight.path().to_owned(), rest.path().to_owned()];
    let states = || {
        let together = Together::of(&paths).unwrap();
        let course = Course { together: Some(&together), ..Course::default() };
        paths.each_ref().map(|path| {
            let report = verify_on(path, VerifyOptions::default(), course, &mut |_| {}).unwrap();
            let account = &report.sources[0].account;
            (account.state, account.runs.first[0].elsewhere, report.proven)
        })
    };
    assert_eq!(states(), [(State::Complete, 2, true), (State::Complete, 3, true)]);
    // What the other has lost is lost for both, and a file that is altered is for the folder that has it.
    fs::write(flight.path().join("visible/001.jpg"), "altered").unwrap();
    assert_eq!(states(), [(State::Complete, 2, false), (State::Complete, 3, true)]);
    let manifest = flight.path().join("visible").join(FILE_NAME);
    let lines = fs::read_to_string(&manifest).unwrap();
    let two: Vec<_> = lines.lines().take(2).collect();
    fs::write(&manifest, two.join("\n") + "\n").unwrap();
    assert_eq!(states(), [(State::Gap, 2, false), (State::Gap, 2, false)]);
}

/// What is said of each of some folders, verified together.
fn accounts(folders: &[&TempDir]) -> Vec<(State, u64, u64)> {
    let paths: Vec<_> = folders.iter().map(|folder| folder.path().to_owned()).collect();
    let together = Together::of(&paths).unwrap();
    let course = Course { together: Some(&together), ..Course::default() };
    let of = |path: &PathBuf| {
        let report = verify_on(path, VerifyOptions::default(), course, &mut |_| {}).unwrap();
        let account = &report.sources[0].account;
        assert_eq!(report.proven, account.state == State::Complete);
        (account.state, account.ambiguous, account.copies)
    };
    paths.iter().map(of).collect()
}

/// Gives a stored frame another content, in its file and in its line.
fn change(folder: &TempDir, name: &str) {
    let visible = folder.path().join("visible");
    let (file, manifest) = (visible.join(name), visible.join(FILE_NAME));
    let before = blake3::hash(&fs::read(&file).unwrap()).to_hex();
    let other = vec![b'x'; fs::read(&file).unwrap().len()];
    fs::write(&file, &other).unwrap();
    let lines = fs::read_to_string(&manifest).unwrap();
    let after = blake3::hash(&other).to_hex();
    fs::write(&manifest, lines.replace(before.as_str(), after.as_str())).unwrap();
}

#[test]
fn what_lies_in_two_folders_is_a_copy_or_ambiguous() {
    // A flight and a copy of a part of it.
    let (whole, _) = of_a_camera(&[0, 1, 2, 3], &[end_at(4)]);
    let (part, _) = of_a_camera(&[1, 2], &[]);
    assert_eq!(accounts(&[&whole, &part]), [(State::Complete, 0, 2), (State::Complete, 0, 2)]);
    // A second sender with the same run, whose frame 2 is another one.
    change(&part, "002.jpg");
    assert_eq!(accounts(&[&whole, &part]), [(State::Ambiguous, 1, 1), (State::Ambiguous, 1, 1)]);
    assert_eq!(accounts(&[&part, &whole]), [(State::Ambiguous, 1, 1), (State::Ambiguous, 1, 1)]);
    // Each by itself has one frame a sequence.
    assert_eq!(accounts(&[&whole]), [(State::Complete, 0, 0)]);
    let (third, _) = of_a_camera(&[2, 3], &[]);
    let all = accounts(&[&whole, &part, &third]);
    assert_eq!(all.iter().map(|(_, ambiguous, _)| *ambiguous).collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(all.iter().map(|(_, _, copies)| *copies).collect::<Vec<_>>(), [2, 1, 1]);
    // Frames that have changed places are not the same.
    let (one, _) = of_a_camera(&[0, 1], &[end_at(2)]);
    let (other, _) = of_a_camera(&[0, 1], &[end_at(2)]);
    assert_eq!(accounts(&[&one, &other]), [(State::Complete, 0, 2); 2]);
    let manifest = other.path().join("visible").join(FILE_NAME);
    let lines = fs::read_to_string(&manifest).unwrap();
    let swapped = lines.replace("\"sequence\":0", "\"sequence\":9");
    let swapped = swapped.replace("\"sequence\":1", "\"sequence\":0");
    fs::write(&manifest, swapped.replace("\"sequence\":9", "\"sequence\":1")).unwrap();
    assert_eq!(accounts(&[&one, &other]), [(State::Ambiguous, 2, 0); 2]);
}

#[test]
fn a_folder_is_not_verified_together_with_one_that_it_is_in() {
    let (out, _) = declared(&[0], &[]);
    let inner = out.path().join("visible");
    let paths = [out.path().to_owned(), inner.clone()];
    assert_eq!(overlapping(&paths), Some((&*inner, out.path())));
    assert_eq!(overlapping(&[inner.clone(), inner]).map(|_| ()), Some(()));
    assert_eq!(overlapping(&paths[..1]), None);
}
