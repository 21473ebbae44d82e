// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

#[test]
fn printable_text_is_unchanged() {
    let plain = r#"selector = 0x2 ("neither"), C:\x 'ü' Köln"#;
    assert_eq!(line(plain), plain);
}

#[test]
fn control_characters_are_escaped() {
    let hostile =
        "\x1b[2J\x1b]0;pwned\x07 a\rb\nc \u{9b}31m \u{202e}drow \u{2066} \u{feff}\0\x7f\u{ffff}";
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
fn lines_are_split_and_trimmed() {
    assert_eq!(lines("\n\na\r\n\n b\tc\r\n\n"), ["a", "", " b c"]);
    assert!(lines("").is_empty());
}

#[test]
fn cutting_counts_columns() {
    assert_eq!(cut("äöü", 3), "äöü");
    assert_eq!(cut("äöüäöü", 5), "äö...");
    assert_eq!(cut("漢字漢字", 8), "漢字漢字");
    assert_eq!(cut("漢字漢字", 6), "漢...");
    assert_eq!(cut("abcdef", 2), "..");
}

#[test]
fn filling_counts_columns() {
    assert_eq!(fill("漢", 4), "漢  ");
    assert_eq!(fill("abcdef", 5), "ab...");
    assert_eq!(fill("漢字漢", 5), "漢...");
}

#[test]
fn wrapping_keeps_every_word() {
    assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
    assert_eq!(wrap("a bcdefghij k", 4), ["a", "bcde", "fghi", "j k"]);
    assert_eq!(wrap("abcd", 4), ["abcd"]);
    assert_eq!(wrap("漢字 漢", 4), ["漢字", "漢"]);
    assert_eq!(wrap("a漢漢", 2), ["a", "漢", "漢"]);
    assert!(wrap(" ", 4).is_empty());
}

#[test]
fn a_wrapped_command_is_the_same_to_a_shell() {
    let command = "sudbox run --append 'a b  c' --cases selector/allow-passes x";
    for width in 10..80 {
        let lines = wrap_command(command, width);
        let joined = lines.join("\n");
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s|' {joined}")])
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "sudbox|run|--append|a b  c|--cases|selector/allow-passes|x|",
            "{joined}"
        );
        let longest = lines.iter().map(|line| columns(line)).max().unwrap();
        assert!(longest <= width.max("selector/allow-passes \\".len() + "--cases ".len()));
    }
}
