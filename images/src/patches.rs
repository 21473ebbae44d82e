// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The patches of pinned kernels, and the patches of `PATCHES=`. sudbox applies patches to the
//! mirror of a source, never to the source itself.

use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::ctx::Ctx;
use crate::error::{Context as _, Error, PatchError};
use crate::hash::hex;
use crate::lock::EntryLock;
use crate::paths::{expand_home, read_text};
use crate::process;

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
    /// [`PatchError`] if a file cannot be read, has no diff, or changes files outside the tree.
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
            let changed_names = changed_files(text);
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
    /// [`PatchError::DoesNotApply`].
    pub(crate) fn apply(&self, ctx: &mut Ctx<'_>, tree: &Path) -> Result<PatchedFiles<'_>, Error> {
        let staging = ctx.cache.temporary_directory()?;
        for file in &self.files {
            let (original, copy) = (tree.join(file), staging.path().join(file));
            if original.is_file() {
                make_parent(&copy)?;
                fs::copy(&original, &copy).context("write", &copy)?;
            }
        }
        let folder = ctx.cache.temporary_directory()?;
        let file = folder.path().join("patch");
        for Patch { label, text } in &self.patches {
            fs::write(&file, text).context("write", &file)?;
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
        }
        Ok(PatchedFiles { files: &self.files, staging })
    }
}

/// Patched copies of the files that the patches change, in a temporary directory.
pub(crate) struct PatchedFiles<'a> {
    files: &'a HashSet<String>,
    staging: tempfile::TempDir,
}

impl PatchedFiles<'_> {
    /// Copies the files into `src`. A file with unchanged content keeps its mtime. Returns a digest
    /// of the files; empty without patches.
    pub(crate) fn copy_to(&self, src: &Path) -> Result<String, Error> {
        if self.files.is_empty() {
            return Ok(String::new());
        }
        let mut files: Vec<&String> = self.files.iter().collect();
        files.sort_unstable();
        let mut hasher = Sha256::new();
        for file in files {
            let (patched, copy) = (self.staging.path().join(file), src.join(file));
            let Ok(content) = fs::read(&patched) else {
                if copy.exists() {
                    fs::remove_file(&copy).context("remove", &copy)?;
                }
                continue;
            };
            hasher.update(file);
            hasher.update(&content);
            if fs::read(&copy).ok().as_ref() != Some(&content) {
                make_parent(&copy)?;
                // Copy the mode too, because scripts must stay executable.
                let mode = fs::metadata(&patched).context("read", &patched)?.permissions();
                fs::write(&copy, &content)
                    .and_then(|()| fs::set_permissions(&copy, mode))
                    .context("write", &copy)?;
            }
        }
        Ok(hex(&hasher.finalize()[..16]))
    }
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
    !changed_files(text).is_empty()
}

/// Paths of the files that a diff changes, from its lines `---`, `+++`, `rename from` and `rename
/// to`.
fn changed_files(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let hunks = lines
        .windows(2)
        .filter_map(|pair| Some([pair[0].strip_prefix("--- ")?, pair[1].strip_prefix("+++ ")?]));
    let changed_paths = hunks.flatten().filter_map(|field| {
        let name = field.split('\t').next().unwrap_or_default().trim_end();
        // Strip the first component, `a` or `b`.
        name.split_once('/').map(|(_, name)| name).filter(|_| name != "/dev/null")
    });
    let renamed_paths = lines.iter().filter_map(|line| {
        line.strip_prefix("rename from ").or_else(|| line.strip_prefix("rename to "))
    });
    changed_paths.chain(renamed_paths).collect()
}

/// Creates the parent directory of a file.
fn make_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).context("make", parent)
}

#[cfg(test)]
mod tests;
