//! Where options come from: the command line, the environment, a file, and what they are where nobody says.
//!
//! What the environment and the file say is put into the command line, where it does not say it itself, and parsed
//! with it: a value means the same wherever it is written, is checked by the same rules, and refused with the same
//! words. Which options there are is read off clap's definition of the command line.

mod file;
mod gathered;
mod line;
mod option;
mod print;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command};

use file::{ConfigFile, Reference};
use gathered::Gathered;
use line::{CommandLine, look, subcommand};
use option::Kind;

/// The subcommands that a file can configure, and each of whose options has a variable.
const ROLES: [&str; 2] = ["receive", "send"];

/// The variable that names the file.
const CONFIG_VARIABLE: &str = "FRAMELANE_CONFIG";

/// The folder of the credentials that systemd hands to a service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// Where a role's options come from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct ConfigArgs {
    /// Read options from this file; those on the command line, and those in the environment (FRAMELANE_ and the
    /// option's name, as in FRAMELANE_CERTS), count before them
    #[arg(long, value_name = "FILE", display_order = 890)]
    pub(super) config: Option<PathBuf>,
    /// Print all options and where they come from, as a file for --config, and end
    #[arg(long, display_order = 891)]
    pub(super) print_config: bool,
}

/// Gives a variable's value.
type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;

/// What there is around a command line.
pub(super) struct Surroundings {
    /// Gives a variable of the environment.
    pub(super) variable: Box<Variable>,
}

impl Surroundings {
    /// This process's.
    pub(super) fn of_process() -> Self {
        Self { variable: Box::new(|name| std::env::var_os(name)) }
    }

    fn get(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    fn credentials(&self) -> Option<PathBuf> {
        self.get(CREDENTIALS_VARIABLE).map(PathBuf::from)
    }
}

/// Where an option's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    CommandLine,
    Variable(String),
    File { path: PathBuf, line: usize, reference: Option<Reference> },
    Credentials,
}

/// A command line with all that belongs to it.
pub(super) struct Resolved {
    pub(super) matches: ArgMatches,
    /// Of a role: its options as they were found, for [`changes`] and `--print-config`.
    pub(super) effective: Effective,
}

/// The options of a role, as they came to be.
#[derive(Debug, Clone, Default)]
pub(super) struct Effective {
    role: Option<String>,
    /// The file, where there is one.
    file: Option<PathBuf>,
    /// By name; an option that is not there is as it is by default.
    origins: BTreeMap<String, Origin>,
    /// What each is set to, for comparing.
    values: BTreeMap<String, Vec<OsString>>,
}

impl Effective {
    /// The names of options that are different in `other`.
    fn changes(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<_> = self.values.keys().chain(other.values.keys()).collect();
        let differs = |name: &&&String| self.values.get(**name) != other.values.get(**name);
        names.iter().filter(differs).map(|name| (*name).clone()).collect()
    }
}

/// What a process was started with, to be looked at again while it runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Loaded {
    argv: Vec<OsString>,
    effective: Effective,
}

impl Loaded {
    pub(super) fn new(argv: Vec<OsString>, effective: Effective) -> Self {
        Self { argv, effective }
    }

    /// The file, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.effective.file.as_deref()
    }

    /// Reads the file again: what the command line comes to with it now, and the options that are different from what
    /// they were when this was called last.
    ///
    /// # Errors
    /// Where the file cannot be used as it is now. What was read before stays.
    pub(super) fn again(&mut self, command: Command) -> anyhow::Result<(ArgMatches, Vec<String>)> {
        let resolved = resolve(command, &self.argv, &Surroundings::of_process());
        let resolved = resolved.map_err(|refused| match refused {
            Refused::Clap(error, notes) => {
                let error = error.to_string();
                let error = error.lines().next().unwrap_or_default().trim_start_matches("error: ");
                anyhow!("{error} ({})", notes.join(", "))
            }
            Refused::Config(error) => error,
        })?;
        let changes = self.effective.changes(&resolved.effective);
        self.effective = resolved.effective;
        Ok((resolved.matches, changes))
    }
}

/// Why a command line cannot be followed.
pub(super) enum Refused {
    /// It was asked for something else (help, the version), or cannot be understood. With what to know of values that
    /// were not written there.
    Clap(clap::Error, Vec<String>),
    /// The file, or a variable, cannot be used.
    Config(anyhow::Error),
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error, Vec::new())
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Config(error)
    }
}

