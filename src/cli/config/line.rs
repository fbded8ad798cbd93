//! A command line as its user wrote it: the subcommand, and what stands behind it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

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
    /// Takes out what clap does not know: of an option without a value, that it is `=true` or `=false`; and joins a number
    /// below zero to the option that it is the value of (`--repair -5%`), which says what it takes then.
    pub(super) fn of(role: &Command, words: &[OsString], is_role: bool) -> Self {
        let mut line = Self { words: Vec::new(), denied: BTreeSet::new() };
        let mut is_over = !is_role;
        for word in words {
            is_over |= word == "--";
            if !is_over
                && is_negative(word)
                && let Some(last) = line.words.last_mut()
                && takes_a_value(role, last)
            {
                last.push("=");
                last.push(word);
                continue;
            }
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

/// Whether a word is a number below zero, with whatever unit: no option begins with a digit.
fn is_negative(word: &OsStr) -> bool {
    let text = word.to_string_lossy();
    let number = text.strip_prefix('-').map(|text| text.strip_prefix('.').unwrap_or(text));
    number.is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
}

/// Whether a word is an option whose value stands behind it.
fn takes_a_value(role: &Command, word: &OsStr) -> bool {
    let name = word.to_str().and_then(|word| word.strip_prefix("--"));
    let option = name.and_then(|name| option::find(role, name));
    option.is_some_and(|option| matches!(Kind::of(option), Kind::One | Kind::Many))
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

#[cfg(test)]
mod tests {
    use super::super::super::command;
    use super::*;

    #[test]
    fn a_number_below_zero_is_the_value_of_the_option_before_it() {
        let mut command = command();
        command.build();
        let send = command.find_subcommand("send").expect("a role");
        let words = |line: &str| {
            let words: Vec<_> = line.split(' ').map(OsString::from).collect();
            let joined = CommandLine::of(send, &words, true).words;
            joined
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        for (line, joined) in [
            ("--repair -5% here", "--repair=-5% here"),
            ("--live -.5s", "--live=-.5s"),
            // A flag has no value, and what stands by itself is no option's.
            ("--checksum -5%", "--checksum -5%"),
            ("store:4433 -5", "store:4433 -5"),
            ("-- --repair -5%", "-- --repair -5%"),
            ("--repair -q", "--repair -q"),
        ] {
            assert_eq!(words(line), joined);
        }
    }
}
