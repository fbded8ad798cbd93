//! Who may send: what the arguments say, what the file says that they name, and both again when that is wanted.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{CommandFactory, FromArgMatches};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

use super::super::config::Loaded;
use super::super::service::Manager;
use super::super::{Cli, Failure, output};
use super::ReceiveArgs;
use crate::identity::{
    AllowFile, AllowFileNews, Pin, PolicyChange, SenderList, SenderPolicy, SharedPolicy,
};

/// Options that count from the time on at which they are read again.
const READ_AGAIN: [&str; 2] = ["allow", "allow-file"];

/// Who may send: what the arguments say, and the file to follow where one is named.
pub(super) fn of(args: &ReceiveArgs) -> Result<(SenderPolicy, Option<AllowFile>), Failure> {
    let policy = SenderPolicy::new(args.allow.iter().cloned()).map_err(Failure::usage)?;
    let Some(path) = &args.allow_file else { return Ok((policy, None)) };
    let beside = match policy {
        SenderPolicy::Any => {
            return Err(Failure::usage(anyhow!(
                "--allow any lets every sender in, whoever is in --allow-file; say one of the two"
            )));
        }
        SenderPolicy::Local => SenderList::default(),
        SenderPolicy::Only(list) => list,
    };
    let mut file = AllowFile::new(path.clone(), beside);
    let policy = file.read().map_err(|error| Failure::usage(anyhow!("--allow-file {error}")))?;
    if matches!(&policy, SenderPolicy::Only(list) if list.is_empty()) {
        output::note(&format!("nobody may send: {} lists no sender", path.display()));
    }
    Ok((policy, Some(file)))
}

/// Keeps a policy as its file says, and as the configuration says, which is read again on SIGHUP.
pub(super) struct Followed {
    policy: SharedPolicy,
    loaded: Loaded,
    manager: Arc<Manager>,
    file: Option<FollowedFile>,
    /// What came of the configuration, while the list of senders that was asked for is still being read.
    reloading: Option<Again>,
}

/// What came of reading the configuration again.
#[derive(Debug, Default)]
struct Again {
    /// The list of senders was read anew with it.
    with_list: bool,
    /// Why something stays as it was.
    kept: Option<String>,
}

impl Again {
    fn kept(why: String) -> Self {
        tracing::warn!("{why}");
        Self { kept: Some(why), with_list: false }
    }
}

/// An allow file that is looked at by a task.
struct FollowedFile {
    path: PathBuf,
    ask: mpsc::Sender<()>,
    news: mpsc::Receiver<AllowFileNews>,
    task: JoinHandle<()>,
}

impl FollowedFile {
    fn start(file: AllowFile, policy: SharedPolicy) -> Self {
        let path = file.path().to_owned();
        let (ask, asked) = mpsc::channel(1);
        let (tell, news) = mpsc::channel(1);
        let task = tokio::spawn(file.follow(policy, asked, tell));
        Self { path, ask, news, task }
    }
}

