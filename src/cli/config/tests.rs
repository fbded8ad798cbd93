//! Every option of both roles, as clap has them, from each place where it can be said.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, CommandFactory};
use tempfile::TempDir;

use super::super::Cli;
use super::option::{self, Kind};
use super::{ROLES, Refused, Resolved, Surroundings, printed, resolve, values};

const PIN: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Values that one option or another takes. An option that takes none of them needs one here.
const VALUES: [&str; 30] = [
    "30s",
    "45s",
    "64MiB",
    "256MiB",
    "127.0.0.1:4433",
    PIN,
    "tcp",
    "length",
    "visible=3",
    "visible=640x512x2",
    "spread",
    "duplicate",
    "visible=200ms",
    "10%",
    "30",
    "cubic",
    "+02:00",
    "exif",
    "*.jpg",
    "visible=./visible",
    "some/where",
    "1",
    "2%",
    "day",
    "30d",
    "10mbit",
    "a-token-to-look-with",
    "auto",
    "off",
    "a b \" \\ c",
];

fn built() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

fn around(variables: &[(&str, &str)]) -> Surroundings {
    let variables: HashMap<String, OsString> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Surroundings { variable: Box::new(move |name| variables.get(name).cloned()) }
}

fn words(words: &[&str]) -> Vec<OsString> {
    ["framelane"].iter().chain(words).map(OsString::from).collect()
}

fn said(refused: Refused) -> String {
    match refused {
        Refused::Clap(error, notes) => format!("{error}\n{}", notes.join("\n")),
        Refused::Config(error) => format!("{error:#}"),
    }
}

fn resolved(line: &[&str], variables: &[(&str, &str)]) -> Result<Resolved, String> {
    resolve(Cli::command(), &words(line), &around(variables)).map_err(said)
}

/// A file, and the folder that it goes with.
fn config(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("framelane.toml");
    fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    (folder, path)
}

/// What has to be there beside an option: what a role cannot do without, and what the option asks for.
fn line_with(role: &str, option: &Arg, words: &[String], beside: &[String]) -> Vec<String> {
    let mut line = vec![role.to_owned()];
    line.extend(beside.iter().cloned());
    line.extend(words.iter().cloned());
    let places: &[&str] = match (role, option.is_positional()) {
        ("send", false) => &["host:4433", "visible=./visible"],
        _ => &[],
    };
    line.extend(places.iter().map(|place| (*place).to_owned()));
    line
}

fn parse(line: &[String]) -> Result<ArgMatches, clap::Error> {
    let words = ["framelane".to_owned()].into_iter().chain(line.iter().cloned());
    Cli::command().try_get_matches_from(words)
}

/// Options that clap says are missing, as in `--restart`.
fn missing(error: &clap::Error) -> Vec<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(names))) => {
            names.iter().filter(|name| name.starts_with("--")).cloned().collect()
        }
        _ => Vec::new(),
    }
}

/// A use of an option on a command line, found by trying: its values, and the line.
fn used(role: &str, option: &Arg) -> (Vec<String>, Vec<String>) {
    let name = option::name(option).expect("a name");
    let flag = || vec![format!("--{name}")];
    let candidates: Vec<(Vec<String>, Vec<String>)> = match Kind::of(option) {
        Kind::Flag => vec![(vec!["true".to_owned()], flag())],
        Kind::Times => vec![(vec!["2".to_owned()], [flag(), flag()].concat())],
        Kind::One | Kind::Many => {
            let possible = option.get_possible_values();
            let possible = possible.iter().rev().map(|value| value.get_name().to_owned());
            let values = possible.chain(VALUES.iter().map(|value| (*value).to_owned()));
            let words = |value: &String| match option.is_positional() {
                true => vec![value.clone()],
                false => vec![format!("--{name}={value}")],
            };
            values.map(|value| (vec![value.clone()], words(&value))).collect()
        }
    };
    for (values, words) in candidates {
        // The default says nothing of where it came from.
        let is_default = option
            .get_default_values()
            .iter()
            .any(|value| values == [value.to_str().unwrap_or("")]);
        if is_default {
            continue;
        }
        let mut beside = Vec::new();
        for _ in 0..3 {
            // Of two places, the other one has to be said as well.
            let words = match (role, option.get_id().as_str()) {
                ("send", "receiver") => vec![words[0].clone(), "visible=./visible".to_owned()],
                ("send", "sources") => vec!["host:4433".to_owned(), words[0].clone()],
                _ => words.clone(),
            };
            let line = line_with(role, option, &words, &beside);
            match parse(&line) {
                Ok(_) => return (values, line),
                Err(error) => beside.extend(missing(&error)),
            }
        }
    }
    panic!("no value in VALUES is one for --{name} of {role}: add one that it takes");
}

