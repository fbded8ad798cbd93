//! `framelane man`: the manual, a page for each command, as whoever packs framelane needs it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Command;
use clap_mangen::Man;

use super::{COMPLETE, Outcome, output};

/// Write the manual's pages to a folder
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// The folder, made where it is missing
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

/// `command`: the whole command line.
pub(super) fn run(args: &ManArgs, mut command: Command) -> Outcome {
    command.build();
    fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    write(&args.out, "framelane", &command)?;
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        if subcommand.get_name() == "help" {
            continue;
        }
        write(&args.out, &format!("framelane-{}", subcommand.get_name()), subcommand)?;
    }
    Ok(COMPLETE)
}

fn write(folder: &Path, name: &str, command: &Command) -> anyhow::Result<()> {
    let path = folder.join(format!("{name}.1"));
    let mut page = Vec::new();
    let version = concat!("framelane ", env!("CARGO_PKG_VERSION"));
    let command = command.clone().display_name(name.to_owned());
    let man = Man::new(command).title(name.to_uppercase()).section("1").source(version);
    man.manual("framelane").render(&mut page).context("cannot make the page")?;
    fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    output::note(&format!("wrote {}", path.display()));
    Ok(())
}