impl Drop for FollowedFile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Followed {
    /// Begins to; in a runtime.
    ///
    /// # Errors
    /// The system's, where SIGHUP cannot be listened for.
    pub(super) fn start(
        file: Option<AllowFile>,
        policy: SharedPolicy,
        loaded: Loaded,
        manager: Arc<Manager>,
    ) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let file = file.map(|file| FollowedFile::start(file, policy.clone()));
        let mut followed = Self { policy, loaded, manager, file, reloading: None };
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => followed.read_again(),
                    Some((path, news)) = next(&mut followed.file) => {
                        followed.take_news(&path, news);
                    }
                    else => break,
                }
            }
        });
        Ok(())
    }

    /// Reads everything again that can be.
    fn read_again(&mut self) {
        self.manager.reloading();
        let again = match self.loaded.file() {
            Some(_) => self.read_configuration(),
            None => Again::default(),
        };
        let asked =
            self.file.as_ref().filter(|_| !again.with_list).map(|file| file.ask.try_send(()));
        self.reloading = match asked {
            // One that is asked for already will do for both.
            Some(Ok(()) | Err(TrySendError::Full(()))) => Some(again),
            Some(Err(TrySendError::Closed(()))) | None => {
                self.end_reload(&again);
                None
            }
        };
    }

    /// Says what is new of the list of senders, with which a reload comes to its end.
    fn take_news(&mut self, path: &str, news: AllowFileNews) {
        let kept = say_news(path, &self.policy, news);
        if let Some(again) = self.reloading.take() {
            self.end_reload(&Again { kept: again.kept.or(kept), ..again });
        }
    }

    /// Tells the service manager, to whom a reload that has failed is one that has ended, too.
    fn end_reload(&self, again: &Again) {
        self.manager.ready(again.kept.as_deref().unwrap_or("read the configuration again"));
    }

    /// Takes from the configuration what can be taken while the receiver runs, and says what cannot.
    fn read_configuration(&mut self) -> Again {
        let path = self.loaded.file().map(|path| path.display().to_string()).unwrap_or_default();
        let before = self.loaded.clone();
        let read = self.loaded.again(Cli::command());
        let (matches, changes) = match read {
            Ok(read) => read,
            Err(error) => {
                return Again::kept(format!("the configuration stays as it was: {error:#}"));
            }
        };
        let (now, later): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|name| READ_AGAIN.contains(&name.as_str()));
        if !later.is_empty() {
            output::note(&format!(
                "{path}: what changed of {} counts when framelane is started again",
                later.join(", ")
            ));
        }
        if now.is_empty() {
            output::note(&format!("read {path} again"));
            return Again::default();
        }
        let args = matches.subcommand_matches("receive").ok_or_else(|| anyhow!("no receiver"));
        let args = args.and_then(|found| Ok(ReceiveArgs::from_arg_matches(found)?));
        match args.and_then(|args| of(&args).map_err(|failure| failure.error)) {
            Ok((policy, file)) if is_list(&policy) && is_list(&self.policy.current()) => {
                let change = self.policy.replace(policy);
                self.file = file.map(|file| FollowedFile::start(file, self.policy.clone()));
                say_change(&path, &self.policy, &change);
                Again { with_list: true, kept: None }
            }
            Ok(_) => {
                output::note(&format!(
                    "{path}: whether senders are listed one by one, or all of them or those of this machine may \
                     send, counts when framelane is started again"
                ));
                Again::default()
            }
            Err(error) => {
                // What was not taken is found different once more the next time.
                self.loaded = before;
                Again::kept(format!("the list of senders stays as it was: {error:#}"))
            }
        }
    }
}

fn is_list(policy: &SenderPolicy) -> bool {
    matches!(policy, SenderPolicy::Only(_))
}

/// What is new of a file; never anything where there is none.
async fn next(file: &mut Option<FollowedFile>) -> Option<(String, AllowFileNews)> {
    match file {
        Some(file) => {
            let news = file.news.recv().await?;
            Some((file.path.display().to_string(), news))
        }
        None => std::future::pending().await,
    }
}

/// Gives why the list stays as it was, where it does.
fn say_news(path: &str, policy: &SharedPolicy, news: AllowFileNews) -> Option<String> {
    let (change, senders) = match news {
        AllowFileNews::Read { change, senders } => (change, senders),
        AllowFileNews::Kept(error) => {
            return Again::kept(format!("the list of senders stays as it was: {error}")).kept;
        }
    };
    say_change(path, policy, &change);
    output::note(&format!(
        "read {path} again: {} may send",
        output::counted(senders as u64, "sender")
    ));
    None
}

fn say_change(path: &str, policy: &SharedPolicy, change: &PolicyChange) {
    let policy = policy.current();
    let say = |pins: &[Pin], what: &str| {
        for pin in pins {
            let name = policy.name_of(*pin).map_or_else(String::new, |name| format!("{name}, "));
            output::note(&format!("{path}: {name}{pin} {what}"));
        }
    };
    say(&change.removed, "may not send any more");
    say(&change.added, "may send from now on");
    say(&change.renamed, "has another name from its next session on");
}