fn toml(option: &Arg, values: &[String]) -> String {
    match Kind::of(option) {
        Kind::Flag | Kind::Times => values[0].clone(),
        Kind::One => format!("{:?}", values[0]),
        Kind::Many => format!("{values:?}"),
    }
}

fn found(role: &str, matches: &ArgMatches) -> std::collections::BTreeMap<String, Vec<OsString>> {
    let command = built();
    let role = command.find_subcommand(role).expect("a role");
    values(role, matches.subcommand_matches(role.get_name()).expect("the role's"))
}

#[test]
fn every_option_of_both_roles_can_be_set_in_the_file_and_in_the_environment() {
    let command = built();
    for role in ROLES {
        let definition = command.find_subcommand(role).expect("a role");
        let options: Vec<_> = option::settable(definition).collect();
        assert!(options.len() > 12, "only {} options of {role}", options.len());
        for option in options {
            let name = option::name(option).expect("every option has a name");
            let (values, line) = used(role, option);
            let expected = found(role, &parse(&line).expect("it was parsed before"));
            let own: Vec<String> = line.iter().skip(1).cloned().collect();
            let written = |word: &String| {
                word == &format!("--{name}")
                    || word.starts_with(&format!("--{name}="))
                    || option.is_positional() && values.contains(word)
            };
            let rest: Vec<String> = own.iter().filter(|word| !written(word)).cloned().collect();
            let mut text = format!("[{role}]\n{name} = {}\n", toml(option, &values));
            // Of places, all come from the file: those of a command line count from the first.
            let mut rest = rest;
            if option.is_positional() {
                if option.get_id() == "receiver" {
                    text.push_str("sources = [\"visible=./visible\"]\n");
                } else {
                    text.push_str("receiver = \"host:4433\"\n");
                }
                rest.clear();
            }
            let (_folder, path) = config(&text);
            let mut line: Vec<&str> = vec![role, "--config", &path];
            line.extend(rest.iter().map(String::as_str));
            let from_file =
                resolved(&line, &[]).unwrap_or_else(|why| panic!("{role} {name}: {why}\n{text}"));
            assert_eq!(found(role, &from_file.matches), expected, "{role} {name}, from\n{text}");

            if let Some(variable) = option::variable(option)
                && !values[0].contains(' ')
            {
                let mut line: Vec<&str> = vec![role];
                line.extend(rest.iter().map(String::as_str));
                let from_there = resolved(&line, &[(&variable, &values.join(" "))]);
                let from_there = from_there.unwrap_or_else(|why| panic!("{variable}: {why}"));
                assert_eq!(found(role, &from_there.matches), expected, "{variable}");
            }
        }
    }
}

#[test]
fn what_is_printed_is_a_file_that_gives_the_same() {
    let command = built();
    for role in ROLES {
        let definition = command.find_subcommand(role).expect("a role");
        for option in option::settable(definition) {
            let name = option::name(option).expect("a name");
            if option::is_secret(option) {
                continue; // Not printed.
            }
            let (_, line) = used(role, option);
            let mut asking: Vec<&str> = line.iter().map(String::as_str).collect();
            asking.insert(1, "--print-config");
            let first = resolved(&asking, &[]).unwrap_or_else(|why| panic!("{role} {name}: {why}"));
            let text = printed(Cli::command(), &first).expect("it was asked for");
            let (_folder, path) = config(&text);
            let again = resolved(&[role, "--config", &path, "--print-config"], &[]);
            let again = again.unwrap_or_else(|why| panic!("{role} {name}: {why}\n{text}"));
            assert_eq!(found(role, &again.matches), found(role, &first.matches), "{text}");
            // But for where things come from it is the same text, too.
            let plain = |text: &str| -> Vec<String> {
                let plain =
                    |line: &str| line.rsplit_once(" # ").map_or(line, |(line, _)| line).to_owned();
                text.lines().map(plain).collect()
            };
            let text_again = printed(Cli::command(), &again).expect("it was asked for");
            assert_eq!(plain(&text_again), plain(&text));
            assert!(
                text.lines().any(|line| line.starts_with(&format!("{name} = "))),
                "{name} in {text}"
            );
        }
    }
}

