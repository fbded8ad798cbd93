//! A role's options as a file that gives the same again. Values that are nobody else's business are not in it, only
//! where they are.

use std::collections::BTreeMap;
use std::fmt::Write;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

use super::Origin;
use super::file::Reference;
use super::option::{self, Kind};

/// The section of a role, as it was found.
pub(super) fn print(
    role: &Command,
    found: &ArgMatches,
    origins: &BTreeMap<String, Origin>,
) -> String {
    let mut text = format!("[{}]\n", role.get_name());
    for option in option::settable(role) {
        let Some(name) = option::name(option) else { continue };
        let line = line(option, &name, found, origins.get(&name));
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text.trim_end().to_owned()
}

fn line(option: &Arg, name: &str, found: &ArgMatches, origin: Option<&Origin>) -> String {
    let place = match origin {
        None => "default".to_owned(),
        Some(Origin::CommandLine) => "command line".to_owned(),
        Some(Origin::Variable(variable)) => variable.clone(),
        Some(Origin::File { path, line, .. }) => format!("{}, line {line}", path.display()),
        Some(Origin::Credentials) => "the service's credentials".to_owned(),
    };
    if let Some(Origin::File { reference: Some(reference), .. }) = origin {
        return format!("{name} = {} # {place}", written(reference));
    }
    if option::is_secret(option) && is_set(option, found) {
        return match origin {
            Some(Origin::Variable(variable)) => {
                format!("{name} = {{ env = {} }} # {place}", quoted(variable))
            }
            _ => format!("# {name} is set ({place}), and not shown"),
        };
    }
    match value(option, found) {
        Some(value) => format!("{name} = {value} # {place}"),
        None => format!("# {name} is not set"),
    }
}

fn is_set(option: &Arg, found: &ArgMatches) -> bool {
    let source = found.value_source(option.get_id().as_str());
    source.is_some_and(|source| source != ValueSource::DefaultValue)
}

/// A value in TOML.
fn value(option: &Arg, found: &ArgMatches) -> Option<String> {
    let id = option.get_id().as_str();
    let kind = Kind::of(option);
    match kind {
        Kind::Flag => return Some(found.get_flag(id).to_string()),
        Kind::Times => return Some(found.get_count(id).to_string()),
        Kind::One | Kind::Many => {}
    }
    let values = found.get_raw(id)?;
    let values: Vec<_> = values
        .map(|value| {
            let text = value.to_string_lossy();
            // As it stands in a file: `30` is one in TOML as well, `.5` is none.
            let is_plain = text.parse::<u64>().is_ok() && !text.starts_with('+');
            if option::is_number(option) && is_plain && (text == "0" || !text.starts_with('0')) {
                text.into_owned()
            } else {
                quoted(&text)
            }
        })
        .collect();
    match kind {
        Kind::Many => Some(format!("[{}]", values.join(", "))),
        _ => values.into_iter().next(),
    }
}

fn written(reference: &Reference) -> String {
    let (key, value) = match reference {
        Reference::File(path) => ("file", path.to_string_lossy().into_owned()),
        Reference::Env(name) => ("env", name.clone()),
        Reference::Credential(name) => ("credential", name.clone()),
    };
    format!("{{ {key} = {} }}", quoted(&value))
}

/// A basic string. JSON's escapes are TOML's, but for one character that only TOML has to escape.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
