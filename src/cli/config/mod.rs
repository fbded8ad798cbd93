//! Where options come from: the command line, the environment, a file, and what they are where nobody says.
//!
//! What the environment and the file say is put into the command line, where it does not say it itself, and parsed
//! with it: a value means the same wherever it is written, is checked by the same rules, and refused with the same
//! words. Which options there are is read off clap's definition of the command line.

mod file;
mod option;
mod print;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use file::{ConfigFile, Entry, Reference, Value};
use option::Kind;

/// The subcommands that a file can configure, and each of whose options has a variable.
const ROLES: [&str; 2] = ["receive", "send"];

/// Options of other subcommands that mean the same there, so that their variables count there as well.
const EVERYWHERE: [&str; 4] = ["certs", "pin", "ca", "known-receivers"];

/// The variable that names the file.
const CONFIG_VARIABLE: &str = "FRAMELANE_CONFIG";

/// The folder of the credentials that systemd hands to a service.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// A value out of a file of its own is a token or a pin.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

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

/// The subcommand that a command line names, and where.
fn subcommand<'a>(command: &'a Command, argv: &[OsString]) -> Option<(usize, &'a Command)> {
    // No option that stands before it takes a value.
    let is_word = |word: &OsString| !word.to_string_lossy().starts_with('-');
    let at = 1 + argv.iter().skip(1).position(is_word)?;
    Some((at, command.find_subcommand(argv.get(at)?)?))
}

/// What stands behind the subcommand.
struct CommandLine {
    words: Vec<OsString>,
    /// Options that it says are not to be, as in `--durable=false`.
    denied: BTreeSet<String>,
}

