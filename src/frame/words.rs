//! What somebody else has said, made fit to be shown.

/// The longest that is shown of what a peer has said, in characters, its quotation marks and escapes counted.
pub const MAX_QUOTED: usize = 400;

/// A peer's words in quotation marks, so that a reader sees whose they are: on one line, at most
/// [`MAX_QUOTED`] characters, and without any character that moves a cursor, ends a line, turns the
/// direction of writing or cannot be seen. What is left out is marked by `...`.
pub fn quoted(text: &str) -> String {
    const LEFT_OUT: &str = "...";
    let room = MAX_QUOTED - 2 - LEFT_OUT.len();
    let mut shown = String::from('"');
    let mut length = 0;
    let mut whole = true;
    for character in text.chars() {
        let escaped: String = escaped(character);
        let more = escaped.chars().count();
        if length + more > room {
            whole = false;
            break;
        }
        length += more;
        shown.push_str(&escaped);
    }
    shown.push('"');
    if !whole {
        shown.push_str(LEFT_OUT);
    }
    shown
}

fn escaped(character: char) -> String {
    match character {
        '"' | '\\' => character.escape_default().collect(),
        _ if character.is_control() || is_unseen(character) => character.escape_default().collect(),
        _ => character.into(),
    }
}

/// Characters that are not controls by their class and yet are not seen, end a line, or turn its
/// direction, so that words could be made to look like others.
fn is_unseen(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_cannot_pass_for_lines_of_ours() {
        let forged = "bye\nstored 9, verified 9\r\x1b[2K\u{2028}\u{202e}x\u{200b}";
        assert_eq!(
            quoted(forged),
            r#""bye\nstored 9, verified 9\r\u{1b}[2K\u{2028}\u{202e}x\u{200b}""#
        );
        assert_eq!(quoted("it said \"no\\\""), r#""it said \"no\\\"""#);
        assert_eq!(quoted("Grüße, 東京"), "\"Grüße, 東京\"");
    }

    #[test]
    fn long_words_are_cut_between_two_escapes() {
        let shown = quoted(&"\u{1b}".repeat(10_000));
        assert!(shown.ends_with("\\u{1b}\"...") && shown.len() <= MAX_QUOTED, "{shown}");
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_one_bounded_line(text in any::<String>()) {
            let shown = quoted(&text);
            prop_assert!(shown.chars().count() <= MAX_QUOTED);
            prop_assert!(!shown.chars().any(|c| c.is_control() || is_unseen(c)));
        }
    }
}
