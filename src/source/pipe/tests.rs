//! Streams and commands as they are.

use std::fs::File;
use std::io::Write;
use std::sync::Mutex;

use super::*;
use crate::frame::{Clock, DropReason};
use crate::source::cut::RawSize;

const PATIENCE: Duration = Duration::from_secs(60);

/// A JPEG with its own number in it.
fn jpeg(number: u8) -> Vec<u8> {
    let segment = |code: u8, content: &[u8]| {
        let length = u16::try_from(content.len() + 2).unwrap().to_be_bytes();
        [&[0xff, code][..], &length, content].concat()
    };
    [
        vec![0xff, 0xd8],
        segment(0xdb, &[number; 65]),
        segment(0xc0, &[8, 0, 8, 0, 8, 1, 1, 0x11, 0]),
        segment(0xda, &[1, 1, 0, 0, 63, 0]),
        vec![7; 500],
        vec![0xff, 0xd9],
    ]
    .concat()
}

fn name() -> SourceName {
    SourceName::parse("cam").unwrap()
}

/// Waits until a source has so many frames, or has ended.
fn wait_for(source: &dyn Source, frames: u64) -> Extent {
    let until = Instant::now() + PATIENCE;
    loop {
        let extent = source.extent();
        if extent.frames >= frames || extent.ended || Instant::now() > until {
            return extent;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_end(source: &dyn Source) -> u64 {
    let extent = wait_for(source, u64::MAX);
    assert!(extent.ended, "it has not ended: {extent:?}");
    extent.frames
}

fn read(source: &dyn Source, place: u64) -> Content {
    source.read(Sequence(place), u64::MAX).unwrap()
}

fn stream() -> (Pipe, File) {
    let (input, output) = rustix::pipe::pipe().unwrap();
    let pipe = Pipe::stream(name(), input, "a test", PipeOptions::default()).unwrap();
    (pipe, File::from(output))
}

#[test]
fn frames_of_a_stream_are_named_by_when_they_were_read() {
    let (pipe, mut output) = stream();
    let before = crate::frame::UnixNanos::now();
    output.write_all(&[jpeg(1), jpeg(2)].concat()).unwrap();
    // The second has come though nothing follows it.
    assert_eq!(wait_for(&pipe, 2), Extent::growing(2));
    let frames = [read(&pipe, 0), read(&pipe, 1)];
    for (frame, number) in frames.iter().zip(1..) {
        assert_eq!(frame.body, jpeg(number));
        assert_eq!(frame.hash, blake3::hash(&jpeg(number)));
        let name = frame.description.name.as_str();
        assert!(name.len() == 27 && name.ends_with("Z.jpg") && name.starts_with("20"), "{name}");
        let captured = frame.description.captured.unwrap();
        assert!(captured.clock == Clock::Read && captured.at.0 + 1_000 > before.0);
    }
    assert!(frames[0].description.name < frames[1].description.name);
    assert!(pipe.arrival(Sequence(0)).is_some());
    assert_eq!(pipe.origin(Sequence(7)), Sequence(7), "the sequence goes on");
    drop(output);
    assert_eq!(wait_for_end(&pipe), 2);
    assert_eq!(pipe.failure(), None);
}

#[test]
fn a_stream_that_ends_in_an_image_or_has_none_says_so() {
    let (pipe, mut output) = stream();
    output.write_all(&[jpeg(1), jpeg(2)[..300].to_vec()].concat()).unwrap();
    drop(output);
    assert_eq!(wait_for_end(&pipe), 2);
    let error = pipe.read(Sequence(1), 1_000).unwrap_err().to_string();
    assert!(error.contains("the input ended before the image did"), "{error}");
    let (pipe, output) = stream();
    drop(output);
    assert_eq!(wait_for_end(&pipe), 0);
    assert!(pipe.failure().unwrap().contains("without an image"));
}

#[test]
fn what_is_no_frame_is_told_with_its_reason() {
    let (input, output) = rustix::pipe::pipe().unwrap();
    let options = PipeOptions { max_frame: 2_000, ..PipeOptions::default() };
    let pipe = Pipe::stream(name(), input, "a test", options).unwrap();
    let mut long = jpeg(1);
    let end = long.len() - 2;
    long.splice(end..end, vec![7; 3_000]);
    let mut output = File::from(output);
    output.write_all(&[&[9; 100], &jpeg(3)[..], &long, &jpeg(2)].concat()).unwrap();
    drop(output);
    let frames = wait_for_end(&pipe);
    let reasons: Vec<_> = (0..frames)
        .map(|place| pipe.read(Sequence(place), 10_000).map_err(|error| error.reason()))
        .map(Result::err)
        .collect();
    assert_eq!(reasons, [Some(DropReason::NotAnImage), None, Some(DropReason::TooLarge), None]);

    let pipe = command("printf abcd", |options| options.restart = Some(PATIENCE));
    assert!(wait_for(&pipe, 2).frames >= 2);
    let gap = pipe.read(Sequence(1), 1_000).unwrap_err();
    assert_eq!(gap.reason(), DropReason::SourceStalled, "{gap}");
}

#[test]
fn the_stream_is_not_read_on_while_memory_is_full() {
    let (input, output) = rustix::pipe::pipe().unwrap();
    let options = PipeOptions { memory: 1_000, ..PipeOptions::default() };
    let pipe = Pipe::stream(name(), input, "a test", options).unwrap();
    let writer = std::thread::spawn(move || {
        let mut output = File::from(output);
        (0..200).for_each(|number| output.write_all(&jpeg(number)).unwrap());
    });
    for place in 0..200 {
        let extent = wait_for(&pipe, place + 1);
        assert!(extent.frames <= place + 3, "more than fits: {extent:?}");
        assert_eq!(read(&pipe, place).body, jpeg(u8::try_from(place).unwrap()));
        pipe.settled(Sequence(place), Fate::Stored);
    }
    writer.join().unwrap();
    assert_eq!(wait_for_end(&pipe), 200);
}

#[test]
fn a_silent_stream_ends_when_nobody_wants_it() {
    let (pipe, output) = stream();
    pipe.stop();
    assert_eq!(wait_for_end(&pipe), 0);
    drop((pipe, output));
}

fn command(line: &str, change: impl FnOnce(&mut CommandOptions)) -> Pipe {
    let mut options = CommandOptions::new(line);
    change(&mut options);
    Pipe::command(
        name(),
        options,
        PipeOptions { framing: Framing::Raw(4), ..PipeOptions::default() },
    )
    .unwrap()
}

#[test]
fn a_commands_output_is_cut_and_its_words_are_passed_on() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let hearing = said.clone();
    let pipe = command("printf abcdefgh; echo one >&2; printf 'two\\rthree' >&2", |options| {
        options.on_line =
            Some(OnLine(Arc::new(move |line| hearing.lock().unwrap().push(line.to_owned()))));
    });
    assert_eq!(wait_for_end(&pipe), 2);
    assert_eq!((&read(&pipe, 0).body[..], &read(&pipe, 1).body[..]), (&b"abcd"[..], &b"efgh"[..]));
    assert_eq!(pipe.failure(), None);
    assert_eq!(*said.lock().unwrap(), ["one", "two", "three"]);
}

#[test]
fn a_command_that_fails_is_told_with_its_last_words() {
    for (line, says) in [
        ("echo no camera >&2; exit 3", vec!["exit status 3", "no camera"]),
        ("no-such-command-anywhere", vec!["there is no such command"]),
        ("kill -9 $$", vec!["signal 9"]),
        ("true", vec!["without an image"]),
        ("printf abcd; exit 1", vec!["exit status 1"]),
    ] {
        let pipe = command(line, |_| ());
        wait_for_end(&pipe);
        let failure = pipe.failure().unwrap();
        assert!(says.iter().all(|says| failure.contains(says)), "{line}: {failure}");
    }
}

#[test]
fn a_command_that_floods_standard_error_is_counted() {
    let said = Arc::new(Mutex::new(0_u32));
    let hearing = said.clone();
    let pipe = command("seq 100000 >&2; printf abcd; exit 1", |options| {
        options.on_line = Some(OnLine(Arc::new(move |_| *hearing.lock().unwrap() += 1)));
    });
    assert_eq!(wait_for_end(&pipe), 1);
    assert!(pipe.failure().unwrap().contains("99999 | 100000"), "{:?}", pipe.failure());
    assert!(*said.lock().unwrap() < 5_000, "{} lines", said.lock().unwrap());
}

#[test]
fn a_command_is_started_again_when_it_ends_and_when_it_is_silent() {
    for line in ["printf abcd", "printf abcd; sleep 1000"] {
        let pipe = command(line, |options| options.restart = Some(Duration::from_millis(300)));
        // A frame, the gap behind it, a frame.
        assert!(!wait_for(&pipe, 3).ended);
        assert_eq!(&read(&pipe, 2).body[..], b"abcd");
        let gap = pipe.read(Sequence(1), 9).unwrap_err();
        assert!(matches!(gap, SourceError::Stalled { .. }), "{gap}");
        pipe.stop();
        wait_for_end(&pipe);
    }
}

#[test]
fn a_command_ends_with_its_source_and_so_does_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("pid");
    let line = format!(
        "sh -c 'echo $$ > {0}.part; mv {0}.part {0}; exec sleep 1000' & wait",
        mark.display()
    );
    let pipe = command(&line, |_| ());
    let until = Instant::now() + PATIENCE;
    while !mark.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = std::fs::read_to_string(&mark).unwrap();
    drop(pipe);
    let process = std::path::PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let is_alive = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
    while is_alive() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!is_alive(), "process {pid} lives on");
}

#[test]
fn raw_sizes_are_bytes_of_frames() {
    assert_eq!("640x512x2".parse::<RawSize>().unwrap().frame_bytes(), 655_360);
}