/// Parses `argv`, whose first is the program, with what a file and the environment add to it.
///
/// # Errors
/// [`Refused`].
pub(super) fn resolve(
    command: Command,
    argv: &[OsString],
    around: &Surroundings,
) -> Result<Resolved, Refused> {
    let lenient = command.clone().ignore_errors(true);
    let mut command = command;
    command.build();
    let Some((at, role)) = subcommand(&command, argv) else {
        let matches = command.try_get_matches_from(argv)?;
        return Ok(Resolved { matches, effective: Effective::default() });
    };
    let is_role = ROLES.contains(&role.get_name());
    let mut line = CommandLine::of(role, &argv[at + 1..], is_role);
    let given = match look(lenient, &argv[..=at], &line.words) {
        Some(given) => given,
        // Help, or the version.
        None => {
            let matches = command.clone().try_get_matches_from(argv)?;
            return Ok(Resolved { matches, effective: Effective::default() });
        }
    };
    let file = match is_role {
        true => config_file(&given, &command, around)?,
        false => None,
    };
    let mut gathered = Gathered::new(role, Some(&given), line.denied.clone());
    gathered.take_variables(around, is_role)?;
    if let Some(file) = &file {
        gathered.take_file(file, Some(around))?;
        gathered.check_places()?;
        check_others(file, &command, role)?;
    }
    gathered.take_credentials(around);
    line.add(gathered.words);
    let words = [&argv[..=at], &line.words].concat();
    let is_printing = is_role && given.get_one("print_config").copied().unwrap_or(false);
    let (name, origins) = (role.get_name().to_owned(), gathered.origins);
    let parsing = match is_printing {
        // What is not said yet is printed as that.
        true => nothing_required(&command, &name),
        false => command.clone(),
    };
    let matches = parsing.try_get_matches_from(words).map_err(|error| {
        let notes = notes(&error, role, &origins);
        Refused::Clap(error, notes)
    })?;
    let values = matches.subcommand_matches(&name).map(|found| values(role, found));
    let effective = Effective {
        role: is_role.then_some(name),
        file: file.map(|file| file.path),
        origins,
        values: values.unwrap_or_default(),
    };
    Ok(Resolved { matches, effective })
}

/// The command line with a role that does without what it has to be told.
fn nothing_required(command: &Command, role: &str) -> Command {
    command.clone().mut_subcommand(role, |role| role.mut_args(|arg| arg.required(false)))
}

/// Checks the values in the sections of other roles than the one that is wanted. What is missing there, or excludes
/// something else, may be put right by that role's own command line.
fn check_others(file: &ConfigFile, command: &Command, wanted: &Command) -> Result<(), Refused> {
    for name in file.roles().filter(|name| *name != wanted.get_name()) {
        let Some(role) = command.find_subcommand(name) else { continue };
        let mut gathered = Gathered::new(role, None, BTreeSet::new());
        gathered.take_file(file, None)?;
        if gathered.check_places().is_err() {
            // Its command line may say the first of them.
            gathered.words.1.clear();
        }
        let mut line = CommandLine { words: Vec::new(), denied: BTreeSet::new() };
        line.add(gathered.words);
        let before = [command.get_name(), name].map(OsString::from);
        let parsed = nothing_required(command, name)
            .try_get_matches_from([&before[..], &line.words].concat());
        let Err(error) = parsed else { continue };
        use ErrorKind::{ArgumentConflict, MissingRequiredArgument};
        if !matches!(error.kind(), ArgumentConflict | MissingRequiredArgument) {
            let notes = notes(&error, role, &gathered.origins);
            return Err(Refused::Clap(error, notes));
        }
    }
    Ok(())
}

/// The configuration as a file, where that is asked for.
pub(super) fn printed(command: Command, resolved: &Resolved) -> Option<String> {
    let effective = &resolved.effective;
    let name = effective.role.as_deref()?;
    let matches = resolved.matches.subcommand_matches(name)?;
    if !matches.get_flag("print_config") {
        return None;
    }
    let mut command = command;
    command.build();
    let role = command.find_subcommand(name)?;
    Some(print::print(role, matches, &effective.origins))
}

fn config_file(
    given: &ArgMatches,
    command: &Command,
    around: &Surroundings,
) -> anyhow::Result<Option<ConfigFile>> {
    let path = given.get_one::<PathBuf>("config").cloned();
    let path = path.or_else(|| around.get(CONFIG_VARIABLE).map(PathBuf::from));
    path.map(|path| ConfigFile::read(&path, command, &ROLES)).transpose()
}

/// What each option of a role is set to.
fn values(role: &Command, found: &ArgMatches) -> BTreeMap<String, Vec<OsString>> {
    let value = |option: &Arg| {
        let id = option.get_id().as_str();
        let values = match Kind::of(option) {
            Kind::Flag => vec![found.get_flag(id).to_string().into()],
            Kind::Times => vec![found.get_count(id).to_string().into()],
            Kind::One | Kind::Many => match found.get_raw(id) {
                Some(values) => values.map(OsStr::to_owned).collect(),
                None => Vec::new(),
            },
        };
        Some((option::name(option)?, values))
    };
    option::settable(role).filter_map(value).collect()
}

/// Of the options that an error is about, those that were not written on the command line.
fn notes(error: &clap::Error, role: &Command, origins: &BTreeMap<String, Origin>) -> Vec<String> {
    let mut named: Vec<String> = Vec::new();
    for kind in [ContextKind::InvalidArg, ContextKind::PriorArg] {
        match error.get(kind) {
            Some(ContextValue::String(name)) => named.push(name.clone()),
            Some(ContextValue::Strings(names)) => named.extend(names.iter().cloned()),
            _ => {}
        }
    }
    // What is missing was not written anywhere.
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return Vec::new();
    }
    let of = |option: &Arg| {
        let name = option::name(option)?;
        let place = match origins.get(&name)? {
            Origin::CommandLine => return None,
            Origin::Variable(variable) => format!("in the environment, as {variable}"),
            Origin::File { path, line, .. } => format!("in {}, line {line}", path.display()),
            Origin::Credentials => "among the service's credentials".to_owned(),
        };
        // A place that is not required stands in other brackets.
        let shown = option.to_string();
        named
            .iter()
            .any(|named| bare(named) == bare(&shown))
            .then(|| format!("{name} stands {place}"))
    };
    option::settable(role).filter_map(of).collect()
}

/// An option as clap shows it, without what stands around it.
fn bare(shown: &str) -> &str {
    shown.trim_end_matches("...").trim_matches(['<', '>', '[', ']'])
}
