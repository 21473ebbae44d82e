// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// A member of an archive, as an independent parser of the format reads it.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    inode: u32,
    mode: u32,
    mtime: u32,
    device: (u32, u32),
    name: String,
    content: Vec<u8>,
}

fn parse(mut bytes: &[u8]) -> Vec<Member> {
    assert_eq!(bytes.len() % 512, 0, "padded to whole blocks");
    let whole = bytes.len();
    let mut members = Vec::new();
    loop {
        assert_eq!(&bytes[..6], b"070701");
        let field = |index: usize| {
            let text = std::str::from_utf8(&bytes[6 + index * 8..14 + index * 8]).unwrap();
            u32::from_str_radix(text, 16).unwrap()
        };
        let (size, name_size) = (field(6) as usize, field(11) as usize);
        let name = std::str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap().to_owned();
        assert_eq!(bytes[110 + name_size - 1], 0);
        let start = (110 + name_size).next_multiple_of(4);
        let member = Member {
            inode: field(0),
            mode: field(1),
            mtime: field(5),
            device: (field(9), field(10)),
            content: bytes[start..start + size].to_vec(),
            name,
        };
        bytes = &bytes[(start + size).next_multiple_of(4)..];
        assert_eq!((whole - bytes.len()) % 4, 0);
        if member.name == "TRAILER!!!" {
            assert!(bytes.iter().all(|byte| *byte == 0), "nothing after the trailer");
            return members;
        }
        members.push(member);
    }
}

fn sample() -> Vec<Entry> {
    vec![
        Entry::directory("/dev", 0o755),
        Entry::char_device("dev/console", 0o600, 5, 1),
        Entry::file("init", 0o755, b"\x7fELF?".to_vec()),
        Entry::symlink("/sh", "init"),
        Entry::file("empty", 0o644, Vec::new()),
    ]
}

#[test]
fn an_independent_parser_reads_the_entries() {
    let members = parse(&pack(&sample()));
    let names: Vec<_> = members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["dev", "dev/console", "init", "sh", "empty"]);
    let modes: Vec<_> = members.iter().map(|m| m.mode).collect();
    assert_eq!(modes, [0o040_755, 0o020_600, 0o100_755, 0o120_777, 0o100_644]);
    assert_eq!(members[1].device, (5, 1));
    assert_eq!(members[2].content, b"\x7fELF?");
    assert_eq!(members[3].content, b"init");
    assert_eq!(members.iter().map(|m| m.inode).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert!(members.iter().all(|m| m.mtime == 0));
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    assert_eq!(pack(&sample()), pack(&sample()));
}

#[test]
fn no_entries_are_still_an_archive() {
    assert_eq!(parse(&pack(&[])), []);
}

#[test]
fn cpio_lists_it() {
    use std::io::Write as _;
    let child = std::process::Command::new("cpio")
        .arg("-t")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn();
    // An extra check on machines that have cpio.
    let Ok(mut child) = child else {
        eprintln!("NOT RUN: cpio is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(&pack(&sample())).unwrap();
    let listed = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(listed.stdout).unwrap(), "dev\ndev/console\ninit\nsh\nempty\n");
}
