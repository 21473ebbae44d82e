// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The patches of pinned kernels, and the patches of `PATCHES=`. sudbox applies patches to the
//! mirror of a source, never to the source itself.

mod unified;

use std::collections::HashSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::ctx::Ctx;
use crate::error::{Context as _, Error, PatchError};
use crate::folder::Folder;
use crate::hash::hex;
use crate::lock::EntryLock;
use crate::paths::{expand_home, read_text};
use crate::process;
use crate::regular_file;
use unified::find_diffs;

/// Maximum size of a file that a patch changes, in bytes. The largest of Linux, headers of amdgpu,
/// have 20 MiB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// One patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// Name for messages: the file, and the subject if it is from a mail.
    pub(crate) label: String,
    /// A unified diff, which may be surrounded by other text.
    pub(crate) text: String,
}

/// The patches of a request in the order of application.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    patches: Vec<Patch>,
    /// Paths of the files that the patches change, relative to the root of the tree.
    files: HashSet<String>,
}

impl Patches {
    /// Reads the patches of `PATCHES=` (files, mailboxes, and folders of them). They are applied
    /// after the patches of the pinned kernel.
    ///
    /// # Errors
    /// [`PatchError`] if a file cannot be read, has no diff, changes files outside the tree, or makes
    /// a symbolic link.
    pub(crate) fn read(pinned: Vec<Patch>, paths: &[PathBuf]) -> Result<Patches, Error> {
        let mut patches = pinned;
        for path in paths {
            let unreadable = |reason| PatchError::Unreadable { path: path.clone(), reason };
            let root = fs::canonicalize(expand_home(path)).map_err(unreadable)?;
            let earlier_count = patches.len();
            for file in patch_files(&root).map_err(unreadable)? {
                let name = file.strip_prefix(&root).unwrap_or(&root).display().to_string();
                let label = match name.is_empty() {
                    true => root.display().to_string(),
                    false => format!("{}/{name}", root.display()),
                };
                let text = read_text(&file).map_err(|reason| {
                    let (path, label) = (path.clone(), label.clone());
                    PatchError::FileUnreadable { path, label, reason }
                })?;
                patches.extend(split_mailbox(&label, &text)?);
            }
            if patches.len() == earlier_count {
                return Err(PatchError::Empty { path: path.clone() }.into());
            }
        }
        let mut files = HashSet::new();
        for Patch { label, text } in &patches {
            let is_inside_tree = |name: &&str| {
                let mut parts = Path::new(name).components();
                parts.all(|part| matches!(part, Component::Normal(_)))
            };
            let diffs = find_diffs(text);
            if let Some(file) = diffs.special_file {
                let (label, file) = (label.clone(), file.to_owned());
                return Err(PatchError::NotRegular { label, file }.into());
            }
            let changed_names = diffs.files;
            if let Some(name) = changed_names.iter().find(|name| !is_inside_tree(name)) {
                let (label, file) = (label.clone(), (*name).to_owned());
                return Err(PatchError::OutsideTree { label, file }.into());
            }
            files.extend(changed_names.into_iter().map(str::to_owned));
        }
        Ok(Patches { patches, files })
    }

    /// Whether there are no patches.
    pub(crate) fn is_empty(&self) -> bool {
        self.patches.is_empty()
    }

    /// Paths of the files that the patches change, relative to the root of the tree.
    pub(crate) fn files(&self) -> &HashSet<String> {
        &self.files
    }

