//! The terminal that a progress bar is drawn on: drawings are made here and written elsewhere.

use std::io;
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// Standard error, whose drawings are given to a function once each is whole.
#[derive(Debug)]
pub(super) struct Terminal {
    drawing: Mutex<String>,
    write: fn(String),
}

impl Terminal {
    pub(super) fn new(write: fn(String)) -> Self {
        Self { drawing: Mutex::default(), write }
    }

    fn add(&self, text: &str) -> io::Result<()> {
        self.drawing.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// A cursor's move by `n`, by the letter that ECMA-48 has for it.
    fn go(&self, n: usize, letter: char) -> io::Result<()> {
        if n > 0 { self.add(&format!("\x1b[{n}{letter}")) } else { Ok(()) }
    }

    fn size() -> Option<rustix::termios::Winsize> {
        rustix::termios::tcgetwinsize(io::stderr()).ok().filter(|size| size.ws_col > 0)
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        Self::size().map_or(80, |size| size.ws_col)
    }

    fn height(&self) -> u16 {
        Self::size().map_or(24, |size| size.ws_row)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.add(text)?;
        self.add("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.add(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawing =
            std::mem::take(&mut *self.drawing.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawing.is_empty() {
            (self.write)(drawing);
        }
        Ok(())
    }
}
