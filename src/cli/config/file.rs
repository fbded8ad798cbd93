//! `framelane.toml`: a section a role, in it the role's options by their long names. Everything in it is checked
//! against the command line's own definition, so that an option is known here as soon as it is there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::Command;
use toml::de::{DeTable, DeValue};

use super::option::{self, Kind};

/// A configuration is typed by hand.
const MAX_BYTES: u64 = 1024 * 1024;

/// How alike a name has to be to one that there is to be taken for it.
const ALIKE: f64 = 0.65;

/// A file that was read, and found to name nothing but options that there are.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// Of each section, each key.
    sections: BTreeMap<String, BTreeMap<String, Entry>>,
}

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

/// A value, whose kind fits its option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// Of an option without a value: given, or not.
    Flag(bool),
    /// Of an option that is repeated.
    Times(u8),
    /// As they would be written on a command line.
    Texts(Vec<String>),
    /// Where the value is, instead of the value.
    Reference(Reference),
}

/// Where a value is that should not be in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reference {
    /// In a file, a line feed at whose end does not count.
    File(PathBuf),
    /// In a variable of the environment.
    Env(String),
    /// A credential that systemd hands to the service: its content, or its path where the option wants a path.
    Credential(String),
}

impl ConfigFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it cannot be read, is no TOML, or has a key or a kind of value that `command`, which is built, does not
    /// know in one of its `roles`; with the line.
    pub(super) fn read(path: &Path, command: &Command, roles: &[&str]) -> anyhow::Result<Self> {
        let shown = path.display();
        let file = File::open(path).with_context(|| {
            format!("cannot read the configuration {shown}; name another with --config, or leave that out")
        })?;
        let mut bytes = Vec::new();
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.with_context(|| format!("cannot read the configuration {shown}"))?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!("{shown} has more than {MAX_BYTES} bytes; a configuration has not");
        }
        let text = String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is no text in UTF-8"))?;
        Self::parse(path, &text, command, roles)
    }

    pub(super) fn parse(
        path: &Path,
        text: &str,
        command: &Command,
        roles: &[&str],
    ) -> anyhow::Result<Self> {
        let lines = Lines { path, text };
        let table = DeTable::parse(text)
            .map_err(|error| lines.error(&error.span().unwrap_or(0..0), error.message()))?;
        let mut file = Self { path: path.to_owned(), sections: BTreeMap::new() };
        for (name, section) in table.get_ref() {
            let known = roles.contains(&name.get_ref().as_ref());
            let (true, DeValue::Table(keys)) = (known, section.get_ref()) else {
                return Err(lines.error(&name.span(), &no_section(name.get_ref(), command, roles)));
            };
            let role = command.find_subcommand(name.get_ref().as_ref());
            let role = role.ok_or_else(|| anyhow!("{} is no subcommand", name.get_ref()))?;
            let mut entries = BTreeMap::new();
            for (key, value) in keys {
                let name = key.get_ref().as_ref();
                let Some(option) = option::find(role, name) else {
                    return Err(lines.error(&key.span(), &no_key(name, role, command, roles)));
                };
                let line = lines.line(&key.span());
                let value = parse_value(option, value.get_ref(), &text[value.span()]);
                let value =
                    value.map_err(|why| lines.error(&key.span(), &format!("{name}: {why}")))?;
                entries.insert(name.to_owned(), Entry { line, value });
            }
            file.sections.insert(name.get_ref().clone().into_owned(), entries);
        }
        Ok(file)
    }

    /// The roles that it has a section of.
    pub(super) fn roles(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// What the file says of an option of a role.
    pub(super) fn entry(&self, role: &str, name: &str) -> Option<&Entry> {
        self.sections.get(role)?.get(name)
    }
}

/// A text with its lines.
struct Lines<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Lines<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|&&byte| byte == b'\n').count()
    }

    fn error(&self, span: &Range<usize>, why: &str) -> anyhow::Error {
        anyhow!("{}, line {}: {why}", self.path.display(), self.line(span))
    }
}

/// Why there is no such section: it may be a key that belongs into one.
fn no_section(name: &str, command: &Command, roles: &[&str]) -> String {
    let sections = roles.iter().map(|role| format!("[{role}]")).collect::<Vec<_>>().join(" or ");
    let owners: Vec<_> = roles.iter().filter(|role| has(command, role, name)).collect();
    if owners.is_empty() {
        format!("there is no section {name:?}; options stand in {sections}")
    } else {
        format!("{name:?} belongs into a section; write {sections} on a line above it")
    }
}

