//! The library's words for this command line: what a program calls, or sets, is an option here.
//!
//! An error below the command line names what is meant as the builders do, between backticks. It says so in errors that a
//! peer has sent, in reports and in the log as well, so the words are changed where they are shown.

use std::borrow::Cow;

/// What a program says, and the option that says so here.
const NAMES: [(&str, &str); 25] = [
    ("allow", "--allow"),
    ("allow_any", "--allow any"),
    ("allow_file", "--allow-file"),
    ("allow_overwrite", "--allow-overwrite"),
    ("authority", "--ca"),
    ("captured", "--captured"),
    ("certs", "--certs"),
    ("framing", "--framing"),
    ("keep", "--keep"),
    ("layout", "--layout"),
    ("listen", "--listen"),
    ("max_frame", "--max-frame"),
    ("memory", "--memory"),
    ("out", "--out"),
    ("overwrite", "--overwrite"),
    ("paths", "--paths"),
    ("pin", "--pin"),
    ("recursive", "--recursive"),
    ("retry_for", "--retry-for"),
    ("shared", "--shared"),
    ("spool", "--spool"),
    ("stall", "--stall"),
    ("transport", "--transport"),
    ("via", "--via"),
    ("view", "--view"),
];

/// A text with options in the place of what a program would call.
pub(super) fn in_options(text: &str) -> Cow<'_, str> {
    if !text.contains('`') {
        return Cow::Borrowed(text);
    }
    let (mut said, mut rest) = (String::with_capacity(text.len() + 16), text);
    while let Some((before, behind)) = rest.split_once('`') {
        said.push_str(before);
        let found = behind.split_once('`').and_then(|(word, behind)| {
            let (_, option) = NAMES.iter().find(|(name, _)| *name == word)?;
            Some((option, behind))
        });
        rest = match found {
            Some((option, behind)) => {
                said.push_str(option);
                behind
            }
            None => {
                said.push('`');
                behind
            }
        };
    }
    said.push_str(rest);
    Cow::Owned(said)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn words_of_the_library_become_options_and_nothing_else_changes() {
        let said =
            "no answer (`retry_for`): is `framelane receive` there, with `transport` tcp, and `";
        let expected =
            "no answer (--retry-for): is `framelane receive` there, with --transport tcp, and `";
        assert_eq!(in_options(said), expected);
        assert_eq!(in_options("``out`` and `pin"), "`--out` and `pin");
        assert!(matches!(in_options("--out as it is"), Cow::Borrowed(_)));
    }

    #[test]
    fn every_option_is_one() {
        let line = super::super::Cli::command();
        let of =
            |name: &str| line.find_subcommand(name).unwrap().get_arguments().collect::<Vec<_>>();
        let known: Vec<_> = ["send", "receive"].into_iter().flat_map(of).collect();
        for (_, option) in NAMES {
            let long = option.trim_start_matches("--").split(' ').next();
            let is_there = known.iter().any(|argument| argument.get_long() == long);
            assert!(is_there, "{option}");
        }
    }
}
