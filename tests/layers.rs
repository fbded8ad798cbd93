//! Imports go down the layer map, or sideways where it says so. Never up; and inside a room never in a ring.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, the lowest first, and what each may import: the rooms named, and of those
/// only ones that stand above it here.
const MAP: [(&str, May); 23] = [
    ("frame", May::Import(&[])),
    ("alarm", May::Import(&[])),
    ("congestion", May::Import(&[])),
    ("repair", May::Import(&["frame"])),
    ("wire", May::Import(&["frame"])),
    ("identity", May::Import(&[])),
    ("source", May::Import(&["frame"])),
    ("manifest", May::Import(&["frame"])),
    ("spool", May::Import(&["frame", "source", "manifest"])),
    ("store", May::Import(&["frame", "manifest"])),
    ("verify", May::Import(&["frame", "manifest", "store"])),
    ("transport", May::Import(&["frame", "alarm", "congestion", "repair", "wire", "identity"])),
    ("sender", May::Import(&["frame", "alarm", "wire", "source", "spool", "transport"])),
    ("receiver", May::Import(&["frame", "wire", "identity", "store", "transport"])),
    (
        "door",
        May::Import(&[
            "frame",
            "congestion",
            "repair",
            "wire",
            "identity",
            "source",
            "spool",
            "store",
            "transport",
            "sender",
            "receiver",
        ]),
    ),
    ("view", May::Import(&["frame", "identity", "manifest", "store", "receiver"])),
    ("link", May::Import(&["frame"])),
    ("compare", May::ImportAllAbove),
    ("report", May::Import(&["frame", "compare"])),
    ("cli", May::ImportAllAbove),
    // What the fuzz targets see.
    ("fuzzing", May::Import(&["congestion", "identity", "source"])),
    // The roots of the library and of the binary.
    ("lib", May::Import(&[])),
    ("main", May::Import(&["cli"])),
];

/// What a room may import.
#[derive(Clone, Copy)]
enum May {
    /// These and no others.
    Import(&'static [&'static str]),
    /// Whatever is above it in the map.
    ImportAllAbove,
}

/// Files that still import each other, directly or through others. Take yours off when it is mended;
/// nothing is ever added.
const RINGS: [&[&str]; 0] = [];

/// One import: who, where, what.
struct Import {
    room: String,
    place: String,
    imported: String,
}

#[test]
fn no_import_goes_up() {
    let mut found = 0;
    let mut upward = Vec::new();
    for file in sources(&root()) {
        for import in imports(&file) {
            found += 1;
            if !is_allowed(&import.room, &import.imported) {
                let Import { room, place, imported } = import;
                upward.push(format!("{place}: {room} imports {imported}"));
            }
        }
    }
    assert!(found > 100, "only {found} imports were found: does this test still read the code?");
    assert!(upward.is_empty(), "imports that the layer map forbids:\n{}", upward.join("\n"));
}

#[test]
fn every_room_is_on_the_map_and_the_map_goes_down() {
    for file in sources(&root()) {
        let room = room_of(&file);
        assert!(place_on_map(&room).is_some(), "{} is in no room of the map", file.display());
    }
    for (place, (room, may)) in MAP.iter().enumerate() {
        let May::Import(rooms) = may else { continue };
        for imported in *rooms {
            let above = place_on_map(imported).is_some_and(|other| other < place);
            assert!(above, "the map lets {room} import {imported}, which is not above it");
        }
    }
}

#[test]
fn an_upward_import_is_noticed() {
    assert!(!is_allowed("frame", "wire"));
    assert!(!is_allowed("sender", "receiver"));
    assert!(!is_allowed("report", "cli"));
    assert!(is_allowed("cli", "report") && is_allowed("sender", "sender"));
    let found = |line| crate_paths(line).collect::<Vec<_>>();
    assert_eq!(found("use crate::frame::{A, B};"), ["frame"]);
    assert_eq!(found("let a: crate::wire::A = crate::store::b();"), ["wire", "store"]);
    assert_eq!(found("use crate::{cli, wire::Message};"), ["cli", "wire"]);
    assert_eq!(found("    framelane::cli::main()"), ["cli"]);
    assert!(found("/// as [`crate::cli`] says").is_empty());
}

