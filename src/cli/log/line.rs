//! A line of the log: bounded, without controls, and what makes it like another.

use std::net::{IpAddr, SocketAddr};

/// The longest line, in characters. More says nothing more, and a peer may have thought it up.
pub(super) const MAX_LINE: usize = 300;

/// The line without what a terminal takes for commands, cut where it is too long.
pub(super) fn shortened(text: &str) -> String {
    cut(&crate::frame::printable(text), MAX_LINE)
}

/// At most `longest` characters.
pub(super) fn cut(text: &str, longest: usize) -> String {
    const MARK: char = '…';
    match text.char_indices().nth(longest) {
        None => text.to_owned(),
        Some(_) => text.chars().take(longest - 1).chain([MARK]).collect(),
    }
}

/// Lines of equal likeness say the same of something else: frames, counts, ports and times differ, the
/// words and the machines do not.
pub(super) fn likeness(line: &str) -> String {
    let words = line.split_inclusive(char::is_whitespace).map(|word| {
        let space = word.len() - word.trim_end().len();
        let (word, space) = word.split_at(word.len() - space);
        machine(word).unwrap_or_else(|| without_numbers(word)) + space
    });
    cut(&words.collect::<String>(), MAX_LINE)
}

/// The machine that a word names, without its port.
fn machine(word: &str) -> Option<String> {
    let value = word.rsplit_once('=').map_or(word, |(_, value)| value);
    // An IPv6 address may begin with a colon.
    let value = value.trim_start_matches(['(', '"', '\'']);
    let value = value.trim_end_matches(['(', ')', ',', ';', ':', '"', '\'', '.']);
    let address = value.parse::<SocketAddr>().map(|address| address.ip());
    address.or_else(|_| value.parse::<IpAddr>()).ok().map(|ip| ip.to_string())
}

/// Numbers, and long words of hexadecimal digits, become `#`.
fn without_numbers(word: &str) -> String {
    /// No word is as long by chance; hashes and pins are.
    const HEX: usize = 16;
    let mut kept = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        let hex = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let taken = if hex >= HEX { hex } else { digits };
        let taken = if taken == 0 {
            kept.push(first);
            first.len_utf8()
        } else {
            kept.push('#');
            taken
        };
        rest = &rest[taken..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_do_not_make_a_line_another() {
        for (one, other) in [
            ("not stored: visible/1.jpg: full", "not stored: visible/1234.jpg: full"),
            ("peer=127.0.0.1:4433 ended", "peer=127.0.0.1:4434 ended"),
            ("a connection from [::1]:7 (quic)", "a connection from [::1]:8 (quic)"),
            ("pin sha256:0123456789abcdef01", "pin sha256:fedcba987654321000"),
            ("took 1.5 s", "took 22.75 s"),
        ] {
            assert_eq!(likeness(one), likeness(other));
        }
        for (one, other) in [
            ("from 10.0.0.1:1", "from 10.0.0.2:1"),
            ("visible/1.jpg", "infrared/1.jpg"),
            ("from ::1,", "from ::2,"),
        ] {
            assert_ne!(likeness(one), likeness(other));
        }
    }

    #[test]
    fn a_line_is_short_and_one_line() {
        let line = shortened(&"a\nb\x1b[31m".repeat(1_000_000));
        assert_eq!(line.chars().count(), MAX_LINE);
        assert!(!line.contains(char::is_control) && line.ends_with('…'), "{line}");
        assert_eq!(shortened("short"), "short");
    }
}
