//! The command line tool: parse, run, exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    framelane::cli::main()
}
