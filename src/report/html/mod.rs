//! One self-contained page.

use std::io;

use super::Report;
use crate::compare::outcome::Comparison;

/// HTML.
#[derive(Debug, Clone, Copy)]
pub struct Html;

impl Report for Html {
    fn write(&self, _comparison: &Comparison, _out: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }
}
