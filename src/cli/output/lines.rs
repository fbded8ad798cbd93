//! What goes to standard error, from a thread of its own: who holds a terminal, or has stopped reading a log, holds up
//! nothing but that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Lines that wait to be written; what comes while so many do is left out, and counted.
const WAITING: usize = 1_000;

/// A bar is not drawn while as much waits: the next drawing is as good.
const BEHIND: usize = 16;

/// Between two looks whether there is room again.
const LOOK: Duration = Duration::from_millis(5);

/// Where lines are left to be written.
#[derive(Debug)]
pub(super) struct Lines {
    pieces: SyncSender<Piece>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    left_out: AtomicUsize,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// Says that all before it is written.
    Written(SyncSender<()>),
}

impl Lines {
    /// Starts the thread, which gives all text to `write`.
    ///
    /// # Errors
    /// The system's, where it has no thread to give.
    pub(super) fn start(write: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let (sender, pieces) = sync_channel(WAITING);
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || write_all(&pieces, &counted, write))?;
        Ok(Self { pieces: sender, counts })
    }

    /// Leaves a line to be written. Never waits.
    pub(super) fn say(&self, line: &str) {
        if !self.leave(Piece::Text(format!("{line}\n"))) {
            self.counts.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Leaves a drawing of the bar, which may be left out. Never waits.
    pub(super) fn draw(&self, drawing: String) {
        if self.counts.waiting.load(Ordering::Relaxed) < BEHIND {
            self.leave(Piece::Text(drawing));
        }
    }

    fn leave(&self, piece: Piece) -> bool {
        // Counted first: once it is left, it may be written, and counted out, at any moment.
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let is_left = self.pieces.try_send(piece).is_ok();
        if !is_left {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        is_left
    }

    /// Waits until what was said is written, for as long as `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let (told, written) = sync_channel(1);
        let mut piece = Piece::Written(told);
        while let Err(TrySendError::Full(again)) = self.pieces.try_send(piece) {
            if Instant::now() >= until {
                return;
            }
            piece = again;
            thread::sleep(LOOK);
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write_all(pieces: &Receiver<Piece>, counts: &Counts, write: impl Fn(&str)) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => {
                write(&text);
                counts.waiting.fetch_sub(1, Ordering::Relaxed);
            }
            Piece::Written(told) => drop(told.try_send(())),
        }
        match counts.left_out.swap(0, Ordering::Relaxed) {
            0 => {}
            1 => write("framelane: a line was left out here: nobody read them in time\n"),
            more => write(&format!(
                "framelane: {more} lines were left out here: nobody read them in time\n"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_writer_that_is_held_holds_nobody_and_what_was_left_out_is_counted() {
        let written = Arc::new(Mutex::new(String::new()));
        let into = written.clone();
        let lines = Lines::start(move |text| into.lock().unwrap().push_str(text)).unwrap();
        lines.say("first");
        lines.flush(Duration::from_secs(60));
        let held = written.lock().unwrap();
        // One more is in the writer's hand, if it has come so far.
        (0..WAITING + 11).for_each(|number| lines.say(&number.to_string()));
        (0..1_000).for_each(|_| lines.draw("never drawn".to_owned()));
        let began = Instant::now();
        lines.flush(Duration::from_millis(20));
        assert!(began.elapsed() >= Duration::from_millis(20));
        drop(held);
        lines.flush(Duration::from_secs(60));
        let written = written.lock().unwrap();
        let all: Vec<_> = written.lines().collect();
        let told: Vec<_> = all.iter().filter(|line| line.contains("left out here")).collect();
        let (said, left) = (all.len() - 1 - told.len(), told[0].split(' ').nth(1).unwrap());
        assert_eq!((all[0], told.len()), ("first", 1));
        assert_eq!(said + left.parse::<usize>().unwrap(), WAITING + 11, "{left} were left out");
        assert!(!written.contains("never"));
    }
}
