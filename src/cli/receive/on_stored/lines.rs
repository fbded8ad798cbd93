//! Lines on their way to a command: those that are to be given, and the last that were, which it may not have read.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ChildStdin;

/// What is kept of what was given: more than a pipe holds, and a line.
const KEPT: usize = 256 << 10;

/// A text of whole lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    text: Vec<u8>,
    /// So many bytes of it were given.
    given: usize,
}

impl Lines {
    /// Whether there is nothing more to give.
    pub(super) fn is_empty(&self) -> bool {
        self.ahead() == 0
    }

    /// Bytes that are to be given.
    pub(super) fn ahead(&self) -> usize {
        self.text.len() - self.given
    }

    /// Where more of them are put.
    pub(super) fn end(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// The first that is to be given, and whole.
    pub(super) fn first(&self) -> Option<&[u8]> {
        self.text[self.given..].split(|byte| *byte == b'\n').next().filter(|line| !line.is_empty())
    }

    /// How many are to be given.
    pub(super) fn count(&self) -> u64 {
        memchr::memchr_iter(b'\n', &self.text[self.given..]).count() as u64
    }

    /// Gives them all.
    ///
    /// # Errors
    /// The pipe's; [`io::ErrorKind::WouldBlock`] where there is no room in it. What it took is given.
    pub(super) fn give(&mut self, pipe: &mut impl Write) -> io::Result<()> {
        while self.given < self.text.len() {
            match pipe.write(&self.text[self.given..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => self.given += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.given > 2 * KEPT {
            self.text.drain(..self.given - KEPT);
            self.given = KEPT;
        }
        Ok(())
    }

    /// What is in the pipe still, and the line that was read in part, is to be given again: nobody has read it.
    pub(super) fn take_back(&mut self, pipe: Option<&ChildStdin>) {
        let unread = pipe.map(|pipe| rustix::io::ioctl_fionread(pipe.as_fd()));
        // Where the system does not tell: some twice rather than not at all.
        let unread = match unread {
            Some(Ok(unread)) => usize::try_from(unread).unwrap_or(KEPT),
            Some(Err(_)) => KEPT,
            None => 0,
        };
        self.back(unread);
    }

    fn back(&mut self, bytes: usize) {
        let at = self.given.saturating_sub(bytes);
        let begin = memchr::memrchr(b'\n', &self.text[..at]).map_or(0, |end| end + 1);
        // What was cut off in front has no beginning here.
        self.given = begin.min(self.given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_read_is_given_again_from_the_beginning_of_its_line() {
        let mut lines = Lines::default();
        lines.end().extend_from_slice(b"one\ntwo\nthree\n");
        lines.give(&mut Vec::new()).unwrap();
        assert!(lines.is_empty());
        for (unread, first, count) in [
            (0, None, 0),
            (1, Some(&b"three"[..]), 1),
            (6, Some(b"three"), 1),
            (7, Some(b"two"), 2),
            (99, Some(b"one"), 3),
        ] {
            lines.give(&mut Vec::new()).unwrap();
            lines.back(unread);
            assert_eq!((lines.first(), lines.count()), (first, count), "{unread} bytes");
        }
    }

    #[test]
    fn no_more_is_kept_of_what_was_given_than_a_pipe_holds() {
        let mut lines = Lines::default();
        for _ in 0..100_000 {
            lines.end().extend_from_slice(b"a line of some length, as they are\n");
            lines.give(&mut io::sink()).unwrap();
        }
        assert!(lines.text.len() <= 2 * KEPT + 100, "{}", lines.text.len());
        lines.back(KEPT / 2);
        assert_eq!(lines.first(), Some(&b"a line of some length, as they are"[..]));
    }
}
