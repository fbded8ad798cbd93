//! Imports go down the layer map, or sideways where it says so. Never up.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, the lowest first, and what each may import: the rooms named, and of those
/// only ones that stand above it here.
const MAP: [(&str, May); 19] = [
    ("frame", May::Import(&[])),
    ("alarm", May::Import(&[])),
    ("congestion", May::Import(&[])),
    ("repair", May::Import(&["frame"])),
    ("wire", May::Import(&["frame"])),
    ("identity", May::Import(&[])),
    ("source", May::Import(&["frame"])),
    ("manifest", May::Import(&["frame"])),
    ("store", May::Import(&["frame", "manifest"])),
    ("verify", May::Import(&["frame", "manifest", "store"])),
    ("transport", May::Import(&["frame", "alarm", "congestion", "repair", "wire", "identity"])),
    ("sender", May::Import(&["frame", "alarm", "wire", "source", "transport"])),
    ("receiver", May::Import(&["frame", "wire", "store", "transport"])),
    ("link", May::Import(&["frame"])),
    ("compare", May::ImportAllAbove),
    ("report", May::Import(&["frame", "compare"])),
    ("cli", May::ImportAllAbove),
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
