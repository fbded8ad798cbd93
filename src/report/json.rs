//! The whole comparison, raw samples included, as one JSON object.

use std::io;

use super::Report;
use crate::compare::outcome::Comparison;

/// JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Report for Json {
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, comparison)?;
        out.write_all(b"\n")
    }
}
