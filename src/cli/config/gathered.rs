//! What the environment and the file say of a role's options, gathered to be put into its command line.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, anyhow};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::file::{ConfigFile, Entry, Reference, Value};
use super::option::{self, Kind};
use super::{CREDENTIALS_VARIABLE, Origin, Surroundings};

/// Options of other subcommands that mean the same there, so that their variables count there as well.
const EVERYWHERE: [&str; 4] = ["certs", "pin", "ca", "known-receivers"];

/// A value out of a file of its own is a token or a pin.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// What is added to a command line.
pub(super) struct Gathered<'a> {
    pub(super) role: &'a Command,
    /// Options that are set by what counts before the file.
    pub(super) set: Vec<&'a Arg>,
    pub(super) denied: BTreeSet<String>,
    /// Options, and what is known by its place.
    pub(super) words: (Vec<OsString>, Vec<OsString>),
    pub(super) origins: BTreeMap<String, Origin>,
}

impl<'a> Gathered<'a> {
    /// `given`: what the command line says, where there is one of this role.
    pub(super) fn new(
        role: &'a Command,
        given: Option<&ArgMatches>,
        denied: BTreeSet<String>,
    ) -> Self {
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

    pub(super) fn take_variables(
        &mut self,
        around: &Surroundings,
        is_role: bool,
    ) -> anyhow::Result<()> {
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
    pub(super) fn take_file(
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
    pub(super) fn check_places(&self) -> anyhow::Result<()> {
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
    pub(super) fn take_credentials(&mut self, around: &Surroundings) {
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
