//! Where frames wait that the link cannot take yet.

use std::path::PathBuf;

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