    /// Digest of the patches' texts.
    pub(crate) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for Patch { text, .. } in &self.patches {
            hasher.update(text);
        }
        hex(&hasher.finalize()[..16])
    }

    /// A summary to append to the label of the source.
    pub(crate) fn label(&self) -> String {
        match self.patches.len() {
            0 => String::new(),
            1 => format!(", with {}", self.patches[0].label),
            count => format!(", with {count} patches"),
        }
    }

    /// Applies the patches to copies of the files that they change.
    ///
    /// # Errors
    /// [`PatchError::DoesNotApply`]; [`PatchError::NotRegular`] and [`PatchError::Undeclared`], because
    /// the tree and the patches may be a stranger's.
    pub(crate) fn apply(&self, ctx: &mut Ctx<'_>, tree: &Path) -> Result<PatchedFiles<'_>, Error> {
        let directory = ctx.cache.temporary_directory()?;
        let staging = Folder::new(directory.path().to_owned());
        let tree = Folder::new(tree.to_owned());
        for file in &self.files {
            self.copy_original(&tree, &staging, file)?;
        }
        let folder = ctx.cache.temporary_directory()?;
        let file = folder.path().join("patch");
        for Patch { label, text } in &self.patches {
            fs::write(&file, find_diffs(text).text).context("write", &file)?;
            let mut patch = ctx.command("patch");
            // Without fuzz, patch(1) applies no hunk whose context differs.
            patch.args(["-p1", "--batch", "--forward", "--fuzz=0", "--no-backup-if-mismatch"]);
            patch.arg("-d");
            patch.arg(staging.path()).arg("-i").arg(&file);
            let (status, output) =
                process::status_and_lines(patch, &EntryLock::default(), ctx.monitor)?;
            if !status.success() {
                let (label, output) = (label.clone(), output.join("; "));
                return Err(PatchError::DoesNotApply { label, output }.into());
            }
            // The next patch must not be applied through a link that this patch made.
            self.check_staging(staging.path(), label)?;
        }
        Ok(PatchedFiles { patches: self, staging, _directory: directory })
    }

    /// Copies a file of the tree to the staging folder, if the tree has the file.
    fn copy_original(&self, tree: &Folder, staging: &Folder, file: &str) -> Result<(), Error> {
        let original = match tree.open(file) {
            Ok(original) => original,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(self.refusal(file, "read", tree, error)),
        };
        let copy_into = |mut copy: fs::File| {
            copy.set_permissions(original.metadata()?.permissions())?;
            let content = regular_file::read_bounded(original, MAX_FILE_BYTES)?;
            copy.write_all(&content)
        };
        staging
            .create_with_parents(file)
            .and_then(copy_into)
            .map_err(|error| self.refusal(file, "copy", tree, error))
    }

    /// Refuses links and special files in the staging folder, and files whose names
    /// [`find_diffs`] did not find, such as names in quotes.
    fn check_staging(&self, staging: &Path, label: &str) -> Result<(), Error> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let path = staging.join(&folder);
            for entry in fs::read_dir(&path).context("read", &path)? {
                let entry = entry.context("read", &path)?;
                let name = folder.join(entry.file_name());
                let file_type = entry.file_type().context("read", &path)?;
                let (label, file) = (label.to_owned(), name.display().to_string());
                if file_type.is_dir() {
                    folders.push(name);
                } else if !file_type.is_file() {
                    return Err(PatchError::NotRegular { label, file }.into());
                } else if !name.to_str().is_some_and(|name| self.files.contains(name)) {
                    return Err(PatchError::Undeclared { label, file }.into());
                }
            }
        }
        Ok(())
    }

    /// The error of a file operation in `folder`. If the file is a link or special file, the error
    /// names the first patch that changes it.
    fn refusal(
        &self,
        file: &str,
        operation: &'static str,
        folder: &Folder,
        error: io::Error,
    ) -> Error {
        let is_changed_by = |patch: &&Patch| find_diffs(&patch.text).files.contains(&file);
        match self.patches.iter().find(is_changed_by) {
            Some(patch) if error.kind() == io::ErrorKind::InvalidInput => {
                let (label, file) = (patch.label.clone(), file.to_owned());
                PatchError::NotRegular { label, file }.into()
            }
            _ => Error::io(operation, &folder.path().join(file), error),
        }
    }
}

/// Patched copies of the files that the patches change, in a temporary directory.
pub(crate) struct PatchedFiles<'a> {
    patches: &'a Patches,
    staging: Folder,
    _directory: tempfile::TempDir,
}

