//! Untrusted text on a terminal: everything that a terminal would act upon is shown, not sent.

use std::io::Write as _;

/// Appends `text` so that a terminal only shows it, and returns whether colours were let
/// through.
///
/// Escaped are the control characters of C0 and C1 except newline and tab, DEL, the characters
/// that change the direction of writing or end a line unseen, and bytes that are no UTF-8:
/// `\r`, `\x1b`, `\u{202e}`, `\xff`. A backslash is left alone, so the text is for reading,
/// not for decoding. With `colours`, plain colour sequences (`ESC [`, digits and semicolons,
/// `m`) pass: they move nothing, and tasks that print in colour are the rule.
///
/// ```
/// use holdpoint_process::escape;
///
/// let mut shown = Vec::new();
/// let coloured = escape(b"\x1b[31mred\x1b[0m \x1b]8;;http://x\x07 \xff", true, &mut shown);
/// assert!(coloured);
/// assert_eq!(shown, b"\x1b[31mred\x1b[0m \\x1b]8;;http://x\\x07 \\xff");
/// ```
pub fn escape(text: &[u8], colours: bool, into: &mut Vec<u8>) -> bool {
    let mut coloured = false;
    for chunk in text.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(at) = rest.find(is_active) {
            let (plain, active) = rest.split_at(at);
            into.extend_from_slice(plain.as_bytes());
            let colour = if colours { colour_length(active.as_bytes()) } else { 0 };
            if colour > 0 {
                coloured = true;
                into.extend_from_slice(&active.as_bytes()[..colour]);
                rest = &active[colour..];
            } else {
                let mut characters = active.chars();
                characters.next().into_iter().for_each(|c| show(c, into));
                rest = characters.as_str();
            }
        }
        into.extend_from_slice(rest.as_bytes());
        chunk.invalid().iter().for_each(|byte| _ = write!(into, "\\x{byte:02x}"));
    }
    coloured
}

/// Whether a terminal, or the reader of a line, would be led elsewhere by it.
fn is_active(c: char) -> bool {
    matches!(c,
        '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}'
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn show(c: char, into: &mut Vec<u8>) {
    // Writing into a vector cannot fail.
    let _ = match c {
        '\r' => write!(into, "\\r"),
        c if c.is_ascii() => write!(into, "\\x{:02x}", u32::from(c)),
        c => write!(into, "\\u{{{:x}}}", u32::from(c)),
    };
}

/// The length of the colour sequence at the beginning, 0 where there is none.
fn colour_length(text: &[u8]) -> usize {
    let Some(parameters) = text.strip_prefix(b"\x1b[") else { return 0 };
    let end = parameters.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b';'));
    match end {
        Some(end) if parameters[end] == b'm' => end + 3,
        _ => 0,
    }
}
