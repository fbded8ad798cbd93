//! What `--help` shows beside each option: the group that it stands in, and examples.
//!
//! Kept in one place, so that the groups of a command can be read as they are shown. An option that no group names stands
//! under "Options", before all groups.

use clap::Command;

/// A group of a command's options, by their long names.
type Group = (&'static str, &'static [&'static str]);

const RECEIVE: [Group; 5] = [
    ("Who may send", &["allow", "allow-file", "shared", "allow-overwrite"]),
    (
        "Storing",
        &["out", "layout", "durable", "keep", "keep-bytes", "keep-free", "warn-free", "on-stored"],
    ),
    ("Limits", &["max-frame", "memory", "max-sessions", "stall"]),
    (
        "Seeing it",
        &[
            "view",
            "view-token-file",
            "view-token",
            "view-tls",
            "view-allow",
            "view-host",
            "view-raw",
        ],
    ),
    ("Running and output", &RUNNING),
];

const SEND: [Group; 6] = [
    (
        "Whom to send to",
        &[
            "pin",
            "ca",
            "known-receivers",
            "transport",
            "via",
            "paths",
            "congestion",
            "tcp-congestion",
            "repair",
            "gap",
        ],
    ),
    (
        "What of folders",
        &[
            "recursive",
            "include",
            "exclude",
            "all-names",
            "captured",
            "captured-zone",
            "checksum",
            "overwrite",
        ],
    ),
    ("Sources that grow", &["watch", "framing", "restart", "silence", "drain"]),
    ("When and in which order", &["fps", "weight", "live"]),
    ("Trouble", &["retry-for", "stall", "spool", "spool-size", "spool-memory", "when-full"]),
    ("Running and output", &RUNNING),
];

const RUNNING: [&str; 9] =
    ["once", "certs", "json", "config", "print-config", "quiet", "verbose", "help", "version"];

const EXAMPLES: [(&str, &str); 4] = [
    (
        "receive",
        "\
Examples:
  framelane receive                                      # on this machine only, into ./received
  framelane receive --listen :4433 --allow camera=sha256:PIN --durable
  framelane receive --transport quic --transport tcp --allow-file senders --out '/srv/{sender}'
  framelane receive --config /etc/framelane/receive.toml",
    ),
    (
        "send",
        "\
Examples:
  framelane send store:4433 ./visible ./infrared --pin sha256:PIN
  framelane send store:4433 visible=./visible --watch --live 500ms --pin sha256:PIN
  ffmpeg -i rtsp://camera -f image2pipe -c:v mjpeg - | framelane send store:4433 visible=- --pin sha256:PIN
  framelane send --config /etc/framelane/send-front.toml",
    ),
    (
        "verify",
        "\
Examples:
  framelane verify received
  framelane verify received --json",
    ),
    (
        "compare",
        "\
Examples:
  framelane compare --report compare.html
  framelane compare --link rate=20mbit,delay=40ms,loss=3% visible=./visible --fps 15
  framelane compare --to store:4433 --pin sha256:PIN",
    ),
];

/// The command line with its groups and examples.
pub(super) fn arranged(command: Command) -> Command {
    let grouped = grouped(grouped(command, "receive", &RECEIVE), "send", &SEND);
    EXAMPLES.iter().fold(grouped, |command, (name, examples)| {
        command.mut_subcommand(name, |command| {
            let before = command.get_after_help().map(ToString::to_string);
            let before = before.map_or_else(String::new, |text| format!("{text}\n\n"));
            command.after_help(format!("{before}{examples}"))
        })
    })
}

fn grouped(command: Command, name: &str, groups: &[Group]) -> Command {
    command.mut_subcommand(name, |command| {
        command.mut_args(|option| {
            let long = option.get_long().unwrap_or_default();
            let group = groups.iter().find(|(_, options)| options.contains(&long));
            match group {
                Some((heading, _)) => option.help_heading(*heading),
                None => option,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::{Cli, command};

    #[test]
    fn help_has_groups_and_examples_and_every_option_once() {
        let mut command = command();
        command.build();
        for (role, groups) in [("receive", 4), ("send", 6)] {
            let mut command = command.find_subcommand(role).expect("a role").clone();
            let help = command.render_long_help().to_string();
            let headings =
                help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' '));
            assert!(headings.count() > groups, "{help}");
            assert!(help.contains("Examples:"), "{help}");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let found = help.lines().filter(|line| {
                    line.trim_start()
                        .trim_start_matches("-q, ")
                        .trim_start_matches("-v, ")
                        .trim_start_matches("-h, ")
                        .trim_start_matches("-V, ")
                        .split([' ', '=', '.'])
                        .next()
                        == Some(&format!("--{option}"))
                });
                assert_eq!(found.count(), 1, "--{option} in\n{help}");
            }
        }
    }

    #[test]
    fn the_groups_name_options_that_there_are() {
        let mut command = command();
        command.build();
        for (role, groups) in [("receive", &super::RECEIVE[..]), ("send", &super::SEND[..])] {
            let command = command.find_subcommand(role).expect("a role");
            let there: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
            let named = groups.iter().flat_map(|(_, options)| options.iter());
            for option in named.filter(|option| !super::RUNNING.contains(option)) {
                assert!(there.contains(option), "{role} has no --{option}");
            }
        }
    }

    /// A command as an example writes it, without what a shell would do with it.
    fn commands(text: &str) -> impl Iterator<Item = Vec<String>> {
        text.lines().filter_map(|line| {
            let line = line.split(" # ").next().unwrap_or_default();
            let at = line.find("framelane ")?;
            let pin = format!("sha256:{}", "0".repeat(64));
            let words = line[at..].replace("sha256:PIN", &pin).replace('\'', "");
            Some(words.split_whitespace().map(str::to_owned).collect())
        })
    }

    #[test]
    fn examples_are_commands_that_can_be_given() {
        let mut count = 0;
        for (_, examples) in super::EXAMPLES {
            for words in commands(examples).filter(|words| !words.contains(&"--config".to_owned()))
            {
                let parsed = Cli::command().try_get_matches_from(&words);
                assert!(
                    parsed.is_ok(),
                    "{words:?}: {}",
                    parsed.err().map(|e| e.to_string()).unwrap_or_default()
                );
                count += 1;
            }
        }
        assert!(count >= 10, "only {count} examples");
    }
}
