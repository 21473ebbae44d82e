// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Finds the unified diffs in a text, such as a mail. Only they are given to patch(1), which would
//! also take indented diffs, context diffs and ed scripts from the text around them.

/// The unified diffs of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Diffs<'a> {
    /// The lines of the diffs.
    pub(super) text: String,
    /// Names of the changed files, without the first component (`a` or `b`).
    pub(super) files: Vec<&'a str>,
    /// A symbolic link or submodule that a diff of git makes, changes or removes.
    pub(super) special_file: Option<&'a str>,
}

/// Extended headers of git, which follow a line `diff --git` (git-diff(1)). patch(1) refuses binary
/// patches.
const EXTENDED_HEADERS: [&str; 12] = [
    "old mode ",
    "new mode ",
    "deleted file mode ",
    "new file mode ",
    "copy from ",
    "copy to ",
    "rename from ",
    "rename to ",
    "similarity index ",
    "dissimilarity index ",
    "index ",
    "GIT binary patch",
];

/// Finds the unified diffs in a text.
pub(super) fn find_diffs(text: &str) -> Diffs<'_> {
    let mut diffs = Diffs::default();
    let mut rest = text;
    // The names in the last line `diff --git`, while extended headers may follow.
    let mut git_names = None;
    while !rest.is_empty() {
        let line = next_line(&mut rest);
        let content = line.trim_end_matches(['\r', '\n']);
        if let Some(names) = content.strip_prefix("diff --git ") {
            git_names = Some(names);
            diffs.files.extend(common_name(names));
            diffs.text += line;
        } else if content.starts_with("--- ") && rest.starts_with("+++ ") {
            let new_line = next_line(&mut rest);
            diffs.files.extend([content, new_line].into_iter().filter_map(header_name));
            diffs.text += line;
            diffs.text += new_line;
            while let Some(length) = hunk_length(rest) {
                let (hunk, after) = rest.split_at(length);
                diffs.text += hunk;
                rest = after;
            }
            git_names = None;
        } else if let Some(names) = git_names
            && EXTENDED_HEADERS.iter().any(|header| content.starts_with(header))
        {
            let moved = ["copy from ", "copy to ", "rename from ", "rename to "];
            diffs.files.extend(moved.iter().find_map(|header| content.strip_prefix(header)));
            // The modes of links (S_IFLNK) and submodules.
            if content.ends_with(" 120000") || content.ends_with(" 160000") {
                diffs.special_file.get_or_insert(common_name(names).unwrap_or(names));
            }
            diffs.text += line;
        } else {
            git_names = None;
        }
    }
    diffs
}

/// Splits the first line, with its newline, from a text.
fn next_line<'a>(rest: &mut &'a str) -> &'a str {
    let length = rest.find('\n').map_or(rest.len(), |index| index + 1);
    let (line, after) = rest.split_at(length);
    *rest = after;
    line
}

/// The name in a line `---` or `+++`, without the first component; `None` for `/dev/null`.
fn header_name(line: &str) -> Option<&str> {
    let name = line.get(4..)?.split('\t').next()?.trim_end();
    Some(name.split_once('/')?.1).filter(|_| name != "/dev/null")
}

/// The name in `a/NAME b/NAME`. An empty new file has no other line with its name.
fn common_name(names: &str) -> Option<&str> {
    let (old, new) = names.split_at_checked(names.len() / 2)?;
    let (old, new) = (old.split_once('/')?.1, new.strip_prefix(' ')?.split_once('/')?.1);
    (old == new).then_some(new)
}

/// Length in bytes of the hunk with which a text begins; `None` if it begins otherwise.
fn hunk_length(text: &str) -> Option<usize> {
    let mut rest = text;
    let mut ranges = next_line(&mut rest).strip_prefix("@@ -")?.split(' ');
    // The number of lines is 1 if it is left out.
    let line_count =
        |range: &str| range.split_once(',').map_or(Some(1), |(_, count)| count.parse::<u64>().ok());
    let mut old_lines = line_count(ranges.next()?)?;
    let mut new_lines = line_count(ranges.next()?.strip_prefix('+')?.trim_end())?;
    while let Some(first) = rest.bytes().next() {
        let is_complete = old_lines == 0 && new_lines == 0;
        match first {
            b'\\' => {}
            b'-' if old_lines > 0 => old_lines -= 1,
            b'+' if new_lines > 0 => new_lines -= 1,
            // Mailers remove the space of an empty line.
            b' ' | b'\t' | b'\r' | b'\n' if !is_complete => {
                old_lines = old_lines.saturating_sub(1);
                new_lines = new_lines.saturating_sub(1);
            }
            _ => break,
        }
        next_line(&mut rest);
    }
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unified_diffs_are_kept() {
        let diff = "diff --git a/x.c b/x.c\nindex 1..2 100644\n--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,3 @@ f\n \
                    one\n--- a\n+++ b\n\n\\ No newline at end of file\n";
        let text = format!(
            "From x\nSubject: s\n\n  --- a/indented\n  +++ b/indented\n  @@ -1 +1 @@\n\n1d\n---\n x.c | 2 \
             +-\n{diff}-- \n2.39\n\n1c\nevil\n.\n*** a/context\n--- b/context\n"
        );
        assert_eq!(
            find_diffs(&text),
            Diffs { text: diff.to_owned(), files: vec!["x.c"; 3], special_file: None }
        );
    }

    #[test]
    fn names_are_from_the_headers_and_not_from_hunks() {
        let text = "--- /dev/null\n+++ b/new file\t2026-01-01\n@@ -0,0 +1 @@\n+x\ndiff --git a/o b/n\nold mode \
                    100644\nnew mode 120000\nrename from o\nrename to n\n";
        let diffs = find_diffs(text);
        assert_eq!(diffs.files, ["new file", "o", "n"]);
        assert_eq!(diffs.special_file, Some("a/o b/n"));
        assert_eq!(find_diffs("index 1..2 120000\nrename from x\n"), Diffs::default());
    }
}
