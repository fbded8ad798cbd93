//! Where frames wait that the link cannot take yet.

use std::path::{Path, PathBuf};

use anyhow::anyhow;

use super::super::Failure;
use super::arg::SourceArg;
use super::live::LiveArgs;
use crate::door::SenderBuilder;
use crate::frame::ByteSize;
use crate::spool::{SpoolOptions, WhenFull};

/// Where frames wait that the link cannot take yet.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct SpoolArgs {
    /// Keep frames of sources that grow in this folder while the link cannot take them; what is in it when the sender
    /// ends, or is killed, is sent by the next one that names it
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// How much it may hold on disk [default: 10GiB]
    #[arg(long, value_name = "SIZE")]
    spool_size: Option<ByteSize>,
    /// How much it may hold in memory before that [default: 64MiB]
    #[arg(long, value_name = "SIZE")]
    spool_memory: Option<ByteSize>,
    /// When it is full: wait (the source is held) or drop-oldest (and declare them) [default: wait]
    #[arg(long, value_name = "HOW")]
    when_full: Option<WhenFullArg>,
}

/// What is done with frames for which there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum WhenFullArg {
    Wait,
    DropOldest,
}

impl SpoolArgs {
    fn is_given(&self) -> bool {
        self.spool.is_some() || self.spool_memory.is_some() || self.when_full.is_some()
    }

    /// Refuses a spool that no source has a use for, and one that holds nothing.
    pub(in crate::cli) fn check(
        &self,
        args: &[SourceArg],
        growing: &LiveArgs,
    ) -> Result<(), Failure> {
        let grows = |arg: &SourceArg| arg.folder().is_none() || growing.watches();
        if self.is_given() && !args.iter().any(grows) {
            return Err(Failure::usage(anyhow!(
                "--spool and what belongs to it are for sources that grow: --watch, NAME=-, NAME=cmd:COMMAND; no source \
                 does"
            )));
        }
        if let Some(spool) = &self.spool {
            args.iter().try_for_each(|arg| check_apart(spool, arg))?;
        }
        if self.spool_size.is_some() && self.spool.is_none() {
            return Err(Failure::usage(anyhow!(
                "--spool-size is of what is on disk; name the folder with --spool DIR"
            )));
        }
        Ok(())
    }

    /// Gives the sender its spool, where it is to have one.
    pub(in crate::cli) fn on(&self, builder: SenderBuilder) -> SenderBuilder {
        if !self.is_given() {
            return builder;
        }
        let mut options = SpoolOptions::default();
        options.size = self.spool_size.unwrap_or(options.size);
        options.memory = self.spool_memory.unwrap_or(options.memory);
        options.when_full = match self.when_full {
            Some(WhenFullArg::DropOldest) => WhenFull::DropOldest,
            Some(WhenFullArg::Wait) | None => WhenFull::Wait,
        };
        let builder = builder.spool_options(options);
        match &self.spool {
            Some(folder) => builder.spool(folder),
            None => builder,
        }
    }
}

/// Refuses a spool in a source's folder, where it would be taken for frames, and a source in the spool.
fn check_apart(spool: &Path, arg: &SourceArg) -> Result<(), Failure> {
    let Some(folder) = arg.folder() else { return Ok(()) };
    let (real_spool, real_folder) = (real(spool), real(folder));
    let how = if real_spool == real_folder {
        "is the folder of the source itself"
    } else if real_spool.starts_with(&real_folder) {
        "lies in the folder of the source"
    } else if real_folder.starts_with(&real_spool) {
        "has the folder of the source in it"
    } else {
        return Ok(());
    };
    Err(Failure::usage(anyhow!(
        "--spool {} {how} {} ({}): frames that wait and frames that are captured would be in each other's way; name a \
         folder beside it",
        spool.display(),
        arg.name,
        folder.display()
    )))
}

/// A path without links, as far as it is there.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    match found {
        Some((above, real)) => match path.strip_prefix(above) {
            Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
            _ => real,
        },
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_stands_beside_the_folders_of_sources_whatever_leads_there() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("cam/inner")).unwrap();
        std::os::unix::fs::symlink(at("cam"), at("link")).unwrap();
        let of = |folder: &str| format!("visible={}", at(folder).display()).parse().unwrap();
        for (spool, folder) in [
            ("cam", "cam"),
            ("cam/spool", "cam"),
            ("link/new/spool", "cam"),
            ("cam/inner", "link"),
            ("cam", "cam/inner"),
            ("cam", "cam/not/there"),
        ] {
            let refused = check_apart(&at(spool), &of(folder));
            assert!(refused.is_err(), "{spool} for {folder}");
        }
        for (spool, folder) in [("spool", "cam"), ("cam2", "cam"), ("cam", "cam2")] {
            assert!(check_apart(&at(spool), &of(folder)).is_ok(), "{spool} for {folder}");
        }
        assert!(check_apart(&at("cam"), &"visible=-".parse().unwrap()).is_ok());
    }
}
