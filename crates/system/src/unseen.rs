//! Characters that are not shown as themselves: code that writes text of others to a terminal or a log spells them out.

/// Whether a character can end a line, turn the direction of writing, or is not seen at all, so that two different texts look
/// alike.
pub fn is_unseen(c: char) -> bool {
    // By block: soft hyphen, joiner, Arabic letter mark, fillers, vowel separators, spaces without width and marks of direction,
    // separators of lines, overrides and isolates, invisible operators, byte order mark, annotations, tags.
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