impl CommandLine {
    /// Takes out what clap does not know: of an option without a value, that it is `=true` or `=false`.
    fn of(role: &Command, words: &[OsString], is_role: bool) -> Self {
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
    fn add(&mut self, (options, places): (Vec<OsString>, Vec<OsString>)) {
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
fn look(lenient: Command, before: &[OsString], words: &[OsString]) -> Option<ArgMatches> {
    let words = [before, words].concat();
    let matches = lenient.try_get_matches_from(words).ok()?;
    matches.subcommand().map(|(_, matches)| matches.clone())
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

/// What is added to a command line.
struct Gathered<'a> {
    role: &'a Command,
    /// Options that are set by what counts before the file.
    set: Vec<&'a Arg>,
    denied: BTreeSet<String>,
    /// Options, and what is known by its place.
    words: (Vec<OsString>, Vec<OsString>),
    origins: BTreeMap<String, Origin>,
}

impl<'a> Gathered<'a> {
    /// `given`: what the command line says, where there is one of this role.
    fn new(role: &'a Command, given: Option<&ArgMatches>, denied: BTreeSet<String>) -> Self {
        let is_given = |option: &&Arg| {
            let id = option.get_id().as_str();
            given.is_some_and(|given| given.value_source(id) == Some(ValueSource::CommandLine))
        };
        let set: Vec<_> = option::settable(role).filter(is_given).collect();
        let names = set.iter().filter_map(|option| option::name(option));
        let origins = names.chain(denied.iter().cloned()).map(|name| (name, Origin::CommandLine));
        Self { role, origins: origins.collect(), set, denied, words: Default::default() }
    }

    /// True where something that counts for more says it, or says what cannot be together with it.
    fn is_settled(&self, option: &Arg) -> bool {
        let excludes = |one: &Arg, other: &Arg| {
            self.role.get_arg_conflicts_with(one).iter().any(|arg| arg.get_id() == other.get_id())
        };
        let is_denied = option::name(option).is_some_and(|name| self.denied.contains(&name));
        is_denied
            || self.set.iter().any(|set| {
                set.get_id() == option.get_id() || excludes(set, option) || excludes(option, set)
            })
    }

    fn take_variables(&mut self, around: &Surroundings, is_role: bool) -> anyhow::Result<()> {
        let mut taken = Vec::new();
        for option in option::settable(self.role) {
            let Some((name, variable)) = option::name(option).zip(option::variable(option)) else {
                continue;
            };
            if !is_role && !EVERYWHERE.contains(&name.as_str()) || self.is_settled(option) {
                continue;
            }
            let Some(value) = around.get(&variable) else { continue };
            let value = of_variable(option, &value)
                .with_context(|| format!("the environment's {variable}, for --{name}"))?;
            self.push(option, &value);
            self.origins.insert(name, Origin::Variable(variable));
            taken.push(option);
        }
        self.set.extend(taken);
        Ok(())
    }

    /// `around`: where values that are not in the file are looked for; they are left out without it.
    fn take_file(
        &mut self,
        file: &ConfigFile,
        around: Option<&Surroundings>,
    ) -> anyhow::Result<()> {
        for option in option::settable(self.role) {
            let Some(name) = option::name(option) else { continue };
            let Some(Entry { line, value }) = file.entry(self.role.get_name(), &name) else {
                continue;
            };
            if self.is_settled(option) {
                continue;
            }
            let (line, path) = (*line, file.path.clone());
            let (value, reference) = match value {
                Value::Reference(reference) => {
                    let Some(around) = around else { continue };
                    let found = follow(reference, option, around)
                        .with_context(|| format!("{}, line {line}: {name}", path.display()))?;
                    (vec![found], Some(reference.clone()))
                }
                Value::Flag(given) => (vec![given.to_string().into()], None),
                Value::Times(times) => (vec![times.to_string().into()], None),
                Value::Texts(texts) => (texts.iter().map(OsString::from).collect(), None),
            };
            // What is so anyway may stand beside everything, as in a file that was printed.
            if !option.get_default_values().iter().eq(value.iter()) {
                self.push(option, &value);
            }
            self.origins.insert(name, Origin::File { path, line, reference });
        }
        Ok(())
    }

    /// What is known by its place would be taken for what has to stand before it, where nobody says that.
    fn check_places(&self) -> anyhow::Result<()> {
        let named =
            self.role.get_positionals().filter_map(|place| Some((option::name(place)?, place)));
        let mut missing = None;
        for (name, place) in named {
            match (&missing, self.origins.get(&name)) {
                (None, None) => missing = Some((name, place)),
                (Some((first, place)), Some(Origin::File { path, line, .. })) => {
                    let (path, role) = (path.display(), self.role.get_name());
                    let value = place.get_value_names().and_then(<[_]>::first);
                    let value = value.map_or("...", |value| value.as_str());
                    anyhow::bail!(
                        "{path}, line {line}: there are {name} and no {first}; write {first} = \"{value}\" into \
                         [{role}], or say it on the command line"
                    );
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// An identity among the credentials is this machine's, where nobody names another.
    fn take_credentials(&mut self, around: &Surroundings) {
        use crate::identity::{CERTIFICATE_FILE, KEY_FILE};
        let Some(folder) = around.credentials() else { return };
        let Some(option) = option::find(self.role, "certs") else { return };
        let is_there = [CERTIFICATE_FILE, KEY_FILE].iter().all(|name| folder.join(name).exists());
        if is_there && !self.origins.contains_key("certs") {
            self.push(option, &[folder.into_os_string()]);
            self.origins.insert("certs".to_owned(), Origin::Credentials);
        }
    }

    fn push(&mut self, option: &Arg, values: &[OsString]) {
        let Some(long) = option.get_long() else {
            return self.words.1.extend_from_slice(values);
        };
        let flag = OsString::from(format!("--{long}"));
        let words = &mut self.words.0;
        match Kind::of(option) {
            Kind::Flag => {
                words.extend(values.iter().filter(|value| *value == "true").map(|_| flag.clone()))
            }
            Kind::Times => {
                let times = values.first().and_then(|times| times.to_str()?.parse().ok());
                words.extend(std::iter::repeat_n(flag, times.unwrap_or(0)));
            }
            Kind::One | Kind::Many => words.extend(values.iter().map(|value| {
                let mut word = flag.clone();
                word.push("=");
                word.push(value);
                word
            })),
        }
    }
}

/// A variable's value as an option takes it: of one that takes many, each is a word.
fn of_variable(option: &Arg, value: &OsStr) -> anyhow::Result<Vec<OsString>> {
    let text = || value.to_str().ok_or_else(|| anyhow!("it is no text in UTF-8"));
    match Kind::of(option) {
        Kind::One => Ok(vec![value.to_owned()]),
        Kind::Many => Ok(text()?.split_whitespace().map(OsString::from).collect()),
        Kind::Times => match text()?.parse::<u8>() {
            Ok(_) => Ok(vec![value.to_owned()]),
            Err(_) => Err(anyhow!("{:?} is no number from 0 to 255", text()?)),
        },
        Kind::Flag => match text()? {
            "true" | "1" | "yes" => Ok(vec!["true".into()]),
            "false" | "0" | "no" => Ok(vec!["false".into()]),
            other => Err(anyhow!("{other:?} is neither true nor false")),
        },
    }
}

/// What a reference leads to.
fn follow(reference: &Reference, option: &Arg, around: &Surroundings) -> anyhow::Result<OsString> {
    let path = match reference {
        Reference::Env(name) => {
            return around.get(name).ok_or_else(|| anyhow!("the environment has no {name}"));
        }
        Reference::File(path) => path.clone(),
        Reference::Credential(name) => {
            let folder = around.credentials().ok_or_else(|| {
                anyhow!(
                    "there is no {CREDENTIALS_VARIABLE}; systemd sets it for a service with \
                     LoadCredential={name}:PATH"
                )
            })?;
            folder.join(name)
        }
    };
    if option::is_path(option) {
        return Ok(path.into_os_string());
    }
    read_value(&path).with_context(|| format!("cannot take the value from {}", path.display()))
}

fn read_value(path: &Path) -> anyhow::Result<OsString> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_SECRET_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(anyhow!("it has more than {MAX_SECRET_BYTES} bytes"));
    }
    Ok(text.strip_suffix('\n').unwrap_or(&text).into())
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
