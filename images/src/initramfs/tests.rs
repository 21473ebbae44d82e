// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;

/// A member of an archive.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    inode: u32,
    mode: u32,
    mtime: u32,
    device: (u32, u32),
    name: String,
    content: Vec<u8>,
}

/// Parses an archive, without code of the packer.
fn parse(mut bytes: &[u8]) -> Vec<Member> {
    assert_eq!(bytes.len() % 512, 0, "padded to whole blocks");
    let archive_size = bytes.len();
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
        assert_eq!((archive_size - bytes.len()) % 4, 0);
        if member.name == "TRAILER!!!" {
            assert!(bytes.iter().all(|byte| *byte == 0), "only padding follows the trailer");
            return members;
        }
        members.push(member);
    }
}

/// Entries of every type.
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
fn packed_entries_are_parsed_again() {
    let members = parse(&pack(&sample()));
    let names: Vec<_> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, ["dev", "dev/console", "init", "sh", "empty"]);
    let modes: Vec<_> = members.iter().map(|member| member.mode).collect();
    assert_eq!(modes, [0o040_755, 0o020_600, 0o100_755, 0o120_777, 0o100_644]);
    assert_eq!(members[1].device, (5, 1));
    assert_eq!(members[2].content, b"\x7fELF?");
    assert_eq!(members[3].content, b"init");
    let inodes: Vec<_> = members.iter().map(|member| member.inode).collect();
    assert_eq!(inodes, [1, 2, 3, 4, 5]);
    assert!(members.iter().all(|member| member.mtime == 0));
}

#[test]
fn the_same_entries_give_the_same_bytes() {
    assert_eq!(pack(&sample()), pack(&sample()));
}

#[test]
fn an_archive_without_entries_is_valid() {
    assert_eq!(parse(&pack(&[])), []);
}

#[test]
fn cpio_lists_the_entries() {
    use std::io::Write as _;
    let child = std::process::Command::new("cpio")
        .arg("-t")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn();
    // The test needs cpio; `packed_entries_are_parsed_again` does not.
    let Ok(mut child) = child else {
        eprintln!("NOT RUN: cpio is not installed");
        return;
    };
    child.stdin.take().unwrap().write_all(&pack(&sample())).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "dev\ndev/console\ninit\nsh\nempty\n");
}
