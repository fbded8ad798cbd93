//! `framelane completions`: what a shell completes behind `framelane`.

use clap::Command;
use clap_complete::Shell;

use super::{COMPLETE, Outcome, output};

const AFTER_HELP: &str = "\
  framelane completions bash > /usr/share/bash-completion/completions/framelane
  framelane completions zsh  > /usr/share/zsh/vendor-completions/_framelane
  framelane completions fish > ~/.config/fish/completions/framelane.fish";

/// Print what a shell needs to complete framelane's commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// `command`: the whole command line.
pub(super) fn run(args: &CompletionsArgs, mut command: Command) -> Outcome {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    output::result(String::from_utf8(script)?.trim_end());
    Ok(COMPLETE)
}
