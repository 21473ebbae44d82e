// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mistakes on the command line: none ends in a panic, a hang, a report or a code that is not
//! documented, and each gets a message that names it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use sudbox_tests::{run, sudbox};

/// Mistakes as bad usage: the command line, its words separated by spaces and quoted where they are
/// empty or have spaces, and a part of the message.
const MISTAKES: &[(&str, &str)] = &[
    ("run --cases", "--cases"),
    ("run --cases zzz", "zzz"),
    ("run --cases arguments/zzz", "has no case `zzz`"),
    ("run --cases \"!zzz\"", "`zzz`"),
    ("run --cases \"[\"", "not a glob"),
    ("run --casse core", "--casse"),
    ("run --repeat 0", "--repeat"),
    ("run --repeat 1001", "--repeat"),
    ("run --cpus 0", "--cpus"),
    ("run --cpus 9", "--cpus"),
    ("run --memory 1", "--memory"),
    ("run --memory 99999999", "--memory"),
    ("run --memory many", "--memory"),
    ("run --timeout 0", "--timeout"),
    ("run --format xml", "--format"),
    ("run --backend xen", "--backend"),
    ("run --arch sparc", "sparc"),
    ("run --flavour fast", "fast"),
    ("run --fuzz 0", "--fuzz"),
    ("run --seed 1", "--fuzz"),
    ("run --append \"-- x\" --cases boot", "--append"),
    ("run 6.13", "6.13"),
    ("run v99.1", "v99.1"),
    ("run 6", "6"),
    ("run v6", "v6"),
    ("run pined", "pined"),
    ("run ./nothing", "./nothing"),
    ("run empty", "is empty"),
    ("run text", "text file"),
    ("run half.gz", "gzip"),
    ("run elf32", "32-bit"),
    ("run loop", "symbolic links"),
    ("run dir", "not a Linux source tree"),
    ("run /dev/zero", "/dev/zero"),
    ("run /dev/null", "/dev/null"),
    ("run deb:", "name of a package"),
    ("run deb:nosuch", "deb:nosuch"),
    ("run deb:99.9", "deb:99.9"),
    ("run running --isolate --cases core", "--isolate"),
    ("run running --gdb", "running"),
    ("run running --append x", "--append"),
    ("run running --arch aarch64", "running"),
    ("run running --flavour full", "--flavour"),
    ("run running --cases boot", "running"),
    ("run --patches nothing", "nothing"),
    ("run --patches bad.patch", "bad.patch"),
    ("run --patches empty", "empty"),
    ("run --patches dir", "dir"),
    ("run --config nothing", "nothing"),
    ("run --config frag", "frag"),
    ("run --config text", "text"),
    ("run --linux nothing v6.12", "nothing"),
    ("run --linux dir v6.12", "dir"),
    ("run --cases absence", "absence"),
    ("run --jobs 0", "--jobs"),
    ("run --jobs x", "--jobs"),
    ("run --quiet --verbose", "--quiet"),
    ("run 6.12 7.3", "7.3"),
    ("matrix", "--kernels"),
    ("matrix --kernels \"\"", "--kernels"),
    ("matrix --kernels running", "running"),
    ("matrix --kernels 6.12 --shard 3/2", "--shard"),
    ("matrix --kernels 6.12 --shard x", "--shard"),
    ("matrix --kernels 6.12 --gdb", "--gdb"),
    ("matrix --kernels 6.12 --arches sparc", "sparc"),
    ("matrix --kernels 6.12 --flavours fast", "fast"),
    ("bench --only zzz", "zzz"),
    ("bench --by hours", "hours"),
    ("bench --gdb", "--gdb"),
    ("bench running --by instructions", "instructions"),
    ("bench --compare running 6.12", "running"),
    ("bench --compare 6.12 6.12 --format html", "--format html"),
    ("bisect", "--linux"),
    ("bisect --linux nothing --good a --bad b", "nothing"),
    ("bisect --linux dir --good a --bad b", "dir"),
    ("bisect --good a --bad b", "a"),
    ("bisect --linux dir --good a", "dir"),
    ("bisect --resume --linux dir", "dir"),
    ("bisect --linux dir --good a --bad b --bench zzz", "dir"),
    ("bisect --threshold 5%", "--bench"),
    ("exec", "PROGRAM"),
    ("exec true", "true"),
    ("exec -- ./nothing", "./nothing"),
    ("exec -- .", "no program `.`"),
    ("exec -- text", "no program `text`"),
    ("exec -- script.sh", "script.sh"),
    ("exec --kernel running -- true", "running"),
    ("exec --timeout 0 -- true", "--timeout"),
    ("sandbox", "Usage"),
    ("sandbox run", "PROGRAM"),
    ("sandbox run nothing", "nothing"),
    ("sandbox run text", "text"),
    ("sandbox run dir", "dir"),
    ("sandbox run /dev/null", "/dev/null"),
    ("sandbox run --engine none text", "--engine"),
    ("kselftest running", "running"),
    ("kselftest ./nothing", "./nothing"),
    ("report", "Usage"),
    ("report show 999999", "999999"),
    ("report show nothing", "nothing"),
    ("report show --format xml", "xml"),
    ("report history", "CASE"),
    ("report history zzz", "zzz"),
    ("report merge", "PART"),
    ("report merge nothing", "nothing"),
    ("report merge text", "text"),
    ("report prune --days x", "--days"),
    ("kernels prune --days -1", "-1"),
    ("kernels delete", "delete"),
    ("completions tcsh", "tcsh"),
    ("man nothing", "nothing"),
    ("doctor --format xml", "--format"),
    ("frobnicate", "frobnicate"),
    ("--frobnicate", "--frobnicate"),
    ("exec -- ./dir", "is a directory"),
    ("exec -- ./text", "not executable"),
    ("exec -- ./script.sh", "/no/such/interpreter"),
    ("run --cpu-model nothing --cases boot", "no such CPU model"),
];

/// Longest that a refusal may take. Some ask the distribution's packages first.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the files that the mistakes name.
fn fill(folder: &Path) {
    let write = |name: &str, content: &[u8]| {
        fs::write(folder.join(name), content).expect("a file");
    };
    write("empty", b"");
    write("text", b"hello\n");
    write("bad.patch", b"not a patch\n");
    write("frag", b"# CONFIG_PROC_FS is not set\n");
    write("half.gz", &[0x1f, 0x8b, 8, 0]);
    let mut elf = b"\x7fELF\x01\x01\x01".to_vec();
    elf.resize(4096, 0);
    write("elf32", &elf);
    write("script.sh", b"#!/no/such/interpreter\n");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(folder.join("script.sh"), executable).expect("a mode");
    fs::create_dir(folder.join("dir")).expect("a folder");
    symlink("loop", folder.join("loop")).expect("a symbolic link");
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    words.extend(any.then_some(word));
    words
}

#[test]
fn each_is_refused_with_a_message_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    fill(folder.path());
    let mut wrong = Vec::new();
    for (line, part) in MISTAKES {
        let mut command = sudbox();
        command.args(words(line)).current_dir(folder.path()).stdin(Stdio::null());
        let ran = run(command);
        let fine = ran.code == 129
            && ran.stdout.is_empty()
            && ran.stderr.contains(part)
            && !ran.stderr.contains("a fault of sudbox")
            && ran.elapsed < LIMIT;
        if !fine {
            wrong.push(format!("sudbox {line}: {part}: {ran:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), MISTAKES.len(), wrong.join("\n"));
}

#[test]
fn words_are_quoted() {
    assert_eq!(words("a --b \"\" \"c d\""), ["a", "--b", "", "c d"]);
}
