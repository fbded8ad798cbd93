//! The watcher by hand: looks and events one by one, as of mounts that tell nothing.

use std::fs::{self, File};

use super::*;
use crate::frame::Sequence;
use crate::source::growing::Body;

/// A watcher whose thread does not run.
struct ByHand {
    watcher: Watcher,
    folder: tempfile::TempDir,
}

impl ByHand {
    fn new(folders: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        folders.iter().for_each(|name| fs::create_dir(folder.path().join(name)).unwrap());
        let mut options = WatchOptions::default();
        options.folder.recursive = true;
        let (watcher, _) = Watcher::begin(
            &SourceName::parse("cam").unwrap(),
            folder.path(),
            options,
            Growing::new(None),
            Stop::new().unwrap(),
            Arc::default(),
            Arc::default(),
        )
        .unwrap();
        Self { watcher, folder }
    }

    /// As a mount of which the kernel tells nothing, be it told of other folders or not.
    fn tells_nothing(&mut self) {
        self.watcher.events.take().unwrap();
        self.watcher.folders.forget_all();
        for folder in self.watcher.events.folders() {
            self.watcher.folders.enter(&folder, false);
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn labels(&self) -> Vec<String> {
        let frames = self.watcher.frames.extent().frames;
        let labels = (0..frames).map(|place| self.watcher.frames.entry(Sequence(place)));
        labels.flatten().map(|entry| entry.label).collect()
    }

    /// Polls and looks until there are so many frames, or for so long.
    fn turn(&mut self, frames: u64, most: Duration) {
        let until = Instant::now() + most;
        while self.watcher.frames.extent().frames < frames && Instant::now() < until {
            self.watcher.poll();
            self.watcher.look_at_pending();
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn png(number: u8) -> Vec<u8> {
    crate::source::watch::tests::png(number, 50)
}

/// A JPEG whose index, if `is_indexed`, names a second picture, which is there as well; and the length of the first.
fn of_two_pictures(is_indexed: bool) -> (Vec<u8>, usize) {
    let picture = |segments: &[u8]| {
        let start: &[u8] = &[0xff, 0xd8];
        let size = [0xff, 0xc0, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0];
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0x12, 0x34, 0x56, 0xff, 0xd9];
        [start, segments, &size, &scan].concat()
    };
    let index = |place: u32| {
        let mut index = b"MPF\0MM\0*\0\0\0\x08".to_vec();
        index.extend([0, 1, 0xb0, 2, 0, 7, 0, 0, 0, 32, 0, 0, 0, 26, 0, 0, 0, 0]);
        index.extend([0; 16]);
        index.extend([0, 0, 0, 0, 0, 0, 1, 0]);
        index.extend(place.to_be_bytes());
        index.extend([0; 4]);
        let length = u16::try_from(index.len() + 2).unwrap().to_be_bytes();
        [&[0xff, 0xe2], &length[..], &index].concat()
    };
    if !is_indexed {
        return (picture(&[]), picture(&[]).len());
    }
    let first = picture(&index(0)).len();
    // Counted from behind the marker, the length and the four letters.
    let first_picture = picture(&index(u32::try_from(first - 10).unwrap()));
    ([first_picture, picture(&[])].concat(), first)
}

#[test]
fn a_file_that_is_found_is_not_taken_when_its_first_picture_has_ended() {
    for is_indexed in [true, false] {
        let mut hand = ByHand::new(&[]);
        hand.tells_nothing();
        let (whole, first) = of_two_pictures(is_indexed);
        let whole =
            if is_indexed { whole } else { [whole, b"a maker's trailer".to_vec()].concat() };
        let path = hand.path("0.jpg");
        // Somebody is copying it, on another machine, whose clock is behind.
        fs::write(&path, &whole[..first]).unwrap();
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        hand.turn(1, Duration::from_millis(600));
        assert!(hand.labels().is_empty(), "the first picture alone went out");
        fs::write(&path, &whole).unwrap();
        hand.turn(1, PATIENCE);
        assert_eq!(hand.labels(), ["0.jpg"]);
        let Body::Held(content) = hand.watcher.frames.entry(Sequence(0)).unwrap().body else {
            panic!()
        };
        assert_eq!(content.body, whole);
    }
}

#[test]
fn a_file_that_was_let_go_of_waits_a_moment_for_what_it_announces() {
    let mut hand = ByHand::new(&[]);
    let (whole, first) = of_two_pictures(true);
    let (plain, _) = of_two_pictures(false);
    fs::write(hand.path("plain.jpg"), &plain).unwrap();
    fs::write(hand.path("0.jpg"), &whole[..first]).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    assert_eq!(hand.labels(), ["plain.jpg"]);
    File::options().append(true).open(hand.path("0.jpg")).unwrap();
    fs::write(hand.path("0.jpg"), &whole).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    assert_eq!(hand.labels(), ["plain.jpg", "0.jpg"]);
    // One that stays so is sent as it is.
    fs::write(hand.path("1.jpg"), &whole[..first]).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    assert_eq!(hand.labels().len(), 2);
    hand.turn(3, PATIENCE);
    assert_eq!(hand.labels(), ["plain.jpg", "0.jpg", "1.jpg"]);
}

#[test]
fn a_folder_that_tells_nothing_is_looked_through_while_another_tells() {
    let mut hand = ByHand::new(&["local", "mount"]);
    hand.tells_nothing();
    hand.turn(1, Duration::from_millis(1_200));
    let other = png(7);
    fs::write(hand.path("mount/other.png"), &other).unwrap();
    hand.watcher.events.take().unwrap();
    fs::write(hand.path("local/0.png"), png(0)).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    hand.watcher.poll();
    assert_eq!(hand.labels(), ["local/0.png", "mount/other.png"]);
    // One folder into which this machine and another write.
    fs::write(hand.path("mount/1.png"), png(1)).unwrap();
    hand.watcher.events.take().unwrap();
    fs::write(hand.path("mount/2.png"), png(2)).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    hand.turn(4, PATIENCE);
    assert_eq!(hand.labels()[2..], ["mount/2.png", "mount/1.png"]);
}

#[test]
fn files_of_one_second_are_found_where_times_are_whole_seconds() {
    let mut hand = ByHand::new(&[]);
    let second = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let folder = File::open(hand.folder.path()).unwrap();
    hand.tells_nothing();
    for number in 0..3 {
        fs::write(hand.path(&format!("{number}.png")), png(number)).unwrap();
        folder.set_modified(second).unwrap();
        hand.turn(u64::from(number) + 1, PATIENCE);
    }
    assert_eq!(hand.labels(), ["0.png", "1.png", "2.png"]);
    // The last looks ask for no time.
    fs::write(hand.path("3.png"), png(3)).unwrap();
    folder.set_modified(second).unwrap();
    hand.watcher.events.take().unwrap();
    hand.watcher.folders.forget_all();
    assert_eq!(hand.watcher.last_looks(), None);
    assert_eq!(hand.labels()[3..], ["3.png"]);
}

#[test]
fn frames_that_wait_are_bounded_and_the_others_come_when_there_is_room() {
    let mut hand = ByHand::new(&[]);
    for _ in 0..MOST_WAITING - 2 {
        let label = String::new();
        let why = SourceError::Vanished { path: PathBuf::new() };
        hand.watcher.frames.push(Entry { label, arrival: None, body: Body::None(why) });
    }
    for number in 0..5 {
        fs::write(hand.path(&format!("{number}.png")), png(number)).unwrap();
    }
    let hour_ago = SystemTime::now() - Duration::from_secs(3_600);
    File::options().append(true).open(hand.path("4.png")).unwrap().set_modified(hour_ago).unwrap();
    let events = hand.watcher.events.take().unwrap();
    hand.watcher.happened(events);
    hand.turn(u64::MAX, Duration::from_millis(700));
    assert_eq!(hand.watcher.frames.waiting(), MOST_WAITING);
    for place in 0..MOST_WAITING as u64 {
        hand.watcher.frames.settle(Sequence(place));
    }
    hand.turn(MOST_WAITING as u64 + 3, PATIENCE);
    assert_eq!(hand.labels(), ["2.png", "3.png", "4.png"]);
    // It had its time from elsewhere, and came while there was no room.
    let last = hand.watcher.frames.entry(Sequence(MOST_WAITING as u64 + 2)).unwrap();
    let waited = last.arrival.unwrap().elapsed();
    assert!((Duration::from_millis(600)..PATIENCE).contains(&waited), "{waited:?}");
}

#[test]
fn a_name_that_was_there_gets_a_time() {
    for (path, expected) in [
        (&b"latest.jpg"[..], &b"latest.T.jpg"[..]),
        (b"a.b/latest", b"a.b/latest.T"),
        (b"a/.x", b"a/.x.T"),
    ] {
        assert_eq!(with_stamp(path, "T"), expected);
    }
}
