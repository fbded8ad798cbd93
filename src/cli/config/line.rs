//! A command line as its user wrote it: the subcommand, and what stands behind it.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{ArgMatches, Command};

use super::option::{self, Kind};

/// The subcommand that a command line names, and where.
pub(super) fn subcommand<'a>(
    command: &'a Command,
    argv: &[OsString],
) -> Option<(usize, &'a Command)> {
    // No option that stands before it takes a value.
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    let at = 1 + argv.iter().skip(1).position(is_word)?;
    Some((at, command.find_subcommand(argv.get(at)?)?))
}

/// What stands behind the subcommand.
pub(super) struct CommandLine {
    pub(super) words: Vec<OsString>,
    /// Options that it says are not to be, as in `--durable=false`.
    pub(super) denied: BTreeSet<String>,
}

impl CommandLine {
    /// Takes out what clap does not know: of an option without a value, that it is `=true` or `=false`.
    pub(super) fn of(role: &Command, words: &[OsString], is_role: bool) -> Self {
        let mut line = Self { words: Vec::new(), denied: BTreeSet::new() };
        let mut is_over = !is_role;
        for word in words {
            is_over |= word == "--";
            let said = word.to_str().filter(|_| !is_over).and_then(|word| word.strip_prefix("--"));
            let said = said.and_then(|said| said.split_once('='));
            let said = said.filter(|(name, _)| {
                option::find(role, name).is_some_and(|option| Kind::of(option) == Kind::Flag)
            });
            match said {
                Some((name, "true")) => line.words.push(format!("--{name}").into()),
                Some((name, "false")) => drop(line.denied.insert(name.to_owned())),
                _ => line.words.push(word.clone()),
            }
        }
        line
    }

    /// Puts options in front, and what is known by its place behind.
    pub(super) fn add(&mut self, (options, places): (Vec<OsString>, Vec<OsString>)) {
        let words = std::mem::replace(&mut self.words, options);
        let is_over = words.iter().any(|word| word == "--");
        self.words.extend(words);
        if !places.is_empty() && !is_over {
            self.words.push("--".into());
        }
        self.words.extend(places);
    }
}

/// What a command line says by itself, right or wrong; `None` where it asks for help or the version.
pub(super) fn look(
    lenient: Command,
    before: &[OsString],
    words: &[OsString],
) -> Option<ArgMatches> {
    let words = [before, words].concat();
    let matches = lenient.try_get_matches_from(words).ok()?;
    matches.subcommand().map(|(_, matches)| matches.clone())
}
