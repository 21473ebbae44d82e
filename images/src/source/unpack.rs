// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Unpacks sources, without what no build for the architecture reads.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use super::Part;
use crate::cache::Cache;
use crate::error::{Context as _, Error, is_full_disk};
use crate::git;
use crate::lock::Held;
use crate::monitor::Monitor;
use crate::process::Event;
use crate::{process, source_filter};

/// What the selftests of dispatch are made of, and the headers that they test against.
const SELFTESTS: [&str; 5] = [
    "include/uapi/linux/prctl.h",
    "include/uapi/linux/ptrace.h",
    "tools/testing/selftests/kselftest*.h",
    "tools/testing/selftests/ptrace",
    "tools/testing/selftests/syscall_user_dispatch",
];

/// Unpacks a compressed tarball into `to`.
pub(super) fn tar(
    cache: &Cache,
    archive: &Path,
    to: &Path,
    part: Part,
    monitor: &mut dyn Monitor,
) -> Result<(), Error> {
    fs::create_dir_all(to).context("make", to)?;
    let mut tar = reader(cache, to, part);
    if archive.extension().is_some_and(|extension| extension == "xz") {
        // On all processors, which tar does not do by itself.
        tar.arg("--use-compress-program=xz -T0");
    }
    tar.arg("-f").arg(archive);
    finish(vec![tar], monitor)
}

/// Exports a tree object of a git repository into `to/unpacked/linux`; only reads the repository.
pub(super) fn git(
    cache: &Cache,
    repository: &Path,
    tree: &str,
    to: &Path,
    part: Part,
    monitor: &mut dyn Monitor,
) -> Result<(), Error> {
    monitor.phase(&format!("exporting {tree:.12} from {}", repository.display()));
    let to = to.join("unpacked");
    fs::create_dir_all(&to).context("make", &to)?;
    let mut git = git::command(cache, repository);
    git.args(["archive", "--format=tar", "--prefix=linux/", tree]);
    let mut tar = reader(cache, &to, part);
    tar.args(["-f", "-"]);
    finish(vec![git, tar], monitor)
}

/// The one folder in `parent`.
pub(super) fn only_folder(parent: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(parent).context("read", parent)?;
    let mut folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        _ => Err(Error::Machine("the archive of the source does not hold one folder".into())),
    }
}

/// tar as it unpacks a part, but for the archive, which comes next.
fn reader(cache: &Cache, to: &Path, part: Part) -> std::process::Command {
    let mut tar = process::command("tar", cache.owner);
    tar.arg("-x").arg("-C").arg(to).args(["--no-same-owner", "--anchored", "--wildcards"]);
    match part {
        Part::Build(arch) => {
            tar.args(
                source_filter::tar_patterns(arch)
                    .iter()
                    .map(|pattern| format!("--exclude={pattern}")),
            );
        }
        Part::Selftests => {
            // The first star is the one folder of the archive.
            tar.arg("--no-wildcards-match-slash");
            tar.args(SELFTESTS.map(|name| format!("*/{name}")));
        }
    }
    tar
}

fn finish(commands: Vec<std::process::Command>, monitor: &mut dyn Monitor) -> Result<(), Error> {
    let mut first = None;
    let statuses = process::run(commands, &Held::default(), monitor, &mut |_, event| {
        if let Event::Line(line) = event {
            first.get_or_insert_with(|| line.to_owned());
        }
    })?;
    if statuses.iter().all(ExitStatus::success) {
        return Ok(());
    }
    let said = first.unwrap_or_default();
    if is_full_disk(&said) {
        return Err(Error::DiskFull("unpack the kernel's source, which takes 1 GB".into()));
    }
    Err(Error::Machine(format!("cannot unpack the kernel's source: {said}")))
}
