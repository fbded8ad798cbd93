use super::*;

fn folder(files: &[(&[u8], &[u8])]) -> (tempfile::TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(dir.path().join(OsStr::from_bytes(name)), content).unwrap();
    }
    let source = Folder::open(SourceName::parse("s").unwrap(), dir.path()).unwrap();
    (dir, source)
}

#[test]
fn files_in_natural_order_with_their_content() {
    let (_dir, source) = folder(&[(b"10.jpg", b"ten"), (b"9.jpg", b"nine")]);
    let content = source.read(Sequence(1), 100).unwrap();
    assert_eq!(content.description.name.as_str(), "10.jpg");
    assert_eq!(&content.body[..], b"ten");
    assert_eq!(content.hash, blake3::hash(b"ten"));
    assert_eq!(source.hash(Sequence(1)).unwrap(), (content.description, content.hash));
    assert_eq!(source.describe(Sequence(0)).unwrap().bytes, 4);
}

#[test]
fn a_file_that_is_gone_has_vanished() {
    let (dir, source) = folder(&[(b"0.jpg", b"x"), (b"1.jpg", b"y")]);
    fs::remove_file(dir.path().join("0.jpg")).unwrap();
    let error = source.read(Sequence(0), 9).unwrap_err();
    assert_eq!(error.reason(), crate::frame::DropReason::Vanished, "{error}");
    assert!(source.describe(Sequence(0)).is_err() && source.read(Sequence(1), 9).is_ok());
}

fn open(path: &Path, recursive: bool) -> Result<Folder, SourceError> {
    let options = FolderOptions { recursive, ..FolderOptions::default() };
    Folder::open_with(SourceName::parse("s").unwrap(), path, &options)
}

fn labels(source: &Folder) -> Vec<String> {
    (0..source.frames()).map(|sequence| source.label(Sequence(sequence))).collect()
}

#[test]
fn what_is_not_sent_is_told() {
    let (dir, _) = folder(&[(b"1", b"x"), (b"manifest.jsonl", b"{}"), (b".2", b""), (b"3~", b"")]);
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::create_dir(dir.path().join(".git")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("link")).unwrap();
    std::os::unix::fs::symlink("1", dir.path().join("2")).unwrap();
    let source = open(dir.path(), false).unwrap();
    assert_eq!(labels(&source), ["1", "2"]);
    let passed = source.passed();
    assert!(passed.is_missing_any());
    let mut unsent = passed.unsent.clone();
    unsent.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("link", Unsent::Dangling), ("sub", Unsent::Folder)];
    assert_eq!(unsent, expected.map(|(name, why)| (dir.path().join(name), why)));
    assert_eq!((passed.hidden.0, passed.temporary.0, passed.unwanted), (2, 1, 0));
}

#[test]
fn folders_are_taken_when_asked_for_and_loops_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let deep = "1/2/3/4/5/6/7/8";
    fs::create_dir_all(path(deep)).unwrap();
    fs::create_dir_all(path("flight10/.hidden")).unwrap();
    fs::create_dir_all(path("flight9")).unwrap();
    for name in ["flight10/0.jpg", "flight9/10.jpg", "flight9/9.jpg", "0.jpg", "1/2/3/4/5/6/7/x"] {
        fs::write(path(name), b"x").unwrap();
    }
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("e.jpg"), b"x").unwrap();
    for (link, target) in [
        ("flight9/loop", dir.path()),
        ("flight10/other", &path("flight9")),
        ("elsewhere", elsewhere.path()),
    ] {
        std::os::unix::fs::symlink(target, path(link)).unwrap();
    }
    let source = open(dir.path(), true).unwrap();
    let expected = [
        "0.jpg",
        "1/2/3/4/5/6/7/x",
        "elsewhere/e.jpg",
        "flight9/9.jpg",
        "flight9/10.jpg",
        "flight10/0.jpg",
    ];
    assert_eq!(labels(&source), expected);
    let unsent = |why| source.passed().unsent.iter().filter(|(_, is)| *is == why).count();
    assert_eq!((unsent(Unsent::TooDeep), unsent(Unsent::SameFolder)), (1, 2));
    fs::remove_dir(path(deep)).unwrap();
    assert!(!open(dir.path(), true).unwrap().passed().is_missing_any());
}