#[test]
fn a_printed_configuration_needs_no_receiver_and_says_where_things_come_from() {
    let (_folder, path) = config("[send]\nfps = 30\nretry-for = \"5m\"\n");
    let line = ["send", "--config", &path, "--print-config", "--stall", "7s"];
    let found = resolved(&line, &[("FRAMELANE_CERTS", "/etc/framelane")]).expect("fine");
    let text = printed(Cli::command(), &found).expect("it was asked for");
    for line in [
        "[send]".to_owned(),
        "# receiver is not set".to_owned(),
        format!("fps = 30 # {path}, line 2"),
        format!("retry-for = \"5m\" # {path}, line 3"),
        "stall = \"7s\" # command line".to_owned(),
        "certs = \"/etc/framelane\" # FRAMELANE_CERTS".to_owned(),
        "drain = \"10s\" # default".to_owned(),
        "pin = [] # default".to_owned(),
    ] {
        let is_there = text.lines().any(|found| found == line || line.starts_with("pin"));
        assert!(is_there, "no {line:?} in\n{text}");
    }
}

#[test]
fn the_command_line_counts_before_the_environment_and_that_before_the_file() {
    let (_folder, path) = config("[receive]\nout = \"file\"\nstall = \"3s\"\ndurable = true\n");
    let line = ["receive", "--config", &path];
    let out = |line: &[&str], variables: &[(&str, &str)]| {
        let found = resolved(line, variables).expect("fine");
        found_one(&found, "out")
    };
    assert_eq!(out(&["receive"], &[]), PathBuf::from("received"));
    assert_eq!(out(&line, &[]), PathBuf::from("file"));
    let variables = [("FRAMELANE_OUT", "variable")];
    assert_eq!(out(&line, &variables), PathBuf::from("variable"));
    assert_eq!(out(&[&line[..], &["--out", "line"]].concat(), &variables), PathBuf::from("line"));
    // An empty variable says nothing, and the file may be named by one.
    let variables = [("FRAMELANE_OUT", ""), ("FRAMELANE_CONFIG", &*path)];
    assert_eq!(out(&["receive"], &variables), PathBuf::from("file"));
    let durable = |line: &[&str], variables: &[(&str, &str)]| {
        let found = resolved(line, variables).expect("fine");
        found.matches.subcommand_matches("receive").expect("it").get_flag("durable")
    };
    assert!(durable(&line, &[]));
    assert!(!durable(&line, &[("FRAMELANE_DURABLE", "false")]));
    assert!(!durable(&[&line[..], &["--durable=false"]].concat(), &[]));
    assert!(durable(&["receive", "--durable=true"], &[]));
}

fn found_one(found: &Resolved, id: &str) -> PathBuf {
    let matches = found.matches.subcommand_matches("receive").expect("the receiver's");
    matches.get_one::<PathBuf>(id).expect("a path").clone()
}

#[test]
fn what_excludes_another_option_takes_its_place() {
    let pin = PIN;
    let (_folder, path) = config(&format!("[send]\npin = \"{pin}\"\nverbose = 2\n"));
    let line = ["send", "--config", &path, "h:1", "v=./v", "--ca", "ca.pem", "-q"];
    let found = resolved(&line, &[]).expect("the file gives way");
    let found = found.matches.subcommand_matches("send").expect("it").clone();
    assert!(found.get_raw("pin").is_none_or(|pins| pins.count() == 0));
    assert_eq!((found.get_count("verbose"), found.get_flag("quiet")), (0, true));
    // In one place they are refused together.
    let (_folder, path) = config(&format!("[send]\npin = \"{pin}\"\nca = \"ca.pem\"\n"));
    let why = resolved(&["send", "--config", &path, "h:1", "v=./v"], &[]).err().expect("not both");
    assert!(why.contains("cannot be used with") && why.contains("line 2"), "{why}");
}

