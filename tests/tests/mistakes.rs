// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Mistakes on the command line. Each ends with exit code 129 and a message that names the mistake,
//! without a panic, a hang or a report.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use sudbox_tests::{git, run, sudbox};

/// Command lines with a mistake, each with a part of the message. The words of a line are separated by
/// spaces, and quoted if they are empty or have spaces.
const MISTAKES: &[(&str, &str)] = &[
    ("run --cases", "a value is required for '--cases"),
    ("run --cases zzz", "no case is called `zzz`"),
    ("run --cases arguments/zzz", "has no case `zzz`"),
    ("run --cases \"!zzz\"", "no case is called `zzz`"),
    ("run --cases \"[\"", "not a glob"),
    ("run --casse core", "unexpected argument '--casse'"),
    ("run --repeat 0", "'0' for '--repeat"),
    ("run --repeat 1001", "'1001' for '--repeat"),
    ("run --cpus 0", "'0' for '--cpus"),
    ("run --cpus 9", "'9' for '--cpus"),
    ("run --memory 1", "'1' for '--memory"),
    ("run --memory 99999999", "'99999999' for '--memory"),
    ("run --memory many", "'many' for '--memory"),
    ("run --timeout 0", "'0' for '--timeout"),
    ("run --format xml", "'xml' for '--format"),
    ("run --backend xen", "'xen' for '--backend"),
    ("run --arch sparc", "architecture sparc: this version"),
    ("run --flavour fast", "flavour fast: unknown; use one of"),
    ("run --fuzz 0", "'0' for '--fuzz"),
    ("run --seed 1", "--fuzz <N>"),
    ("run --append \"-- x\" --cases boot", "leave the `--` out"),
    ("run 6.13", "kernel 6.13: no source has"),
    ("run v99.1", "kernel v99.1: no source has"),
    ("run 6", "kernel 6: neither a version nor a file"),
    ("run v6", "kernel v6: neither"),
    ("run pined", "kernel pined: neither"),
    ("run ./nothing", "kernel ./nothing: there is no such file"),
    ("run empty", "is empty"),
    ("run text", "text file"),
    ("run half.gz", "gzip"),
    ("run elf32", "32-bit"),
    ("run loop", "symbolic links"),
    ("run dir", "not a Linux source tree"),
    ("run /dev/zero", "/dev/zero is not a regular file"),
    ("run /dev/null", "/dev/null is not a regular file"),
    ("run deb:", "name of a package"),
    ("run deb:nosuch", "deb:nosuch: the distribution has no such package"),
    ("run deb:99.9", "deb:99.9: the distribution has no such package"),
    ("run running --isolate --cases core", "--isolate is about VMs"),
    ("run running --gdb", "--gdb is about VMs"),
    ("run running --append x", "--append is about VMs"),
    ("run running --arch aarch64", "--arch aarch64: the running kernel"),
    ("run running --flavour full", "--flavour is a build option"),
    ("run running --cases boot", "the running kernel has booted already"),
    ("run --patches nothing", "patches nothing: No such file"),
    ("run --patches bad.patch", "patches bad.patch: it changes no file"),
    ("run --patches empty", "patches empty: it changes no file"),
    ("run --patches dir", "patches dir: it changes no file"),
    ("run --config nothing", "fragment nothing: cannot be read"),
    ("run --config frag", "fragment frag takes out what sudbox needs"),
    ("run --config text", "fragment text: line 1 is not a setting"),
    ("run --linux nothing v6.12", "/nothing: not a git repository"),
    ("run --linux dir v6.12", "/dir: not a git repository"),
    ("run --cases absence", "is about kernels without dispatch"),
    ("run --jobs 0", "'0' for '--jobs"),
    ("run --jobs x", "'x' for '--jobs"),
    ("run --quiet --verbose", "'--quiet' cannot be used with '--verbose'"),
    ("run 6.12 7.3", "unexpected argument '7.3'"),
    ("matrix", "--kernels <KERNELS>"),
    ("matrix --kernels \"\"", "--kernels names no kernel"),
    ("matrix --kernels running", "a matrix runs kernels in VMs only"),
    ("matrix --kernels 6.12 --shard 3/2", "'3/2' for '--shard"),
    ("matrix --kernels 6.12 --shard x", "'x' for '--shard"),
    ("matrix --kernels 6.12 --gdb", "--gdb is about one VM"),
    ("matrix --kernels 6.12 --arches sparc", "architecture sparc"),
    ("matrix --kernels 6.12 --flavours fast", "flavour fast: unknown"),
    ("bench --only zzz", "no benchmark is called `zzz`"),
    ("bench --by hours", "'hours' for '--by"),
    ("bench --gdb", "--gdb stops the guest"),
    ("bench running --by instructions", "the running kernel is not in it"),
    ("bench --compare running 6.12", "the running kernel is not in a VM"),
    ("bench --compare 6.12 6.12 --format html", "--format html"),
    ("record", "<KERNEL>"),
    ("record running", "a kernel is recorded in a VM"),
    ("record 6.12 --append quiet", "--gdb and --append do not apply"),
    ("diff", "<KERNEL>"),
    ("diff 6.12", "two kernels are compared"),
    ("diff 6.12 7.3 7.2", "'7.2'"),
    ("diff 6.12 running", "the running kernel is not in a VM"),
    ("diff 6.12 7.3 --cases absence", "no case is left that records anything"),
    ("diff 6.12 7.3 --cases zzz", "no case is called `zzz`"),
    ("diff 6.12 7.3 --format html", "'html' for '--format"),
    ("diff 6.12 7.3 --gdb", "--gdb stops the guest"),
    ("campaign", "--hours"),
    ("campaign --hours 0", "'0' for '--hours"),
    ("campaign --hours -1", "--hours"),
    ("campaign --hours 1 --shard 1/2", "--seed"),
    ("campaign --hours 1 --gdb", "--gdb is about one VM"),
    ("campaign running --hours 1", "in VMs only"),
    ("bisect", "--linux (LINUX=) is missing"),
    ("bisect --linux nothing --good a --bad b", "/nothing: not a git repository"),
    ("bisect --linux dir --good a --bad b", "/dir: not a git repository"),
    ("bisect --good a --bad b", "--linux (LINUX=) is missing"),
    ("bisect --linux repository --good HEAD", "--bad (BAD=) is missing"),
    ("bisect --resume --linux dir", "/dir: not a git repository"),
    (
        "bisect --linux repository --good HEAD --bad HEAD --bench zzz",
        "no benchmark is called `zzz`",
    ),
    ("bisect --linux repository --good a --bad HEAD", "git knows no commit `a` there"),
    ("bisect --linux repository --good HEAD --bad HEAD", "is not a Linux source tree"),
    ("bisect --threshold 5%", "--bench <NAME>"),
    ("exec", "<PROGRAM>"),
    ("exec true", "unexpected argument 'true'"),
    ("exec -- ./nothing", "./nothing: no such program"),
    ("exec -- .", "no program `.`"),
    ("exec -- text", "no program `text`"),
    ("exec -- script.sh", "did you mean `./script.sh`?"),
    ("exec --kernel running -- true", "runs programs without sudbox"),
    ("exec --format table -- true", "'table' for '--format"),
    ("kernels --format xml prune", "'xml' for '--format"),
    ("exec --timeout 0 -- true", "'0' for '--timeout"),
    ("sandbox", "Usage: sudbox sandbox"),
    ("sandbox run", "<PROGRAM>"),
    ("sandbox run nothing", "nothing cannot be read"),
    ("sandbox run text", "text: it is not a PE file"),
    ("sandbox run dir", "dir is not a regular file"),
    ("sandbox run /dev/null", "/dev/null is not a regular file"),
    ("sandbox run --engine none text", "'none' for '--engine"),
    ("kselftest running", "runs programs without sudbox"),
    ("kselftest ./nothing", "kernel ./nothing: there is no such file"),
    ("report", "Usage: sudbox report"),
    ("report show 999999", "there is no run `999999`"),
    ("report show nothing", "there is no run `nothing`"),
    ("report show --format xml", "xml"),
    ("report history", "<CASE>"),
    ("report history zzz", "no case is called `zzz`"),
    ("report merge", "<PART>"),
    ("report merge nothing", "nothing is no part of a matrix"),
    ("report merge text", "text is no part of a matrix"),
    ("report prune --days x", "'x' for '--days"),
    ("kernels prune --days -1", "unexpected argument '-1'"),
    ("kernels delete", "unrecognized subcommand 'delete'"),
    ("completions tcsh", "'tcsh' for '[SHELL]'"),
    ("man nothing", "no verb is called `nothing`"),
    ("doctor --format xml", "'xml' for '--format"),
    ("frobnicate", "unrecognized subcommand 'frobnicate'"),
    ("--frobnicate", "unexpected argument '--frobnicate'"),
    ("exec -- ./dir", "is a directory"),
    ("exec -- ./text", "not executable"),
    ("exec -- ./script.sh", "./script.sh: its interpreter: /no/such/interpreter"),
    ("run --cpu-model nothing --cases boot", "no such CPU model"),
    ("run --linux repository nosuch", "has no such commit, branch or tag"),
    ("run --linux repository HEAD", "its Makefile cannot be read"),
    ("run --cases \"selector !selector\"", "selects no case"),
    ("run --cases grid/at-zz", "has no case `at-zz`"),
    ("run --cases \",\"", "names no case"),
    ("run --fuzz x", "'x' for '--fuzz"),
    ("run --exact v99.1", "kernel v99.1: no source has"),
    ("run running --patches bad.patch", "--patches is a build option"),
    ("run running --exact", "--exact is a build option"),
    ("run running --console", "--console is about VMs"),
    ("run running --backend qemu", "--backend is about VMs"),
    ("run fifo", "fifo is not a regular file"),
    ("run fifo --list", "fifo is not a regular file"),
    (
        "run --list --format junit",
        "--list has no form junit: it has --format table and --format json",
    ),
    ("matrix --kernels 6.12 --cases zzz", "no case is called `zzz`"),
    ("matrix --kernels banana", "kernel banana: neither"),
    ("matrix --kernels \"6.12 fifo\"", "fifo is not a regular file"),
    ("bisect --linux repository --good HEAD --bad HEAD --confirm 101", "'101' for '--confirm"),
    ("bench banana", "kernel banana: neither"),
    ("run --config fifo", "fragment fifo: cannot be read: a FIFO"),
    ("run --patches fifo", "a FIFO to which nothing writes"),
    ("run --linux fifo v6.12", "/fifo: not a git repository"),
    ("bench fifo", "fifo is not a regular file"),
    ("bench --compare banana 6.12", "kernel banana: neither"),
    ("bench running --patches bad.patch", "--patches is a build option"),
    ("exec --kernel banana -- true", "kernel banana: neither"),
    ("exec --kernel fifo -- true", "fifo is not a regular file"),
    ("exec --cpus 0 -- true", "'0' for '--cpus"),
    ("exec -- ./fifo", "./fifo is not a regular file"),
    ("sandbox run fifo", "fifo is not a regular file"),
    ("sandbox run --kernel fifo text", "text: it is not a PE file"),
    ("kselftest deb:6.12", "has no selftests"),
    ("kselftest fifo", "fifo is not a regular file"),
    ("report list --format pdf", "'pdf' for '--format"),
    ("report history \"[\"", "not a glob"),
    ("report history core --format pdf", "'pdf' for '--format"),
    ("report prune --days -1", "unexpected argument '-1'"),
    ("report merge dir", "dir/matrix.json is no part of a matrix"),
    ("report merge fifo", "a FIFO to which nothing writes"),
    ("bisect --linux fifo --good a --bad b", "/fifo: not a git repository"),
    ("report show fifo", "there is no run `fifo`"),
    ("kernels --format xml", "'xml' for '--format"),
    ("kernels prune --days 4294967296", "'4294967296' for '--days"),
    ("completions", "Usage: sudbox completions"),
    ("completions bash --install", "cannot be used with '--install'"),
    ("completions elvish zsh", "unexpected argument 'zsh'"),
    ("doctor more", "unexpected argument 'more'"),
    ("setup more", "unexpected argument 'more'"),
    ("man run more", "unexpected argument 'more'"),
];

