// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

#[test]
fn printable_text_is_unchanged() {
    let plain = r#"selector = 0x2 ("neither"), C:\x 'ü' Köln"#;
    assert_eq!(escaped_line(plain), plain);
}

#[test]
fn control_characters_are_escaped() {
    let hostile =
        "\x1b[2J\x1b]0;pwned\x07 a\rb\nc \u{9b}31m \u{202e}drow \u{2066} \u{feff}\0\x7f\u{ffff}";
    let safe = escaped_line(hostile);
    assert!(safe.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{safe}");
    assert!(safe.starts_with(r"\u{1b}[2J"), "{safe}");
}

#[test]
fn commands_of_ci_services_are_escaped() {
    for (command, escaped) in [
        ("::add-mask::x", r"\u{3a}:add-mask::x"),
        ("\t ::error::x", r"  \u{3a}:error::x"),
        ("a ::error::x", r"a \u{3a}:error::x"),
        ("a ##[add-mask]x", r"a ##\u{5b}add-mask]x"),
        ("##vso[task.setvariable]x", r"##vso\u{5b}task.setvariable]x"),
        ("std::io, ## a [b], : x:: #[x]", "std::io, ## a [b], : x:: #[x]"),
    ] {
        assert_eq!(escaped_line(command), escaped);
        assert_eq!(escaped_line(escaped), escaped, "escaping twice changes nothing");
    }
}

/// Text that controls terminals and CI services.
const HOSTILE: &str =
    "a\x1b]0;title\x07\x1b[31mred\r::add-mask::x\n::add-mask::y\n\t##[error]\u{9b}2J\u{202e}z";

#[test]
fn messages_are_lines_of_printable_characters() {
    let message = Printable::message(HOSTILE);
    assert_eq!(
        &*message,
        "a\\u{1b}]0;title\\u{7}\\u{1b}[31mred\\r::add-mask::x\n\\u{3a}:add-mask::y\n \
         ##\\u{5b}error]\\u{9b}2J\\u{202e}z\n"
    );
    assert_eq!(&*Printable::message(""), "");
    assert_eq!(&*Printable::message("a\r\n\n b "), "a\n\n b\n");
    let long = Printable::message(&"x".repeat(1 << 20));
    assert!(long.ends_with("xx... (1028576 bytes more)\n"), "{}", long.len());
}

#[test]
fn a_console_on_a_terminal_keeps_colours_and_tabs_only() {
    let console =
        "\x1b[1;31mred\x1b[0m\tx\x1b[32mgreen\r\n\x1b[2J\x1b[31\x1b[3Am\x1b]0;t\x07\x1b[?1m\x1b[mz";
    assert_eq!(
        &*Printable::console(console, true),
        "\x1b[1;31mred\x1b[0m\tx\x1b[32mgreen\x1b[0m\n\
         \\u{1b}[2J\\u{1b}[31\\u{1b}[3Am\\u{1b}]0;t\\u{7}\\u{1b}[?1m\x1b[mz\n"
    );
    let in_file = Printable::console(console, false);
    assert!(in_file.chars().all(|c| c == '\n' || c == ' ' || c.is_ascii_graphic()), "{in_file:?}");
}

#[test]
fn documents_keep_lines_and_tabs_only() {
    assert_eq!(&*Printable::document("<a>\n\t::b\x1b[31m\u{9b}ü"), "<a>\n\t::b\\u{1b}[31m\\u{9b}ü");
}

#[test]
fn a_long_line_is_cut_and_ends_with_the_number_of_omitted_bytes() {
    let safe = escaped_line(&"x".repeat(1 << 20));
    assert_eq!(safe.len(), MAX_LINE_CHARS + "... (1047576 bytes more)".len());
    assert!(safe.ends_with("x... (1047576 bytes more)"));
}

#[test]
fn lines_are_split_and_trimmed() {
    assert_eq!(escaped_lines("\n\na\r\n\n b\tc\r\n\n"), ["a", "", " b c"]);
    assert!(escaped_lines("").is_empty());
}

#[test]
fn truncated_counts_columns() {
    assert_eq!(truncated("äöü", 3), "äöü");
    assert_eq!(truncated("äöüäöü", 5), "äö...");
    assert_eq!(truncated("漢字漢字", 8), "漢字漢字");
    assert_eq!(truncated("漢字漢字", 6), "漢...");
    assert_eq!(truncated("abcdef", 2), "..");
}

#[test]
fn padded_counts_columns() {
    assert_eq!(padded("漢", 4), "漢  ");
    assert_eq!(padded("abcdef", 5), "ab...");
    assert_eq!(padded("漢字漢", 5), "漢...");
}

#[test]
fn wrapped_keeps_every_word() {
    assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
    assert_eq!(wrapped("a bcdefghij k", 4), ["a", "bcde", "fghi", "j k"]);
    assert_eq!(wrapped("abcd", 4), ["abcd"]);
    assert_eq!(wrapped("漢字 漢", 4), ["漢字", "漢"]);
    assert_eq!(wrapped("a漢漢", 2), ["a", "漢", "漢"]);
    assert!(wrapped(" ", 4).is_empty());
}

#[test]
fn a_wrapped_command_is_the_same_to_a_shell() {
    let command = "sudbox run --append 'a b  c' --cases selector/allow-passes x";
    for width in 10..80 {
        let lines = wrapped_command(command, width);
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
        let longest = lines.iter().map(|line| width_in_columns(line)).max().unwrap();
        assert!(longest <= width.max("selector/allow-passes \\".len() + "--cases ".len()));
    }
}
