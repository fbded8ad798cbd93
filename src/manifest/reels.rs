//! The frames of all sources of a store, as they are stored.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::reel::{Reel, Stored};
use super::{FILE_NAME, LEDGER_NAME};
use crate::frame::{SourceName, UnixNanos};

/// Manifests of all sources that may stay open when they have been read.
const MAX_HELD: usize = 256;

/// Reads the frames of every source in a store, also of such as come to be, each frame once. See [`Reel`].
#[derive(Debug)]
pub struct Reels {
    store: PathBuf,
    /// The folder is that of this source.
    source: Option<String>,
    only: Vec<String>,
    since: Option<UnixNanos>,
    reels: BTreeMap<String, Reel>,
    /// The source whose turn it is.
    turn: Option<String>,
}

impl Reels {
    /// The frames of the store in a folder, or of one source where it is the folder of one.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn open(folder: &Path) -> io::Result<Self> {
        // Says why, where it is none.
        Reel::open(folder)?;
        let store = folder.to_owned();
        let full = folder.canonicalize()?;
        let name = || full.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let source = is_source(folder).then(name);
        let (only, since, reels, turn) = (Vec::new(), None, BTreeMap::new(), None);
        Ok(Self { store, source, only, since, reels, turn })
    }

    /// Reads these sources and no others.
    #[must_use]
    pub fn only(mut self, sources: Vec<String>) -> Self {
        self.only = sources;
        self
    }

    /// Leaves out what was stored before a time.
    #[must_use]
    pub fn since(mut self, time: UnixNanos) -> Self {
        self.since = Some(time);
        self
    }

    /// The sources that are there.
    pub fn sources(&self) -> Vec<String> {
        self.reels.keys().cloned().collect()
    }

    /// Goes to the end of all sources that there are: what is stored from now on comes next.
    ///
    /// # Errors
    /// Where a folder cannot be read.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        self.look()?;
        self.reels.values_mut().try_for_each(Reel::skip_to_end)
    }

    /// The next frame of any source, and the source's name; `None` where there is none yet. Many frames of one source
    /// may come behind each other.
    ///
    /// # Errors
    /// From reading; it goes on where it was.
    pub fn next_frame(&mut self) -> io::Result<Option<(String, Stored)>> {
        if self.turn.is_none() {
            self.look()?;
            let mut held = 0;
            for reel in self.reels.values_mut() {
                held += reel.held();
                if held > MAX_HELD {
                    reel.let_go();
                }
            }
            self.turn = self.reels.keys().next().cloned();
        }
        while let Some(name) = self.turn.clone() {
            let next = self.reels.get_mut(&name).map(Reel::next_frame);
            match next {
                Some(Ok(Some(stored))) => return Ok(Some((name, stored))),
                // A folder that is gone has nothing more.
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.reels.remove(&name);
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(None)) | None => {}
            }
            let behind = (std::ops::Bound::Excluded(name), std::ops::Bound::Unbounded);
            self.turn = self.reels.range(behind).next().map(|(name, _)| name.clone());
        }
        Ok(None)
    }

    /// Takes in sources that have come to be.
    fn look(&mut self) -> io::Result<()> {
        if let Some(name) = self.source.clone() {
            let folder = self.store.clone();
            return self.add(name, &folder);
        }
        for entry in fs::read_dir(&self.store)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_wanted = self.only.is_empty() || self.only.contains(&name);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_wanted
                && is_folder
                && SourceName::parse(&name).is_ok()
                && is_source(&entry.path())
            {
                self.add(name, &entry.path())?;
            }
        }
        Ok(())
    }

    fn add(&mut self, name: String, folder: &Path) -> io::Result<()> {
        if !self.reels.contains_key(&name) {
            let reel = match Reel::open(folder) {
                // Taken away just now; the next may come.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                reel => reel?,
            };
            let reel = match self.since {
                Some(since) => reel.since(since),
                None => reel,
            };
            self.reels.insert(name, reel);
        }
        Ok(())
    }
}