#[test]
fn places_come_from_the_file_where_the_command_line_has_none() {
    let (_folder, path) = config("[send]\nreceiver = \"a:1\"\nsources = [\"v=-\", \"-odd\"]\n");
    let values = |line: &[&str]| found("send", &resolved(line, &[]).expect("fine").matches);
    let all = values(&["send", "--config", &path]);
    assert_eq!(all["receiver"], ["a:1"]);
    assert_eq!(all["sources"], ["v=-", "-odd"]);
    let some = values(&["send", "--config", &path, "b:2"]);
    assert_eq!((&some["receiver"][0], some["sources"].len()), (&OsString::from("b:2"), 2));
    let own = values(&["send", "--config", &path, "b:2", "--", "x=./x"]);
    assert_eq!((&own["receiver"][0], &own["sources"][0]), (&"b:2".into(), &"x=./x".into()));
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_its_line() {
    for (text, says) in [
        ("[receive]\n\nmax_frame = \"1MiB\"\n", &["line 3", "did you mean max-frame?"][..]),
        ("[receive]\ndurabel = true\n", &["line 2", "did you mean durable?"]),
        ("[send]\nfsp = 5\n", &["line 2", "did you mean fps?"]),
        ("[send]\nvai = \"w0\"\n", &["line 2", "did you mean via?"]),
        ("[receive]\nfps = 30\n", &["line 2", "an option of send", "[send]"]),
        ("[receive]\nxyzzy = 1\n", &["line 2", "receive --help"]),
        ("stall = \"3s\"\n", &["line 1", "belongs into a section", "[receive] or [send]"]),
        ("[reciever]\n", &["line 1", "no section", "[receive] or [send]"]),
        ("[receive]\ndurable = \"yes\"\n", &["line 2", "durable", "neither true nor false"]),
        ("[receive]\nout = [\"a\", \"b\"]\n", &["line 2", "out", "one value"]),
        ("[receive]\nout = true\n", &["line 2", "in quotes"]),
        ("[receive]\nallow = [true]\n", &["line 2", "text in quotes"]),
        ("[receive]\nverbose = 300\n", &["line 2", "0 to 255"]),
        ("[receive]\nout = { path = \"x\" }\n", &["line 2", "{ file = \"PATH\" }"]),
        ("[receive]\nout = \"a\"\nout = \"b\"\n", &["line 3"]),
        ("[receive]\nout = \n", &["line 2"]),
        ("[receive]\nconfig = \"other\"\n", &["line 2", "no \"config\""]),
        // The other role's section is checked as well.
        ("[receive]\n[send]\nfqs = 30\n", &["line 3", "fps"]),
        ("[receive]\n[send]\nfps = \"x\"\n", &["fps stands in", "line 3"]),
        ("[receive]\nonce = true\n[send]\n\npin = [\"x\"]\n", &["pin stands in", "line 5"]),
        ("[receive]\n[send]\nreceiver = \"x\"\n", &["no port", "line 3"]),
        // And what clap refuses.
        ("[receive]\n# a\nstall = \"soon\"\n", &["stall", "line 3"]),
    ] {
        let (_folder, path) = config(text);
        let why = resolved(&["receive", "--config", &path], &[]).err().unwrap_or_default();
        for part in says.iter().chain([&path.as_str()]) {
            assert!(why.contains(part), "no {part:?} for\n{text}in\n{why}");
        }
    }
    let why = resolved(&["receive", "--config", "/nowhere.toml"], &[]).err().unwrap_or_default();
    assert!(why.contains("/nowhere.toml") && why.contains("--config"), "{why}");
    let why = resolved(&["receive"], &[("FRAMELANE_STALL", "soon")]).err().unwrap_or_default();
    assert!(why.contains("FRAMELANE_STALL"), "{why}");
    let why = resolved(&["receive"], &[("FRAMELANE_ONCE", "maybe")]).err().unwrap_or_default();
    assert!(why.contains("FRAMELANE_ONCE") && why.contains("true nor false"), "{why}");
}

#[test]
fn what_the_other_role_can_put_right_is_not_held_against_its_section() {
    let pin = PIN;
    for text in [
        "[send]\nsources = [\"v=./v\"]\n",
        "[send]\nreceiver = \"h:1\"\n",
        "[send]\npin = { env = \"NOT_HERE\" }\n",
        &format!("[send]\npin = \"{pin}\"\nca = \"ca.pem\"\n"),
        "[send]\nreceiver = \"h:1\"\nsources = [\"v=./v\", \"-odd\"]\nwatch = true\nfps = 30\nverbose = 2\n",
    ] {
        let (_folder, path) = config(text);
        if let Err(why) = resolved(&["receive", "--config", &path], &[]) {
            panic!("{why} in\n{text}");
        }
    }
}

#[test]
fn sources_without_a_receiver_are_not_taken_for_it() {
    let (_folder, path) = config("[send]\nfps = 30\nsources = [\"a\", \"b\"]\n");
    for line in [&["send", "--config", &path][..], &["send", "--config", &path, "--print-config"]] {
        let why = resolved(line, &[]).err().expect("there is no receiver");
        for part in [&*path, "line 3", "no receiver", "receiver = \"HOST:PORT\""] {
            assert!(why.contains(part), "no {part:?} in {why}");
        }
    }
    assert!(resolved(&["send", "--config", &path, "h:1"], &[]).is_ok());
}

#[test]
fn true_and_false_may_stand_in_quotes() {
    for (written, durable) in [("\"true\"", true), ("\"false\"", false), ("true", true)] {
        let (_folder, path) = config(&format!("[receive]\ndurable = {written}\n"));
        let found = resolved(&["receive", "--config", &path], &[]).expect("fine");
        let found = found.matches.subcommand_matches("receive").expect("it").get_flag("durable");
        assert_eq!(found, durable, "{written}");
    }
}

#[test]
fn values_may_be_elsewhere_and_are_printed_as_that() {
    let pin = PIN;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    fs::write(path("pin"), format!("{pin}\n")).expect("a file");
    for (reference, variables) in [
        (format!("{{ file = {:?} }}", path("pin")), vec![]),
        ("{ env = \"THE_PIN\" }".to_owned(), vec![("THE_PIN", pin)]),
        (
            "{ credential = \"pin\" }".to_owned(),
            vec![("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())],
        ),
    ] {
        let (_folder, file) = config(&format!("[send]\npin = {reference}\n"));
        let line = ["send", "--config", &file, "--print-config"];
        let found_there = resolved(&line, &variables).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(found("send", &found_there.matches)["pin"], [pin]);
        let text = printed(Cli::command(), &found_there).expect("it was asked for");
        assert!(text.contains(&format!("pin = {reference} #")) && !text.contains(pin), "{text}");
        if !variables.is_empty() {
            let why = resolved(&line, &[]).err().expect("there is none");
            assert!(why.contains("line 2") && why.contains("pin"), "{why}");
        }
    }
    // Of an option that wants a path, a credential's path.
    let (_folder, file) = config("[receive]\nallow-file = { credential = \"senders\" }\n");
    let there = folder.path().to_str().unwrap();
    let line = ["receive", "--config", &file];
    let found = resolved(&line, &[("CREDENTIALS_DIRECTORY", there)]).expect("fine");
    assert_eq!(found_one(&found, "allow_file"), folder.path().join("senders"));
}

#[test]
fn an_identity_among_the_credentials_is_the_services() {
    let folder = tempfile::tempdir().expect("a folder");
    let there = folder.path().to_str().unwrap();
    let variables = [("CREDENTIALS_DIRECTORY", there)];
    let certs = |line: &[&str], variables: &[(&str, &str)]| {
        found_one(&resolved(line, variables).expect("fine"), "certs")
    };
    assert_eq!(certs(&["receive"], &variables), PathBuf::from("certs"), "there is none");
    for name in ["cert.pem", "key.pem"] {
        fs::write(folder.path().join(name), "").expect("a file");
    }
    assert_eq!(certs(&["receive"], &variables), folder.path());
    assert_eq!(certs(&["receive", "--certs", "own"], &variables), PathBuf::from("own"));
    let both = [variables[0], ("FRAMELANE_CERTS", "own")];
    assert_eq!(certs(&["receive"], &both), PathBuf::from("own"));
}

#[test]
fn other_subcommands_are_as_they_were() {
    let demo = |variables: &[(&str, &str)]| {
        let found = resolved(&["demo"], variables).expect("fine").matches;
        found.subcommand_matches("demo").expect("it").get_one::<PathBuf>("certs").cloned()
    };
    assert_eq!(demo(&[]), Some("certs".into()));
    assert_eq!(demo(&[("FRAMELANE_CERTS", "own"), ("FRAMELANE_OUT", "no")]), Some("own".into()));
    assert!(
        resolved(&["receive", "--help"], &[]).err().is_some_and(|help| help.contains("--config"))
    );
    assert!(resolved(&["nonsense"], &[]).err().is_some_and(|why| why.contains("nonsense")));
    assert!(
        resolved(&["receive", "--stall"], &[]).err().is_some_and(|why| why.contains("--stall"))
    );
}

#[test]
fn tokens_and_passwords_are_not_printed() {
    let role = Command::new("role")
        .arg(Arg::new("t").long("view-token"))
        .arg(Arg::new("k").long("tokens"));
    let option = |name| option::find(&role, name).expect("an option");
    assert!(option::is_secret(option("view-token")) && !option::is_secret(option("tokens")));
    let found = role.clone().try_get_matches_from(["role", "--view-token=hush"]).expect("fine");
    let origins = [("view-token".to_owned(), super::Origin::CommandLine)].into();
    let text = super::print::print(&role, &found, &origins);
    assert!(!text.contains("hush") && text.contains("# view-token is set"), "{text}");
    let origins =
        [("view-token".to_owned(), super::Origin::Variable("FRAMELANE_VIEW_TOKEN".into()))].into();
    let text = super::print::print(&role, &found, &origins);
    assert!(
        !text.contains("hush") && text.contains("{ env = \"FRAMELANE_VIEW_TOKEN\" }"),
        "{text}"
    );
}
