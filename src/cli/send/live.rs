//! `--live`: how old frames may be.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;

use super::super::Failure;
use crate::frame::{SourceName, Span};
use crate::source::Source;

/// The deadlines of sources, in their order.
pub(super) fn deadlines(
    args: &[LiveArg],
    sources: &[Arc<dyn Source>],
) -> Result<Vec<Option<Duration>>, Failure> {
    for (index, arg) in args.iter().enumerate() {
        if args[..index].iter().any(|other| other.source == arg.source) {
            let whose = arg.source.as_ref().map_or_else(String::new, |name| format!(" {name}"));
            return Err(Failure::usage(anyhow!("--live{whose} is there twice")));
        }
    }
    let of_all = args.iter().find(|arg| arg.source.is_none()).map(|arg| arg.age.0);
    let mut deadlines = vec![of_all; sources.len()];
    for LiveArg { source, age } in args {
        let Some(name) = source else { continue };
        let place = sources.iter().position(|source| source.name() == name);
        let place = place.ok_or_else(|| {
            Failure::usage(anyhow!("--live {name}: no source that can be sent is called {name}"))
        })?;
        deadlines[place] = Some(age.0);
    }
    Ok(deadlines)
}

/// How old frames may be: of a source, or of all that are not named.
#[derive(Debug, Clone)]
pub(super) struct LiveArg {
    pub(super) source: Option<SourceName>,
    age: Span,
}

impl FromStr for LiveArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        // A name may have a = in it, a time has none.
        let (source, age) = match text.rsplit_once('=') {
            Some((name, age)) => (Some(SourceName::parse(name)?), age),
            None => (None, text),
        };
        let age: Span = age.parse()?;
        if age.0.is_zero() {
            anyhow::bail!("no frame arrives in no time; write 200ms, say");
        }
        Ok(Self { source, age })
    }
}