#[test]
fn a_file_that_becomes_a_pipe_is_refused_and_not_waited_for() {
    let (dir, source) = folder(&[(b"1", b"x"), (b"2", b"x"), (b"3", b"x")]);
    let path = |name| dir.path().join(name);
    for name in ["1", "2", "3"] {
        fs::remove_file(path(name)).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, path("1"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("2")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("3")).unwrap();
    for (sequence, what) in [(0, "named pipe"), (1, "socket"), (2, "device")] {
        let sequence = Sequence(sequence);
        let errors = [
            source.read(sequence, 100).unwrap_err(),
            source.describe(sequence).unwrap_err(),
            source.hash(sequence).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}

#[test]
fn a_time_that_is_none_is_not_told() {
    let (dir, source) = folder(&[(b"1", b"x")]);
    let file = File::options().write(true).open(dir.path().join("1")).unwrap();
    let epoch = std::time::UNIX_EPOCH;
    let day = std::time::Duration::from_secs(86_400);
    for (time, known) in
        [(epoch - day, None), (epoch, None), (epoch + day, Some(86_400_000_000_000))]
    {
        file.set_modified(time).unwrap();
        let description = source.describe(Sequence(0)).unwrap();
        assert_eq!(description.modified, known.map(UnixNanos), "{time:?}");
    }
}

#[test]
fn a_name_that_is_not_utf8_is_refused_by_name() {
    let (_dir, source) = folder(&[(b"a\xff.png", b"x")]);
    let error = source.describe(Sequence(0)).unwrap_err().to_string();
    assert!(error.contains("not valid UTF-8") && error.contains("rename"), "{error}");
    assert!(source.label(Sequence(0)).starts_with('a'));
}

#[test]
fn capture_times_come_from_where_they_are_said_to() {
    let files = [
        (&b"20261129_201133.jpg"[..], &b"x"[..]),
        // A camera whose battery was empty, and a year that no frame can have.
        (b"19691231_235959.jpg", b"z"),
        (b"99991231_235959.jpg", b"z"),
        (b"other.jpg", b"y"),
    ];
    let (dir, _) = folder(&files);
    let open = |rule: &str| {
        let captured = rule.parse().unwrap();
        let options = FolderOptions { captured, ..FolderOptions::default() };
        Folder::open_with(SourceName::parse("s").unwrap(), dir.path(), &options)
    };
    let source = open("name:%Y%m%d_%H%M%S").unwrap();
    assert_eq!(source.passed().untimed, (3, Some(dir.path().join("19691231_235959.jpg"))));
    let clock = |source: &Folder, sequence| {
        let described = source.describe(Sequence(sequence)).unwrap();
        assert_eq!(source.read(Sequence(sequence), 9).unwrap().description, described);
        described.captured.unwrap().clock
    };
    assert_eq!((clock(&source, 0), clock(&source, 1)), (Clock::Modified, Clock::Name));
    assert_eq!(clock(&open("mtime").unwrap(), 0), Clock::Modified);
    for (rule, says) in [("name:IMG_%Y%m%d", "19691231_235959.jpg"), ("exif", "EXIF")] {
        let error = open(rule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn images_without_a_time_beside_others_are_counted() {
    let dated = crate::source::captured::image_of(&[(0x9003, "2026:11:29 20:11:33")]);
    let mut files: Vec<(&[u8], &[u8])> = vec![(b"9.jpg", &dated)];
    files.extend([b"0.jpg", b"1.jpg", b"2.jpg", b"3.jpg"].map(|name| (&name[..], &b"x"[..])));
    let (dir, _) = folder(&files);
    let options = FolderOptions { captured: CapturedBy::Exif, ..FolderOptions::default() };
    let name = SourceName::parse("s").unwrap();
    let source = Folder::open_with(name, dir.path(), &options).unwrap();
    assert_eq!(source.untimed.count(), 0);
    // Each once, however often it is read.
    for sequence in [0, 1, 2, 3, 4, 0] {
        let captured = source.read(Sequence(sequence), 999).unwrap().description.captured;
        let expected = if sequence == 4 { Clock::Exif } else { Clock::Modified };
        assert_eq!(captured.unwrap().clock, expected);
    }
    assert_eq!(source.untimed.count(), 4);
}

#[test]
fn missing_and_empty_folders_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let name = SourceName::parse("s").unwrap();
    let empty = Folder::open(name.clone(), dir.path()).unwrap_err().to_string();
    assert!(empty.contains("no files"), "{empty}");
    fs::create_dir(dir.path().join("sub")).unwrap();
    let folders = open(dir.path(), false).unwrap_err().to_string();
    assert!(folders.contains("`recursive`"), "{folders}");
    let missing = Folder::open(name, &dir.path().join("gone")).unwrap_err().to_string();
    assert!(missing.contains("gone"), "{missing}");
}

#[test]
fn vanished_and_too_large_frames_are_named() {
    let (dir, source) = folder(&[(b"1", b"12345"), (b"2", b"x")]);
    let error = source.read(Sequence(0), 4).unwrap_err().to_string();
    assert!(error.contains("at most 4"), "{error}");
    fs::remove_file(dir.path().join("2")).unwrap();
    let error = source.read(Sequence(1), 4).unwrap_err().to_string();
    assert!(error.contains("cannot read") && error.contains('2'), "{error}");
}

#[test]
fn a_frame_that_no_memory_holds_is_an_error_and_has_a_hash_all_the_same() {
    let (dir, source) = folder(&[(b"1", b"")]);
    // Without a block on the disk. Some file systems have a limit below this.
    let file = File::options().write(true).open(dir.path().join("1")).unwrap();
    if file.set_len(i64::MAX as u64).is_ok() {
        let error = source.read(Sequence(0), u64::MAX).unwrap_err().to_string();
        assert!(error.contains("no memory for its"), "{error}");
    }
    file.set_len(300_000).unwrap();
    let (description, hash) = source.hash(Sequence(0)).unwrap();
    assert_eq!((description.bytes, hash), (300_000, blake3::hash(&vec![0; 300_000])));
}

#[test]
fn a_file_of_another_length_than_announced_is_never_given() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f");
    fs::write(&path, b"12345").unwrap();
    let open = || File::open(&path).unwrap();
    assert!(read_exactly(&mut open(), 5, &path).is_ok());
    assert!(matches!(read_exactly(&mut open(), 4, &path), Err(SourceError::Changed { .. })));
    assert!(matches!(read_exactly(&mut open(), 6, &path), Err(SourceError::Changed { .. })));
}