fn is_source(folder: &Path) -> bool {
    [FILE_NAME, LEDGER_NAME].iter().any(|name| folder.join(name).is_file())
}

impl Stored {
    /// Appends its line to `out`, as it is in the manifest, with its `source` and its `path` as well.
    pub fn write_line(&self, source: &str, out: &mut Vec<u8>) {
        self.record.write_line(out);
        // The brace and the line feed.
        out.truncate(out.len().saturating_sub(2));
        let text = |text: &str| serde_json::to_string(text).expect("text serialises into memory");
        let path = text(&self.path.to_string_lossy());
        out.extend_from_slice(
            format!(",\"source\":{},\"path\":{path}}}\n", text(source)).as_bytes(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    fn append(folder: &Path, name: &str) {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(FILE_NAME);
        let mut text = fs::read(&path).unwrap_or_default();
        sample(0, name).write_line(&mut text);
        fs::write(path, text).unwrap();
    }

    fn all(reels: &mut Reels) -> Vec<String> {
        let mut all = Vec::new();
        while let Some((source, stored)) = reels.next_frame().unwrap() {
            all.push(format!("{source}/{}", stored.record.name));
        }
        all
    }

    #[test]
    fn all_sources_and_such_as_come_to_be() {
        let place = tempfile::tempdir().unwrap();
        let (one, two) = (place.path().join("one"), place.path().join("two"));
        append(&one, "0.jpg");
        fs::create_dir(place.path().join("lost+found")).unwrap();
        let mut reels = Reels::open(place.path()).unwrap();
        assert_eq!(all(&mut reels), ["one/0.jpg"]);
        append(&two, "0.jpg");
        append(&one, "1.jpg");
        assert_eq!(all(&mut reels), ["one/1.jpg", "two/0.jpg"]);
        let mut only = Reels::open(place.path()).unwrap().only(vec!["two".to_owned()]);
        assert_eq!(all(&mut only), ["two/0.jpg"]);
        let mut end = Reels::open(place.path()).unwrap();
        end.skip_to_end().unwrap();
        append(&two, "1.jpg");
        fs::remove_dir_all(&one).unwrap();
        assert_eq!(all(&mut end), ["two/1.jpg"]);
        assert_eq!(all(&mut Reels::open(&two).unwrap()), ["two/0.jpg", "two/1.jpg"]);
        assert!(Reels::open(&one).is_err());
        // Each time all of a source is taken away, what was stored in it before comes still.
        let sources = [place.path(), two.as_path()].map(|folder| Reels::open(folder).unwrap());
        let mut sources = sources.map(|mut reels| {
            reels.skip_to_end().unwrap();
            reels
        });
        for flight in 2..5 {
            append(&two, &format!("{flight}.jpg"));
            fs::rename(&two, place.path().join(format!("flight{flight}"))).unwrap();
            let mut all = sources.each_mut().map(all);
            all[0].retain(|frame| frame.starts_with("two/"));
            assert_eq!(all, [[format!("two/{flight}.jpg")], [format!("two/{flight}.jpg")]]);
            append(&two, &format!("{flight}.new.jpg"));
            let all = sources.each_mut().map(self::all);
            assert!(all.iter().all(|all| all.contains(&format!("two/{flight}.new.jpg"))));
        }
    }

    #[test]
    fn a_line_says_where_its_frame_is() {
        let path = PathBuf::from("out/o\"ne/0.jpg");
        let mut line = Vec::new();
        Stored { record: sample(7, "0.jpg"), path }.write_line("o\"ne", &mut line);
        let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!((&json["source"], &json["sequence"]), (&"o\"ne".into(), &7.into()));
        assert_eq!(json["path"], "out/o\"ne/0.jpg");
        assert_eq!(line.last(), Some(&b'\n'));
    }
}
