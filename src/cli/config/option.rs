//! The options of a role, as clap knows them: which of them a file or the environment can set, by which name, and what
//! kind of value they take.

use std::any::TypeId;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

/// Options that say where the others are, or what to do instead: they are of the command line alone.
const NOT_SETTABLE: [&str; 4] = ["config", "print-config", "help", "version"];

/// Words in the names of options whose values nobody else is to see.
const SECRET: [&str; 3] = ["token", "password", "secret"];

/// What an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it is given, or not.
    Flag,
    /// Nothing, and it may be given several times.
    Times,
    /// A value.
    One,
    /// Any number of values.
    Many,
}

impl Kind {
    pub(super) fn of(option: &Arg) -> Self {
        match option.get_action() {
            ArgAction::SetTrue | ArgAction::SetFalse => Self::Flag,
            ArgAction::Count => Self::Times,
            ArgAction::Append => Self::Many,
            _ if option.get_num_args().is_some_and(|count| count.max_values() > 1) => Self::Many,
            _ => Self::One,
        }
    }
}

/// The options of a role that can be set elsewhere than on the command line.
pub(super) fn settable(role: &Command) -> impl Iterator<Item = &Arg> {
    role.get_arguments()
        .filter(|option| name(option).is_some_and(|name| !NOT_SETTABLE.contains(&name.as_str())))
}

/// The one with this name.
pub(super) fn find<'a>(role: &'a Command, wanted: &str) -> Option<&'a Arg> {
    settable(role).find(|option| name(option).is_some_and(|name| name == wanted))
}

/// What an option is called: its long name. One that is known by its place has the name of its place.
pub(super) fn name(option: &Arg) -> Option<String> {
    let place = || option.is_positional().then(|| option.get_id().as_str().replace('_', "-"));
    option.get_long().map(str::to_owned).or_else(place)
}

/// The variable that sets it: `FRAMELANE_MAX_FRAME` for `--max-frame`. What is known by its place has none.
pub(super) fn variable(option: &Arg) -> Option<String> {
    let long = option.get_long()?;
    Some(format!("FRAMELANE_{}", long.replace('-', "_").to_uppercase()))
}

/// True where the value is a path.
pub(super) fn is_path(option: &Arg) -> bool {
    option.get_value_parser().type_id() == TypeId::of::<PathBuf>()
}

/// True where the value is to be told to nobody.
pub(super) fn is_secret(option: &Arg) -> bool {
    let name = name(option).unwrap_or_default();
    !is_path(option) && SECRET.iter().any(|word| name.split('-').any(|part| part == *word))
}

/// True where the value is a number, which needs no quotes.
pub(super) fn is_number(option: &Arg) -> bool {
    let parser = option.get_value_parser().type_id();
    [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<f64>(),
    ]
    .iter()
    .any(|number| parser == *number)
}