/// A module and those below it count as one unit here: a folder's `mod.rs` is the face of its files.
#[test]
fn no_two_files_of_a_room_import_each_other() {
    let modules = Modules::read();
    let found: Vec<Vec<String>> = modules.rings();
    let links: usize = modules.imports.values().map(BTreeSet::len).sum();
    assert!(links > 100, "only {links} imports were found: does this test still read the code?");
    let known = |ring: &Vec<String>| RINGS.iter().any(|known| *known == ring.as_slice());
    let fresh: Vec<_> = found.iter().filter(|ring| !known(ring)).collect();
    assert!(fresh.is_empty(), "files that import each other: {fresh:#?}");
    let gone: Vec<_> =
        RINGS.iter().filter(|ring| !found.iter().any(|found| found == **ring)).collect();
    assert!(gone.is_empty(), "mended, so take it off the list of rings: {gone:#?}");
}

/// Rooms whose words are for whoever types a command.
const OF_THE_COMMAND_LINE: [&str; 5] = ["cli", "compare", "link", "report", "main"];

/// A program that calls the library has no options: below the command line errors name what the builders call it, and
/// `cli/words.rs` has the option for each.
#[test]
fn words_below_the_command_line_name_no_options() {
    let mut found = Vec::new();
    for file in sources(&root()) {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        if !OF_THE_COMMAND_LINE.contains(&room_of(&file).as_str()) && !name.contains("test") {
            let text = fs::read_to_string(&file).unwrap();
            let lines = options_in(&text);
            found
                .extend(lines.into_iter().map(|(line, option)| format!("{name}:{line}: {option}")));
        }
    }
    assert!(found.is_empty(), "options of the command line: {found:#?}");
}

#[test]
fn an_option_in_an_error_is_noticed() {
    let text = "#[error(\"give it a pin, \\\n  with --pin\")]\n// With --pin.\nlet x = 1 - -y;\n\"\\r\\n--framelane\"\n\
                \"(--retry-for)\"\n#[cfg(test)]\nmod tests { \"--pin\" }";
    assert_eq!(options_in(text), [(2, "--pin".to_owned()), (6, "--retry-for".to_owned())]);
}

/// Options that code names, with their lines; not its comments, nor its tests. In Rust nothing else looks like one.
fn options_in(text: &str) -> Vec<(usize, String)> {
    /// The boundary of the parts of a stream of pictures.
    const BOUNDARY: &str = "--framelane";
    let mut found = Vec::new();
    // What stands behind these is at the end of a file.
    let tests =
        ["mod tests {", "pub(crate) mod tests {"].map(|tests| format!("#[cfg(test)]\n{tests}"));
    let end = tests.iter().filter_map(|tests| text.find(tests)).min().unwrap_or(text.len());
    for (index, line) in text[..end].lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for (at, _) in code.match_indices("--") {
            let end = |c: char| !(c.is_ascii_lowercase() || c == '-');
            let option = code[at..].split(end).next().unwrap_or_default();
            if option.len() > 2 && option.as_bytes()[2] != b'-' && option != BOUNDARY {
                found.push((index + 1, option.to_owned()));
            }
        }
    }
    found
}

