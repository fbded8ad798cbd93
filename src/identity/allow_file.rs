//! A list of senders in a file, which is read again when it changes.

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::error::{AllowLineError, IdentityError};
use super::files;
use super::permit::{PolicyChange, SharedPolicy};
use super::senders::{Allow, SenderList, SenderPolicy};

/// The file as a whole.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// A line: a name has at most 64 characters, a pin 71; the rest is for a comment.
const MAX_LINE_BYTES: usize = 1024;
/// More senders than one receiver can serve.
const MAX_SENDERS: usize = 10_000;

/// How often the file is looked at. What has changed is read when it has stayed as it is from one look to the
/// next, so that a list which is being written is not taken for a short one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file of senders: a pin or `NAME=PIN` on each line. Empty lines, and what is behind a `#`, count for nothing.
///
/// [`AllowFile::read`] it once; [`AllowFile::follow`] then keeps a policy as the file says.
#[derive(Debug)]
pub struct AllowFile {
    path: PathBuf,
    /// Senders that are let in whatever the file says.
    beside: SenderList,
    /// The file that was read last.
    known: Option<Stamp>,
}

/// Something to tell of an allow file.
#[derive(Debug)]
pub enum AllowFileNews {
    /// It was read again, and this changed. Nothing is told where nothing did, unless it was asked for or could
    /// not be read before.
    Read {
        /// What changed.
        change: PolicyChange,
        /// How many senders are let in now.
        senders: usize,
    },
    /// It cannot be read or understood; the last good list stays. Told once for one finding.
    Kept(IdentityError),
}

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl AllowFile {
    /// The file at `path`, and senders that are let in beside those in it.
    pub fn new(path: PathBuf, beside: SenderList) -> Self {
        Self { path, beside, known: None }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file: the policy that it makes, with the senders beside it. A file that lists nobody lets nobody
    /// in. Blocks on the file system.
    ///
    /// # Errors
    /// [`IdentityError::AllowFile`] names the line that cannot be understood; no line is skipped, for it may be the
    /// one that matters. Also [`IdentityError::File`], [`IdentityError::NotAFile`], [`IdentityError::TooLarge`] and
    /// [`IdentityError::Unsettled`].
    pub fn read(&mut self) -> Result<SenderPolicy, IdentityError> {
        // What cannot be read is not read again before it is another.
        self.known = self.look();
        let failed = |error| IdentityError::File { action: "read", path: self.path.clone(), error };
        let mut options = OpenOptions::new();
        // To open a pipe would wait for somebody who writes.
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file: File = options.open(&self.path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        if !before.is_file() {
            return Err(IdentityError::NotAFile(self.path.clone()));
        }
        let again = file.try_clone().map_err(failed)?;
        let bytes = files::read_bounded(&self.path, file, "list of senders", MAX_FILE_BYTES)?;
        let after = Stamp::of(&again.metadata().map_err(failed)?);
        if after != Stamp::of(&before) {
            return Err(IdentityError::Unsettled(self.path.clone()));
        }
        let list = parse(&self.path, &bytes, self.beside.clone())?;
        self.known = Some(after);
        Ok(SenderPolicy::Only(list))
    }

    fn look(&self) -> Option<Stamp> {
        self.path.metadata().ok().as_ref().map(Stamp::of)
    }

    /// Keeps `policy` as the file says, and tells of it, for as long as somebody listens to `news`. Whatever comes
    /// from `ask` has it read at once.
    ///
    /// Cancel safe: the policy is one that the file had at some time.
    pub async fn follow(
        mut self,
        policy: SharedPolicy,
        mut ask: mpsc::Receiver<()>,
        news: mpsc::Sender<AllowFileNews>,
    ) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asking = true;
        let (mut seen, mut trouble) = (self.known, None);
        loop {
            let asked = tokio::select! {
                _ = looks.tick() => false,
                asked = ask.recv(), if asking => match asked {
                    Some(()) => true,
                    None => { asking = false; continue }
                },
                () = news.closed() => return,
            };
            // A file system that hangs holds up this task and nothing else.
            let again = asked || trouble.is_some();
            let looking = tokio::task::spawn_blocking(move || {
                let now = self.look();
                let read = (again || now != self.known && now == seen).then(|| self.read());
                (self, now, read)
            });
            let Ok((file, now, read)) = looking.await else { return };
            self = file;
            seen = now;
            let told = match read {
                None => continue,
                Some(Ok(next)) => {
                    let change = policy.replace(next);
                    let was_trouble = trouble.take().is_some();
                    let senders = match policy.current() {
                        SenderPolicy::Only(list) => list.len(),
                        SenderPolicy::Local | SenderPolicy::Any => 0,
                    };
                    let matters = asked || was_trouble || !change.is_empty();
                    matters.then_some(AllowFileNews::Read { change, senders })
                }
                Some(Err(error)) => {
                    let said = error.to_string();
                    let is_new = asked || trouble.as_ref() != Some(&said);
                    trouble = Some(said);
                    is_new.then_some(AllowFileNews::Kept(error))
                }
            };
            if let Some(told) = told
                && news.send(told).await.is_err()
            {
                return;
            }
        }
    }
}

/// What a file with this content makes: nothing is read.
#[cfg(feature = "fuzzing")]
pub(crate) fn parse_for_fuzzing(bytes: &[u8]) {
    let _ = parse(Path::new("allowed"), bytes, SenderList::default());
}

/// Adds what a file says to a list.
fn parse(path: &Path, bytes: &[u8], mut list: SenderList) -> Result<SenderList, IdentityError> {
    let mut senders = 0;
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let at_line =
            |reason| IdentityError::AllowFile { path: path.to_owned(), line: index + 1, reason };
        let (name, pin) = match parse_line(line).map_err(at_line)? {
            None => continue,
            Some(Allow::Any) => return Err(at_line(AllowLineError::Any)),
            Some(Allow::Pin(pin)) => (None, pin),
            Some(Allow::Named(name, pin)) => (Some(name), pin),
        };
        senders += 1;
        if senders > MAX_SENDERS {
            return Err(at_line(AllowLineError::TooMany(MAX_SENDERS)));
        }
        list.insert(pin, name).map_err(|conflict| at_line(conflict.into()))?;
    }
    Ok(list)
}

