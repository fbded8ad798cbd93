//! The whole comparison, raw samples included, as one JSON object.

use std::io;

use serde::Serialize;

use super::Report;
use crate::compare::outcome::Comparison;

/// The version of the JSON objects. A field may be added within one; what is there keeps its meaning, which
/// docs/json.md has.
const SCHEMA: u32 = 1;

/// A JSON object with the version of its schema before all else.
#[derive(Debug, Serialize)]
pub struct Versioned<'a, T> {
    schema: u32,
    #[serde(flatten)]
    value: &'a T,
}

impl<'a, T> Versioned<'a, T> {
    /// The object that `value` is, which has no `schema` of its own.
    pub fn of(value: &'a T) -> Self {
        Self { schema: SCHEMA, value }
    }
}

/// JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json;

impl Report for Json {
    fn write(&self, comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &Versioned::of(comparison))?;
        out.write_all(b"\n")
    }
}