#[test]
fn a_ring_is_noticed() {
    let modules = Modules::of(&[
        ("a", "mod b; mod c; mod d; pub use b::Shown; use d::deep::Hidden;"),
        ("a/b", "use super::c::{self, Other}; pub struct Shown;"),
        // By a name that the face has of it, and below a brace.
        ("a/c", "use super::{d::D, Shown};"),
        ("a/d", "fn f() -> crate::a::d::deep::X { deep::x() } mod deep;"),
        ("a/d/deep", "use super::super::c::Other; /* use super::super::b; */ // use crate::a::b;"),
    ]);
    assert_eq!(modules.rings(), [["a/b", "a/c"]]);
    let modules = Modules::of(&[
        ("a", "mod b; mod c; mod d;"),
        ("a/b", "use super::c::C;"),
        ("a/c", "fn c() { super::d::d() }"),
        ("a/d", "use crate::a::b::*;"),
    ]);
    assert_eq!(modules.rings(), [["a/b", "a/c", "a/d"]]);
}

/// A module's path from the crate's root.
type Module = Vec<String>;

/// The modules of the crate and what each names of others.
struct Modules {
    /// What each names by a path: the module that the path starts from, and the rest.
    named: BTreeMap<Module, Vec<(Module, Module)>>,
    imports: BTreeMap<Module, BTreeSet<Module>>,
}

impl Modules {
    fn read() -> Self {
        let files = sources(&root()).into_iter().map(|file| {
            let inside = file.strip_prefix(root()).unwrap().with_extension("");
            let name = inside.to_str().unwrap().trim_end_matches("/mod").to_owned();
            (name, fs::read_to_string(file).unwrap())
        });
        let files: Vec<_> = files.collect();
        let borrowed: Vec<_> = files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        Self::of(&borrowed)
    }

    fn of(files: &[(&str, &str)]) -> Self {
        let path = |name: &str| name.split('/').map(str::to_owned).collect::<Module>();
        let known: BTreeSet<Module> = files.iter().map(|(name, _)| path(name)).collect();
        let named = files.iter().map(|(name, text)| {
            let here = path(name);
            let starts = paths_in(text).into_iter();
            (here.clone(), starts.filter_map(|path| start(&here, path, &known)).collect())
        });
        let mut modules = Self { named: named.collect(), imports: BTreeMap::new() };
        for here in &known {
            let meant =
                modules.named[here].iter().map(|(from, rest)| modules.resolve(from, rest, 0));
            let meant = meant.flatten().filter(|there| {
                there[0] == here[0] && !there.starts_with(here) && !here.starts_with(there)
            });
            let meant = meant.collect();
            modules.imports.insert(here.clone(), meant);
        }
        modules
    }

    /// The module that a path leads to, also where a module on the way only hands the name on.
    fn resolve(&self, from: &[String], rest: &[String], depth: usize) -> Option<Module> {
        let mut here = from.to_vec();
        for segment in rest {
            let below = [&here[..], std::slice::from_ref(segment)].concat();
            if self.named.contains_key(&below) {
                here = below;
                continue;
            }
            let names = self.named.get(&here).into_iter().flatten();
            let handed_on = names.into_iter().find(|(_, name)| name.last() == Some(segment));
            match handed_on {
                Some((from, rest)) if depth < 8 && (from, &rest[..]) != (&here, &[][..]) => {
                    return self.resolve(from, rest, depth + 1);
                }
                _ => break,
            }
        }
        self.named.contains_key(&here).then_some(here)
    }

