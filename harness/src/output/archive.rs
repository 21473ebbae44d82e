// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The runs that left folders in the cache, and the record of outcomes.
//!
//! Failed runs and matrices are kept until `sudbox report prune` removes them. Of all other runs,
//! the newest ten are kept. The record of outcomes, `runs/history.jsonl`, has a line for each
//! verdict and outlives the folders. When it reaches 8 MiB, its older half is dropped.

use anyhow::Context;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use sudbox_images::{Cache, Owner};
use sudbox_report::history::Entry;
use sudbox_report::runs::{Run, RunList, SUMMARY_FILE, Summary};
use sudbox_report::{Verdict, text};

/// Number of runs that are kept besides failed runs and matrices.
const MAX_ORDINARY_RUNS: usize = 10;

/// Largest size of the record of outcomes, in bytes. A verdict on all cases takes 5 KiB.
const MAX_RECORD_BYTES: u64 = 8 << 20;

/// The folder of a run, which may still be running.
pub(crate) struct ArchivedRun {
    pub(crate) path: PathBuf,
    /// Time since 1970 at which the run began.
    pub(crate) start_time: Duration,
    pub(crate) summary: Option<Summary>,
}

impl ArchivedRun {
    fn from_path(path: PathBuf) -> Option<ArchivedRun> {
        // `RunFolder::create` makes the name: nanoseconds since 1970, a hyphen, and the process id.
        let (nanoseconds, _) = path.file_name()?.to_str()?.split_once('-')?;
        let start_time = Duration::from_nanos(nanoseconds.parse().ok()?);
        let summary = fs::read(path.join(SUMMARY_FILE)).ok();
        let summary = summary.and_then(|text| serde_json::from_slice(&text).ok());
        path.is_dir().then_some(ArchivedRun { path, start_time, summary })
    }

    fn is_kept_until_pruned(&self) -> bool {
        self.summary.as_ref().is_some_and(Summary::is_kept)
    }

    /// Whether the run has not ended. A run holds the lock of its folder until it ends.
    fn is_running(&self) -> bool {
        File::open(self.path.join("lock")).is_ok_and(|lock| lock.try_lock().is_err())
    }

    /// Start of the run, as in `2026-11-29 19:43`.
    fn date(&self) -> String {
        let date = humantime::format_rfc3339_seconds(UNIX_EPOCH + self.start_time).to_string();
        date.replace('T', " ").chars().take(16).collect()
    }

    /// The run with this number, as an item of a list for a report.
    fn numbered(self, number: usize) -> Run {
        let folder = text::escaped_line(&self.path.display().to_string());
        Run { number, start_time: self.date(), folder, summary: self.summary }
    }
}

/// The folder of the cache that holds the runs.
pub(crate) fn runs_folder(cache: &Cache) -> PathBuf {
    cache.root().join("runs")
}

/// The runs, the newest first.
pub(crate) fn archived_runs(folder: &Path) -> Vec<ArchivedRun> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut runs: Vec<ArchivedRun> =
        entries.filter_map(|entry| ArchivedRun::from_path(entry.path())).collect();
    runs.sort_by(|first, second| second.path.cmp(&first.path));
    runs
}

/// The runs as a list for a report.
pub(crate) fn run_list(folder: &Path) -> RunList {
    let runs = archived_runs(folder).into_iter().zip(1..);
    RunList::from_runs(runs.map(|(run, number)| run.numbered(number)).collect())
}

/// Removes all but the newest ordinary runs. Errors are ignored, because the next run tries again.
pub(super) fn remove_old_runs(folder: &Path) {
    let ordinary_runs = archived_runs(folder).into_iter().filter(|run| !run.is_kept_until_pruned());
    for run in ordinary_runs.skip(MAX_ORDINARY_RUNS).filter(|run| !run.is_running()) {
        let _ = fs::remove_dir_all(run.path);
    }
}

/// The runs that have ended and began before `limit`, a time since 1970. Removes their folders if
/// `remove`.
///
/// # Errors
/// If a folder cannot be removed.
pub(crate) fn prune(folder: &Path, limit: Duration, remove: bool) -> anyhow::Result<Vec<Run>> {
    let mut old_runs: Vec<(ArchivedRun, usize)> =
        archived_runs(folder).into_iter().zip(1..).collect();
    old_runs.retain(|(run, _)| run.start_time <= limit && !run.is_running());
    if remove {
        for (run, _) in &old_runs {
            fs::remove_dir_all(&run.path)
                .with_context(|| format!("cannot remove {}", run.path.display()))?;
        }
    }
    Ok(old_runs.into_iter().map(|(run, number)| run.numbered(number)).collect())
}

/// Adds the outcomes of a verdict to the record in `folder`, the folder of the runs.
///
/// # Errors
/// If the record cannot be written.
pub(crate) fn append_to_record(
    verdict: &Verdict,
    folder: &Path,
    owner: Owner,
) -> anyhow::Result<()> {
    let Some(entry) = Entry::from_verdict(verdict) else { return Ok(()) };
    append_line(&record_file(folder), &entry.to_line(), owner)
        .with_context(|| format!("cannot write {}", record_file(folder).display()))
}

/// The entries of the record, the oldest first.
pub(crate) fn read_record(folder: &Path) -> Vec<Entry> {
    let text = fs::read(record_file(folder)).unwrap_or_default();
    Entry::parse_lines(&String::from_utf8_lossy(&text))
}

fn record_file(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

/// Appends a line. Of a file that is longer than [`MAX_RECORD_BYTES`], removes the older half first.
fn append_line(path: &Path, line: &str, owner: Owner) -> std::io::Result<()> {
    let _impersonation = owner.impersonate();
    let mut file = File::options().create(true).read(true).append(true).open(path)?;
    file.lock()?;
    if file.metadata()?.len() > MAX_RECORD_BYTES {
        let mut text = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut text)?;
        let newer_half = &text[text.len() / 2..];
        let complete_lines = newer_half.iter().position(|byte| *byte == b'\n').map(|end| end + 1);
        file.set_len(0)?;
        file.write_all(&newer_half[complete_lines.unwrap_or(newer_half.len())..])?;
    }
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests;
