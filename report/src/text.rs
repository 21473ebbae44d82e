//! Makes text from a guest harmless: the one place where that is done.
//!
//! A guest chooses what it logs and what its console says. Left as it is, that could steer a
//! terminal (escape sequences, bidirectional controls), break XML (characters it cannot hold even
//! escaped), forge a line of KTAP, or fill a screen. What comes out of here consists of printable
//! characters and, from [`lines`], line ends.

/// Longest line that is kept, in characters; what is cut off is counted.
pub const MAX_LINE: usize = 1000;

/// One line: line ends and everything unprintable escaped as Rust does it (`\u{1b}`), tabs as
/// spaces, cut at [`MAX_LINE`].
#[must_use]
pub fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE));
    let mut rest = text.trim_end();
    for _ in 0..MAX_LINE {
        let mut chars = rest.chars();
        let Some(c) = chars.next() else { return out };
        rest = chars.as_str();
        push(&mut out, c);
    }
    match rest.len() {
        0 => out,
        n => format!("{out}... ({n} bytes more)"),
    }
}

/// Many lines: each as [`line`] makes it, a carriage return before a line end dropped, empty
/// lines at both ends dropped.
#[must_use]
pub fn lines(text: &str) -> Vec<String> {
    text.trim_matches(['\r', '\n']).lines().map(line).collect()
}

/// What is printable stays, quotes and backslashes too. `char::escape_debug` knows the rest:
/// control, format, private and unassigned characters, line separators, and marks that would sit
/// on the character before.
fn push(out: &mut String, c: char) {
    match c {
        '\t' => out.push(' '),
        '\\' | '"' | '\'' => out.push(c),
        c => out.extend(c.escape_debug()),
    }
}

/// Cuts a line from [`line`] to `width` characters, the last of them dots if something went.
#[must_use]
pub(crate) fn cut(line: &str, width: usize) -> String {
    match line.char_indices().nth(width) {
        None => line.to_owned(),
        Some(_) => line.chars().take(width.saturating_sub(3)).chain("...".chars()).collect(),
    }
}

/// Breaks a line from [`line`] at spaces into pieces of at most `width` characters; a word that
/// is longer is broken where it must.
#[must_use]
pub(crate) fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut used = 0;
    for word in line.split(' ').filter(|w| !w.is_empty()) {
        let mut word = word;
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            pieces.push(std::mem::take(&mut piece));
            used = 0;
        }
        if used > 0 {
            piece.push(' ');
            used += 1;
        }
        while let Some((at, _)) = word.char_indices().nth(width - used) {
            piece.push_str(&word[..at]);
            pieces.push(std::mem::take(&mut piece));
            used = 0;
            word = &word[at..];
        }
        piece.push_str(word);
        used += word.chars().count();
    }
    if used > 0 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printable_stays() {
        let plain = r#"selector = 0x2 ("neither"), C:\x 'ü' Köln"#;
        assert_eq!(line(plain), plain);
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let hostile = "\x1b[2J\x1b]0;pwned\x07 a\rb\nc \u{9b}31m \u{202e}drow \u{2066} \u{feff}\0\x7f\u{ffff}";
        let safe = line(hostile);
        assert!(safe.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{safe}");
        assert!(safe.starts_with(r"\u{1b}[2J"), "{safe}");
    }

    #[test]
    fn a_huge_line_is_cut_and_says_so() {
        let safe = line(&"x".repeat(1 << 20));
        assert_eq!(safe.len(), MAX_LINE + "... (1047576 bytes more)".len());
        assert!(safe.ends_with("x... (1047576 bytes more)"));
    }

    #[test]
    fn lines_are_lines() {
        assert_eq!(lines("\n\na\r\n\n b\tc\r\n\n"), ["a", "", " b c"]);
        assert!(lines("").is_empty());
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüäöü", 5), "äö...");
    }

    #[test]
    fn wrapping_keeps_every_word() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("a bcdefghij k", 4), ["a", "bcde", "fghi", "j k"]);
        assert_eq!(wrap("abcd", 4), ["abcd"]);
        assert!(wrap(" ", 4).is_empty());
    }
}