fn has(command: &Command, role: &str, name: &str) -> bool {
    command.find_subcommand(role).is_some_and(|role| option::find(role, name).is_some())
}

/// Why there is no such key, and which was meant.
fn no_key(name: &str, role: &Command, command: &Command, roles: &[&str]) -> String {
    let here = role.get_name();
    if let Some(other) = roles.iter().find(|other| has(command, other, name)) {
        return format!("{name:?} is an option of {other}, not of {here}; move it to [{other}]");
    }
    let names = option::settable(role).filter_map(option::name);
    let alike = names.map(|known| (likeness(name, &known), known));
    match alike.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, nearest)) if likeness >= ALIKE => {
            format!("there is no {name:?} in [{here}]; did you mean {nearest}?")
        }
        _ => format!(
            "there is no {name:?} in [{here}]; `framelane {here} --help` has all that there is"
        ),
    }
}

/// From 0 to 1: as people mistype, by a letter or two, or by a beginning that is right.
fn likeness(one: &str, other: &str) -> f64 {
    /// One letter too many, too few, another, or two in each other's place: most likely by far, also where so much is a
    /// third of a short name.
    const BY_ONE: f64 = 0.95;
    let by_one = strsim::damerau_levenshtein(one, other) <= 1 && one.len() > 2;
    let alike =
        strsim::jaro_winkler(one, other).max(strsim::normalized_damerau_levenshtein(one, other));
    if by_one { alike.max(BY_ONE) } else { alike }
}

/// A value whose kind fits, or what would.
fn parse_value(option: &clap::Arg, value: &DeValue<'_>, written: &str) -> Result<Value, String> {
    let kind = Kind::of(option);
    match (kind, value) {
        (Kind::Flag, DeValue::Boolean(given)) => Ok(Value::Flag(*given)),
        // As in `--durable=true`: what is in quotes is as on the command line.
        (Kind::Flag, DeValue::String(text)) if text == "true" => Ok(Value::Flag(true)),
        (Kind::Flag, DeValue::String(text)) if text == "false" => Ok(Value::Flag(false)),
        (Kind::Flag, _) => Err(format!("{written} is neither true nor false")),
        (Kind::Times, value) => {
            let times = scalar(value, written).and_then(|text| text.parse().ok());
            times.map(Value::Times).ok_or_else(|| format!("{written} is no number from 0 to 255"))
        }
        (Kind::One | Kind::Many, DeValue::Table(table)) => {
            parse_reference(table).map(Value::Reference).ok_or_else(|| {
                "write a value, or where it is: { file = \"PATH\" }, { env = \"NAME\" } or \
                 { credential = \"NAME\" }"
                    .to_owned()
            })
        }
        (Kind::Many, DeValue::Array(values)) => {
            let text = |value: &toml::Spanned<DeValue<'_>>| {
                // Where the array begins is not where the value does, so the value says itself what it is.
                scalar(value.get_ref(), "")
                    .ok_or_else(|| "each value is a text in quotes".to_owned())
            };
            Ok(Value::Texts(values.iter().map(text).collect::<Result<_, _>>()?))
        }
        (Kind::One, DeValue::Array(_)) => {
            Err("it has one value, not a list; leave the brackets out".to_owned())
        }
        (Kind::One | Kind::Many, value) => match scalar(value, written) {
            Some(text) => Ok(Value::Texts(vec![text])),
            None => {
                Err(format!("write its value in quotes, as on the command line: \"{written}\""))
            }
        },
    }
}

/// A text or a number, as it would stand on a command line.
fn scalar(value: &DeValue<'_>, written: &str) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(_) | DeValue::Float(_) if !written.is_empty() => {
            Some(written.replace('_', ""))
        }
        DeValue::Integer(number) => Some(number.as_str().replace('_', "")),
        DeValue::Float(number) => Some(number.as_str().replace('_', "")),
        _ => None,
    }
}

fn parse_reference(table: &DeTable<'_>) -> Option<Reference> {
    let mut entries = table.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else { return None };
    let DeValue::String(text) = value.get_ref() else { return None };
    let text = text.clone().into_owned();
    match key.get_ref().as_ref() {
        "file" => Some(Reference::File(text.into())),
        "env" => Some(Reference::Env(text)),
        // It names a file in a folder, not one elsewhere.
        "credential" if !text.contains('/') && text != ".." => Some(Reference::Credential(text)),
        _ => None,
    }
}