impl PatchedFiles<'_> {
    /// Copies the files into `src`. A file with unchanged content keeps its mtime. Returns a digest
    /// of the files; empty without patches.
    ///
    /// # Errors
    /// [`PatchError::NotRegular`] if a link is in the way: nothing is read or written through it.
    pub(crate) fn copy_to(&self, src: &Path) -> Result<String, Error> {
        if self.patches.files.is_empty() {
            return Ok(String::new());
        }
        let src = Folder::new(src.to_owned());
        let mut files: Vec<&String> = self.patches.files.iter().collect();
        files.sort_unstable();
        let mut hasher = Sha256::new();
        for file in files {
            self.copy_file_to(&src, file, &mut hasher)
                .map_err(|error| self.patches.refusal(file, "write", &src, error))?;
        }
        Ok(hex(&hasher.finalize()[..16]))
    }

    /// Copies one file into `src`, or removes it there, and adds it to the digest.
    fn copy_file_to(&self, src: &Folder, file: &str, hasher: &mut Sha256) -> io::Result<()> {
        let patched = match self.staging.open(file) {
            Ok(patched) => patched,
            Err(error) if is_absent(&error) => {
                return match src.remove(file) {
                    Err(error) if !is_absent(&error) => Err(error),
                    _ => Ok(()),
                };
            }
            Err(error) => return Err(error),
        };
        // Copy the mode too, because scripts must stay executable.
        let permissions = patched.metadata()?.permissions();
        let content = regular_file::read_bounded(patched, MAX_FILE_BYTES)?;
        hasher.update(file);
        hasher.update(&content);
        if src.read(file, MAX_FILE_BYTES).ok().as_ref() != Some(&content) {
            let mut copy = src.create_with_parents(file)?;
            copy.write_all(&content)?;
            copy.set_permissions(permissions)?;
        }
        Ok(())
    }
}

/// Whether a file cannot be opened because there is none, or a folder with its name.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::IsADirectory)
}

/// The file itself, or the patches and mailboxes in a folder, sorted by name.
fn patch_files(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !root.is_dir() {
        return Ok(vec![root.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default();
        if ["patch", "diff", "mbox", "mbx", "eml"].iter().any(|known| extension == *known) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The patches in a file: the file itself, or each mail of a mailbox that contains a diff, which
/// cover letters and replies do not.
fn split_mailbox(label: &str, text: &str) -> Result<Vec<Patch>, PatchError> {
    if !text.starts_with("From ") {
        let patch = Patch { label: label.to_owned(), text: text.to_owned() };
        return Ok(Some(patch).filter(|patch| is_diff(&patch.text)).into_iter().collect());
    }
    let mut mails: Vec<String> = Vec::new();
    let mut after_empty_line = true;
    for line in text.split_inclusive('\n') {
        match mails.last_mut() {
            Some(mail) if !(after_empty_line && line.starts_with("From ")) => mail.push_str(line),
            _ => mails.push(line.to_owned()),
        }
        after_empty_line = line.trim_end_matches(['\r', '\n']).is_empty();
    }
    let mut patches = Vec::new();
    for mail in mails {
        let header = mail.split("\n\n").next().unwrap_or_default();
        let subject =
            mail_header(header, "Subject").unwrap_or_else(|| "a letter without a subject".into());
        let label = format!("{label}: {subject}");
        let encoding = mail_header(header, "Content-Transfer-Encoding").unwrap_or_default();
        if ["base64", "quoted-printable"].contains(&encoding.to_ascii_lowercase().as_str()) {
            return Err(PatchError::Encoded { label, encoding });
        }
        if is_diff(&mail) {
            patches.push(Patch { label, text: mail });
        }
    }
    Ok(patches)
}

/// A header field of a mail, unfolded (RFC 5322, section 2.2.3).
fn mail_header(header: &str, name: &str) -> Option<String> {
    let mut lines = header.lines();
    let first = lines.by_ref().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let continuation_lines = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(
        std::iter::once(first)
            .chain(continuation_lines)
            .map(str::trim)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// Whether a text contains a diff.
fn is_diff(text: &str) -> bool {
    !find_diffs(text).files.is_empty()
}

#[cfg(test)]
mod tests;