    /// Modules from which imports lead back to themselves, each ring once and in order.
    fn rings(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<_, _> =
            self.imports.keys().map(|from| (from, self.reach(from))).collect();
        let rings =
            reached.iter().filter(|(from, there)| there.contains(**from)).map(|(from, there)| {
                let back = there.iter().filter(|there| reached[there].contains(*from));
                back.map(|module| module.join("/")).collect::<Vec<_>>()
            });
        rings.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn reach(&self, from: &Module) -> BTreeSet<Module> {
        let mut reached = BTreeSet::new();
        let mut next = vec![from];
        while let Some(module) = next.pop() {
            for there in &self.imports[module] {
                if reached.insert(there.clone()) {
                    next.push(there);
                }
            }
        }
        reached
    }
}

/// Where a path starts, and what is left of it; `None` where it names nothing of this crate.
fn start(here: &[String], mut path: Module, known: &BTreeSet<Module>) -> Option<(Module, Module)> {
    let from = match path.first()?.as_str() {
        "crate" => (Vec::new(), 1),
        "self" => (here.to_vec(), 1),
        "super" => {
            let up = path.iter().take_while(|segment| *segment == "super").count();
            (here[..here.len().checked_sub(up)?].to_vec(), up)
        }
        child => {
            let below = [here, &[child.to_owned()]].concat();
            (known.contains(&below).then(|| here.to_vec())?, 0)
        }
    };
    path.drain(..from.1);
    Some((from.0, path))
}

/// Every path of two segments and more in a text, groups in braces taken apart.
fn paths_in(text: &str) -> Vec<Module> {
    let mut code = String::new();
    let text = text.split("/*").enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once("*/").map_or("", |(_, code)| code),
    });
    for line in text.collect::<String>().lines() {
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push(' ');
    }
    let mut found = Vec::new();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rest = code.as_str();
    while let Some(at) = rest.find(is_name) {
        rest = &rest[at..];
        rest = take_path(rest, &[], &mut found);
    }
    found
}

/// Takes the path that `text` begins with, and those of its group; gives what is behind it.
fn take_path<'a>(mut text: &'a str, before: &[String], found: &mut Vec<Module>) -> &'a str {
    let mut path = before.to_vec();
    loop {
        let end =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        if end > 0 && &text[..end] != "self" || path.is_empty() {
            path.push(text[..end].to_owned());
        }
        text = &text[end..];
        let Some(behind) = text.strip_prefix("::") else { break };
        let Some(mut group) = behind.strip_prefix('{') else {
            text = behind;
            if !text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                break;
            }
            continue;
        };
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            if let Some(behind) = group.strip_prefix('}') {
                return behind;
            }
            let left = take_path(group, &path, found);
            // What is no path, such as `*` or `as name`, is passed over.
            group = if left.len() == group.len() { left.get(1..).unwrap_or("") } else { left };
            if group.is_empty() {
                return group;
            }
        }
    }
    if path.len() > 1 {
        found.push(path);
    }
    text
}

fn is_allowed(room: &str, imported: &str) -> bool {
    if room == imported {
        return true;
    }
    let (Some(here), Some(there)) = (place_on_map(room), place_on_map(imported)) else {
        return false;
    };
    match MAP[here].1 {
        May::Import(rooms) => rooms.contains(&imported),
        May::ImportAllAbove => there < here,
    }
}

fn place_on_map(room: &str) -> Option<usize> {
    MAP.iter().position(|(name, _)| *name == room)
}

fn imports(file: &Path) -> Vec<Import> {
    let room = room_of(file);
    let text = fs::read_to_string(file).unwrap();
    let numbered = text.lines().enumerate();
    let found = numbered.flat_map(|(index, line)| {
        crate_paths(line).map(move |imported| (index + 1, imported.to_owned()))
    });
    found
        .map(|(line, imported)| {
            let place = format!("{}:{line}", file.strip_prefix(root()).unwrap().display());
            Import { room: room.clone(), place, imported }
        })
        .collect()
}

/// The rooms that a line names by a path from the crate's root. Comments link where they like.
fn crate_paths(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split("//").next().unwrap_or_default();
    let paths =
        ["crate::", "framelane::"].into_iter().flat_map(move |root| code.split(root).skip(1));
    paths
        .flat_map(|path| match path.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or_default().split(',').collect(),
            None => vec![path],
        })
        .map(|path| {
            let path = path.trim_start();
            let end =
                path.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(path.len());
            &path[..end]
        })
        .filter(|room| !room.is_empty())
}

/// The room that a file belongs to: its folder in `src/`, or its own name.
fn room_of(file: &Path) -> String {
    let inside = file.strip_prefix(root()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
