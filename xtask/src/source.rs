//! Rust source as a list of words: what `layers` and `contract` look at.
//!
//! A lexer of a hundred lines instead of a parser: both checks ask only which words stand in the
//! code, so it is enough to know what is *not* code. Comments (nested ones and doc comments with
//! their examples too), strings of every kind, characters and lifetimes are left out; what remains
//! are words, numbers and single punctuation characters, each with its line.

/// A word, a number or one punctuation character of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    /// From 1.
    pub(crate) line: usize,
}

/// The code of `source`, without comments and literals other than numbers.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { source, at: 0, line: 1 };
    let mut out = Vec::new();
    while let Some(token) = lexer.next_token() {
        out.push(token);
    }
    out
}

/// `tokens` without the items that only tests compile: `#[cfg(test)]` before a module, a function,
/// an import.
///
/// Also returns the names of modules that lie in files of their own and are for tests only
/// (`#[cfg(test)] mod tests;`), so that a caller can leave those files out.
pub(crate) fn without_tests<'a>(tokens: &[Token<'a>]) -> (Vec<Token<'a>>, Vec<&'a str>) {
    let mut kept = Vec::new();
    let mut test_files = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let Some(end) = attribute_end(tokens, at) else {
            kept.push(tokens[at]);
            at += 1;
            continue;
        };
        if !is_cfg_test(&tokens[at..end]) {
            kept.extend_from_slice(&tokens[at..end]);
            at = end;
            continue;
        }
        at = end;
        while let Some(end) = attribute_end(tokens, at) {
            at = end;
        }
        let item = &tokens[at..item_end(tokens, at)];
        if let [.., keyword, name, end] = item
            && keyword.text == "mod"
            && end.text == ";"
        {
            test_files.push(name.text);
        }
        at += item.len();
    }
    (kept, test_files)
}

/// Where the attribute that starts at `at` ends (`#[...]`, not `#![...]`), if one starts there.
pub(crate) fn attribute_end(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    if text(tokens, at) != "#" || text(tokens, at + 1) != "[" {
        return None;
    }
    Some(matching_end(tokens, at + 1))
}

/// The text of token `at`; empty past the end.
pub(crate) fn text<'a>(tokens: &[Token<'a>], at: usize) -> &'a str {
    tokens.get(at).map_or("", |token| token.text)
}

/// The index after the bracket that closes the one at `open`; the end where nothing closes it.
pub(crate) fn matching_end(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// `#[cfg(test)]` and `#[cfg(all(test, ..))]`. With `any` or `not` the item can be compiled without
/// tests and counts as code.
fn is_cfg_test(attribute: &[Token<'_>]) -> bool {
    let has = |word| attribute.iter().any(|token| token.text == word);
    text(attribute, 2) == "cfg" && has("test") && !has("any") && !has("not")
}

/// The end of the item at `start`: its first `;` outside brackets, or the end of its first block
/// with the `;` that may follow (`use a::{b, c};`).
fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "{" => {
                let end = matching_end(tokens, at);
                return if text(tokens, end) == ";" { end + 1 } else { end };
            }
            "(" | "[" => at = matching_end(tokens, at),
            _ => at += 1,
        }
    }
    at
}

struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn next_token(&mut self) -> Option<Token<'a>> {
        loop {
            let rest = self.rest();
            let first = rest.chars().next()?;
            let line = self.line;
            if first.is_whitespace() {
                self.advance(first.len_utf8());
            } else if rest.starts_with("//") {
                self.advance(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.advance(block_comment(rest));
            } else if let Some(length) = string(rest) {
                self.advance(length);
            } else if first == '\'' {
                self.advance(character_or_lifetime(rest));
            } else if is_word(first) {
                // A raw identifier is its word: `r#type` names `type`.
                let raw = if rest.starts_with("r#") { 2 } else { 0 };
                let length = raw + word_length(&rest[raw..]);
                self.advance(length);
                return Some(Token { text: &rest[raw..length], line });
            } else {
                self.advance(first.len_utf8());
                return Some(Token { text: &rest[..first.len_utf8()], line });
            }
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn advance(&mut self, length: usize) {
        let passed = &self.source.as_bytes()[self.at..self.at + length];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.at += length;
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn word_length(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// The length of the block comment at the start of `rest`; Rust's nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut depth = 0;
    let mut at = 0;
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// The length of the string literal at the start of `rest`, prefix included: `".."`, `b".."`,
/// `c".."`, `r#".."#`, `br".."`.
fn string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|&length| length <= 2)?;
    let raw = rest[..prefix].ends_with('r');
    let hashes = rest[prefix..].bytes().take_while(|&byte| byte == b'#').count();
    let open = prefix + hashes;
    if !rest[open..].starts_with('"') || (hashes > 0 && !raw) {
        return None;
    }
    let body = open + 1;
    if raw {
        let close = format!("\"{}", "#".repeat(hashes));
        return Some(rest[body..].find(&close).map_or(rest.len(), |at| body + at + close.len()));
    }
    let mut bytes = rest.bytes().enumerate().skip(body);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// The length of the character (`'a'`, `'\''`, `'\u{1F600}'`) or lifetime (`'a`) at the start.
fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let Some((_, first)) = chars.next() else { return rest.len() };
    if first == '\\' {
        chars.next();
        return chars.find(|&(_, c)| c == '\'').map_or(rest.len(), |(at, _)| at + 1);
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ if is_word(first) => 1 + word_length(&rest[1..]),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        tokens(source).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_left_out() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g\n/// h\n//! i\nj"), "a c g j");
        assert_eq!(words("a / b"), "a / b");
        assert_eq!(words("a /* never closed"), "a");
    }

    #[test]
    fn strings_of_every_kind_are_left_out() {
        assert_eq!(words(r#"a("b \" c", b"d", c"e")"#), "a ( , , )");
        assert_eq!(words(r##"a r"\" b r#"c " d"# br#"e"# f"##), "a b f");
        assert_eq!(words("a \"// not a comment\" b"), "a b");
        assert_eq!(words(r#"a "ends in a backslash \\" b"#), "a b");
    }

    #[test]
    fn words_that_begin_like_a_string_prefix_stay() {
        assert_eq!(words("break crab r b br c"), "break crab r b br c");
        assert_eq!(words("r#type b'x' rb"), "type b rb");
    }

    #[test]
    fn characters_and_lifetimes_are_left_out() {
        assert_eq!(words(r"a 'b' '\'' '\\' '\u{1F600}' '💥' 'static c<'d>(&'e f)"), {
            "a c < > ( & f )"
        });
        assert_eq!(words("'\"' a '\"'"), "a");
        assert_eq!(words("'outer: loop { break 'outer }"), ": loop { break }");
    }

    #[test]
    fn every_token_knows_its_line() {
        let source = "a\n/* b\n */ c\n\"d\n e\" f\r\ng";
        let lines: Vec<_> = tokens(source).iter().map(|t| (t.text, t.line)).collect();
        assert_eq!(lines, [("a", 1), ("c", 3), ("f", 5), ("g", 6)]);
    }

    #[test]
    fn items_for_tests_are_dropped_and_the_rest_is_kept() {
        let source = "
            use a::b;
            #[cfg(test)] use c::{d, e};
            fn f() { g() }
            #[cfg(test)]
            #[allow(dead_code)]
            pub(crate) fn h(i: [u8; 4]) -> u8 { { j } }
            #[cfg(all(test, unix))] mod k { mod l {} }
            #[cfg(test)] mod m;
            #[cfg(not(test))] fn n() {}
            #[derive(Debug)] struct O;
        ";
        let all = tokens(source);
        let (kept, files) = without_tests(&all);
        let kept: Vec<_> = kept.iter().map(|token| token.text).collect();
        assert_eq!(
            kept.join(" "),
            "use a : : b ; fn f ( ) { g ( ) } # [ cfg ( not ( test ) ) ] fn n ( ) { } \
             # [ derive ( Debug ) ] struct O ;"
        );
        assert_eq!(files, ["m"]);
    }
}
