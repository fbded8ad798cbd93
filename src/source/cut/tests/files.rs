//! Real images: generated ones of this crate's own, and whatever folder FRAMELANE_TEST_IMAGES names.

use std::fs;
use std::path::PathBuf;

use super::*;

fn folder() -> Option<PathBuf> {
    std::env::var_os("FRAMELANE_TEST_IMAGES").map(PathBuf::from)
}

/// All images of a folder and those in it, each as it is cut alone.
fn read(folder: &std::path::Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    let mut entries: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read(&path, into);
        } else if let Ok(content) = fs::read(&path) {
            into.push((path, content));
        }
    }
}

#[test]
fn real_images_one_behind_the_other_are_exact() {
    let Some(folder) = folder() else {
        eprintln!("skipped: FRAMELANE_TEST_IMAGES names no folder of real images");
        return;
    };
    let mut files = Vec::new();
    read(&folder, &mut files);
    files.retain(|(_, content)| {
        matches!(crate::source::cut::whole(content), crate::source::cut::Whole::Yes(_))
    });
    assert!(!files.is_empty(), "no image in {}", folder.display());
    let mut wrong = Vec::new();
    for (path, content) in &files {
        // Between two of its own kind, as a camera's stream has it.
        let cuts = cut_in(&content.repeat(2), 60_000, Framing::Structure, MOST);
        if images(cuts) != [content.clone(), content.clone()] {
            wrong.push(path);
        }
    }
    assert!(wrong.is_empty(), "{} of {} are torn: {wrong:?}", wrong.len(), files.len());
    let all: Vec<u8> = files.iter().flat_map(|(_, content)| content.iter().copied()).collect();
    let cuts = cut_in(&all, 65_536, Framing::Structure, MOST);
    assert_images(cuts, &files.into_iter().map(|(_, content)| content).collect::<Vec<_>>());
}
