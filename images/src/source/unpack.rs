// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Unpacks sources, except for the files that a build for the architecture does not read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use crate::arch::Arch;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, SourceError, is_full_disk};
use crate::lock::EntryLock;
use crate::process::{self, Event};
use crate::{git, source_filter};

/// The selftests of dispatch, and the headers that they include.
const SELFTESTS: [&str; 5] = [
    "include/uapi/linux/prctl.h",
    "include/uapi/linux/ptrace.h",
    "tools/testing/selftests/kselftest*.h",
    "tools/testing/selftests/ptrace",
    "tools/testing/selftests/syscall_user_dispatch",
];

/// The part of a source to unpack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The files that a build for this architecture reads.
    Build(Arch),
    /// The selftests of dispatch.
    Selftests,
}

impl Part {
    /// The folder of the cache for this part.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Part::Build(_) => "sources",
            Part::Selftests => "selftests",
        }
    }
}

/// Unpacks a compressed tarball of a release below `parent`. Returns the root of the tree.
pub(super) fn unpack_tarball(
    ctx: &mut Ctx<'_>,
    version: &str,
    archive: &Path,
    parent: &Path,
    part: Part,
) -> Result<PathBuf, Error> {
    ctx.phase(&format!("unpacking linux {version}"));
    let folder = parent.join("unpacked");
    fs::create_dir_all(&folder).context("make", &folder)?;
    let mut tar = tar_command(ctx, &folder, part);
    if archive.extension().is_some_and(|extension| extension == "xz") {
        // Without this option, tar runs xz with one thread.
        tar.arg("--use-compress-program=xz -T0");
    }
    tar.arg("-f").arg(archive);
    run_pipeline(ctx, vec![tar])?;
    only_folder(&folder)
}

/// Unpacks a tree object of a git repository below `parent`. Returns the root of the tree. Only
/// reads the repository.
pub(super) fn unpack_git_tree(
    ctx: &mut Ctx<'_>,
    repository: &Path,
    tree: &str,
    parent: &Path,
    part: Part,
) -> Result<PathBuf, Error> {
    ctx.phase(&format!("exporting {tree:.12} from {}", repository.display()));
    let folder = parent.join("unpacked");
    fs::create_dir_all(&folder).context("make", &folder)?;
    let mut git = git::command(ctx.cache, repository);
    git.args(["archive", "--format=tar", "--prefix=linux/", tree]);
    let mut tar = tar_command(ctx, &folder, part);
    tar.args(["-f", "-"]);
    run_pipeline(ctx, vec![git, tar])?;
    only_folder(&folder)
}

/// The only directory in `parent`.
fn only_folder(parent: &Path) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(parent).context("read", parent)?;
    let mut folders = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    match (folders.next(), folders.next()) {
        (Some(folder), None) => Ok(folder),
        _ => Err(SourceError::NotOneFolder.into()),
    }
}

/// A tar command that unpacks a part of an archive into `folder`. The caller adds the archive.
fn tar_command(ctx: &Ctx<'_>, folder: &Path, part: Part) -> Command {
    let mut tar = ctx.command("tar");
    tar.arg("-x").arg("-C").arg(folder).args(["--no-same-owner", "--anchored", "--wildcards"]);
    match part {
        Part::Build(arch) => {
            tar.args(
                source_filter::tar_patterns(arch)
                    .iter()
                    .map(|pattern| format!("--exclude={pattern}")),
            );
        }
        Part::Selftests => {
            // The first star matches the archive's only top directory.
            tar.arg("--no-wildcards-match-slash");
            tar.args(SELFTESTS.map(|name| format!("*/{name}")));
        }
    }
    tar
}

/// Runs a pipeline whose last command is tar.
fn run_pipeline(ctx: &mut Ctx<'_>, commands: Vec<Command>) -> Result<(), Error> {
    let mut first_line = None;
    let statuses = process::run(commands, &EntryLock::default(), ctx.monitor, &mut |_, event| {
        if let Event::Line(line) = event {
            first_line.get_or_insert_with(|| line.to_owned());
        }
    })?;
    if statuses.iter().all(ExitStatus::success) {
        return Ok(());
    }
    let output = first_line.unwrap_or_default();
    if is_full_disk(&output) {
        return Err(Error::DiskFull("unpack the kernel's source, which takes 1 GB".into()));
    }
    Err(SourceError::CannotUnpack { what: "the kernel's source".to_owned(), output }.into())
}