/// Maximum time of a refusal. Some refusals look for a package of the distribution first.
const LIMIT: Duration = Duration::from_secs(60);

/// Makes the files that are named in [`MISTAKES`].
fn write_files(folder: &Path) {
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
    let fifo = Command::new("mkfifo").arg(folder.join("fifo")).status();
    assert!(fifo.expect("mkfifo").success());
    // A git repository that is not of Linux.
    let repository = folder.join("repository");
    fs::create_dir(&repository).expect("a folder");
    git(&repository, &["init", "-q"]);
    git(&repository, &["commit", "-q", "--allow-empty", "-m", "x"]);
}

/// The words of a command line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut in_word) =
        (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (is_quoted, in_word) = (!is_quoted, true),
            ' ' if !is_quoted => {
                if in_word {
                    words.push(std::mem::take(&mut word));
                }
                in_word = false;
            }
            c => {
                word.push(c);
                in_word = true;
            }
        }
    }
    words.extend(in_word.then_some(word));
    words
}

#[test]
fn each_mistake_is_refused_with_a_message_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    write_files(folder.path());
    let mut failures = Vec::new();
    for (line, message_part) in MISTAKES {
        let mut command = sudbox();
        command.args(words(line)).current_dir(folder.path()).stdin(Stdio::null());
        let result = run(command);
        let is_refused = result.code == 129
            && result.stdout.is_empty()
            && result.stderr.contains(message_part)
            && !result.stderr.contains("a fault of sudbox")
            && result.elapsed < LIMIT;
        if !is_refused {
            failures.push(format!("sudbox {line}: {message_part}: {result:?}"));
        }
    }
    let (count, total) = (failures.len(), MISTAKES.len());
    assert!(failures.is_empty(), "{count} of {total}:\n{}", failures.join("\n"));
}

#[test]
fn quoted_words_may_be_empty_or_have_spaces() {
    assert_eq!(words("a --b \"\" \"c d\""), ["a", "--b", "", "c d"]);
}
