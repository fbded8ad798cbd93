//! What of a `send` command goes together, checked before anything is opened.

use anyhow::anyhow;

use super::super::Failure;
use super::SendArgs;
use super::live::LiveArg;
use crate::transport::{self, PathsMode, Transport, TransportChoice, ViaLink};

/// Refuses what does not go together, in the order in which it is the most worth knowing.
pub(super) fn all(args: &SendArgs) -> Result<(), Failure> {
    trust(args)?;
    via(args)?;
    uses(args)?;
    congestion(args)?;
    live(args)
}

/// What nobody checks must not look as if it were checked.
fn trust(args: &SendArgs) -> Result<(), Failure> {
    match args.trust.said().filter(|_| args.transport.is_only(Transport::StopAndWait)) {
        None => Ok(()),
        Some(option) => Err(Failure::usage(anyhow!(
            "{option} protects nothing over stop-and-wait, which has neither encryption nor \
             authentication; leave it out, or use another --transport at both ends"
        ))),
    }
}

/// A link goes with the choice of the transport, which knows what to do where it leads nowhere.
fn via(args: &SendArgs) -> Result<(), Failure> {
    match (args.transport, args.via.first()) {
        (TransportChoice::Only(transport), Some(link)) => Err(Failure::usage(anyhow!(
            "--via goes with --transport auto, not with {transport}: leave one of the two out, or write --via \
             {link},transport={transport}"
        ))),
        _ if args.paths == PathsMode::Standby && !args.via.iter().all(ViaLink::is_plain) => {
            Err(Failure::usage(anyhow!(
                "--paths standby goes with links alone (--via LINK): leave max= and transport= out, or choose auto, spread \
                 or duplicate"
            )))
        }
        _ => Ok(()),
    }
}

/// What would change nothing is not taken without a word.
fn uses(args: &SendArgs) -> Result<(), Failure> {
    let streams_alone = args.sources.iter().all(|arg| arg.folder().is_none());
    let refuse = |why: &str| Err(Failure::usage(anyhow!("{why}; leave it out")));
    if args.fps.is_some() && streams_alone {
        return refuse(
            "--fps replays folders, and no source is one: a stream's frames go when they come",
        );
    }
    if args.gap.is_some() && !args.transport.is_only(Transport::StopAndWait) {
        return refuse("--gap is of --transport stop-and-wait");
    }
    if args.paths != PathsMode::Auto && args.via.is_empty() {
        return refuse("--paths says how the links of --via are used, and none is named");
    }
    Ok(())
}

/// Files that were there before are due at no time, but for a replay's.
fn live(args: &SendArgs) -> Result<(), Failure> {
    if args.fps.is_some() || args.growing.watches() {
        return Ok(());
    }
    for LiveArg { source, .. } in &args.live {
        let mut meant =
            args.sources.iter().filter(|arg| source.as_ref().is_none_or(|name| *name == arg.name));
        if meant.all(|arg| arg.folder().is_some()) {
            return Err(Failure::usage(anyhow!(
                "--live drops frames by their age, and files that are there already have none: add --fps to replay them, \
                 or --watch for those that will be written"
            )));
        }
    }
    Ok(())
}

fn congestion(args: &SendArgs) -> Result<(), Failure> {
    let checked = args.tcp_congestion.as_deref().map(transport::check_tcp_congestion);
    checked.unwrap_or(Ok(())).map_err(|error| Failure::usage(anyhow!("--tcp-congestion: {error}")))
}