fn parse_line(line: &[u8]) -> Result<Option<Allow>, AllowLineError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(AllowLineError::TooLong(MAX_LINE_BYTES));
    }
    let line = std::str::from_utf8(line).map_err(|_| AllowLineError::NotUtf8)?;
    let entry = line.split('#').next().unwrap_or_default().trim();
    if entry.is_empty() { Ok(None) } else { Ok(Some(entry.parse()?)) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::super::pin::Pin;
    use super::*;

    fn pin(byte: &str) -> Pin {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    fn read(text: &[u8]) -> Result<SenderList, String> {
        parse(Path::new("allowed"), text, SenderList::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_is_a_sender() {
        let text = format!("# ours\r\n\n{}\r\n  cam1={}   # on the mast\n", pin("01"), pin("02"));
        let list = read(text.as_bytes()).unwrap();
        assert!(list.contains(pin("01")) && list.contains(pin("02")) && list.len() == 2);
        assert_eq!(list.name_of(pin("02")).unwrap().as_str(), "cam1");
        assert!(read(b"").unwrap().is_empty());
    }

    #[test]
    fn a_bad_line_is_named() {
        let one = pin("01");
        for (line, expected) in [
            ("any".to_owned(), "`any` has no place"),
            ("sha256:12".to_owned(), "2 characters instead of 64"),
            (format!("a/b={one}"), "\"a/b\" is no name"),
            (format!("{one} {one}"), "is not a pin"),
            (format!("cam={one}\nkam={one}"), "two names, cam and kam"),
            ("x".repeat(2000), "longer than 1024 bytes"),
        ] {
            let error = read(format!("\n{line}").as_bytes()).unwrap_err();
            let line = 2 + line.matches('\n').count();
            assert!(error.starts_with(&format!("allowed line {line}: ")), "{error}");
            assert!(error.contains(expected) && error.contains("NAME=PIN"), "{error}");
        }
        assert!(read(b"\xff").unwrap_err().contains("not UTF-8"));
        let many: String = (0..=10_000).map(|n| format!("sha256:{n:064x}\n")).collect();
        assert!(read(many.as_bytes()).unwrap_err().contains("line 10001: more than 10000 senders"));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("allowed");
        let error = |path: &Path| {
            let read = AllowFile::new(path.to_owned(), SenderList::default()).read();
            read.unwrap_err().to_string()
        };
        assert!(error(&path).contains("No such file"));
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, pipe, rustix::fs::Mode::RWXU, 0).unwrap();
        assert!(error(&path).contains("is no regular file"), "{}", error(&path));
        assert!(error(folder.path()).contains("is no regular file"));
        let long = folder.path().join("long");
        fs::write(&long, "#".repeat(2 << 20)).unwrap();
        assert!(error(&long).contains("larger than 1048576 bytes"));
    }

    /// Follows a file that is written by `write`, by hand's clock.
    struct Followed {
        path: PathBuf,
        _folder: tempfile::TempDir,
        policy: SharedPolicy,
        ask: mpsc::Sender<()>,
        news: mpsc::Receiver<AllowFileNews>,
    }

    impl Followed {
        fn start(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("allowed");
            fs::write(&path, text).unwrap();
            let mut file = AllowFile::new(path.clone(), SenderList::from_iter([pin("ff")]));
            let policy = SharedPolicy::from(file.read().unwrap());
            let (ask, asked) = mpsc::channel(1);
            let (tell, news) = mpsc::channel(1);
            tokio::spawn(file.follow(policy.clone(), asked, tell));
            Self { path, _folder: folder, policy, ask, news }
        }

        async fn change(&mut self) -> (PolicyChange, usize) {
            match self.news.recv().await.unwrap() {
                AllowFileNews::Read { change, senders } => (change, senders),
                AllowFileNews::Kept(error) => panic!("{error}"),
            }
        }

        async fn trouble(&mut self) -> String {
            match self.news.recv().await.unwrap() {
                AllowFileNews::Kept(error) => error.to_string(),
                AllowFileNews::Read { change, .. } => panic!("{change:?}"),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_policy_follows_the_file() {
        let mut followed = Followed::start(&format!("cam1={}\n", pin("01")));
        assert!(followed.policy.allows(pin("01")) && followed.policy.allows(pin("ff")));
        fs::write(&followed.path, format!("cam2={}\n", pin("02"))).unwrap();
        let (change, senders) = followed.change().await;
        assert_eq!((change.added, change.removed, senders), (vec![pin("02")], vec![pin("01")], 2));
        assert!(!followed.policy.allows(pin("01")) && followed.policy.allows(pin("02")));
        // A new file in its place, as most editors write.
        let other = followed.path.with_extension("new");
        fs::write(&other, format!("cam3={}\n", pin("02"))).unwrap();
        fs::rename(&other, &followed.path).unwrap();
        assert_eq!(followed.change().await.0.renamed, [pin("02")]);
        // Asked for, it is told of even where nothing has changed.
        followed.ask.send(()).await.unwrap();
        assert!(followed.change().await.0.is_empty());
        // The senders beside it stay where nobody is in it.
        fs::write(&followed.path, "").unwrap();
        assert_eq!(followed.change().await.1, 1);
        assert!(followed.policy.allows(pin("ff")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_read_keeps_the_last_good_list_and_says_so_once() {
        let mut followed = Followed::start(&pin("01").to_string());
        fs::write(&followed.path, "half a pi").unwrap();
        assert!(followed.trouble().await.contains("line 1: "));
        assert!(followed.policy.allows(pin("01")));
        // Another file with the same fault is no news; none at all is.
        fs::write(&followed.path, "half a pi").unwrap();
        tokio::time::sleep(10 * LOOK_EVERY).await;
        assert!(followed.news.try_recv().is_err());
        fs::remove_file(&followed.path).unwrap();
        assert!(followed.trouble().await.contains("No such file"));
        tokio::time::sleep(10 * LOOK_EVERY).await;
        assert!(followed.news.try_recv().is_err());
        assert!(followed.policy.allows(pin("01")));
        // When it is good again that is told, though the list is the same.
        fs::write(&followed.path, pin("01").to_string()).unwrap();
        assert!(followed.change().await.0.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_list_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
