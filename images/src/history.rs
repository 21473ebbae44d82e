// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Builds commits of the user's git repository one after the other, for bisections.
//!
//! sudbox only reads the user's repository, and adds no worktree, ref or object. A bare repository
//! in the cache uses the user's objects (gitrepository-layout(5), "alternates") and has its own
//! index and work tree. Each commit is checked out over the previous one, so that make rebuilds
//! only the files that differ.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use sha2::{Digest as _, Sha256};

use crate::build::{BuildOptions, Recipe, SourceIdentity};
use crate::cache::Cache;
use crate::ctx::Ctx;
use crate::error::{Context as _, Error, GitError};
use crate::git;
use crate::hash::hex;
use crate::lock::{EntryLock, LockMode};
use crate::monitor::Monitor;
use crate::packages::Tool;
use crate::paths::expand_home;
use crate::paths::name_for_cache;
use crate::types::{KernelImage, Request};
use crate::{cache, command, mirror, process, source_filter, toolchain};

/// The user's repository, and the work tree in the cache from which its commits are built.
#[derive(Debug)]
pub struct History<'a> {
    cache: &'a Cache,
    /// The directory that the user named.
    repository: PathBuf,
    /// The repository's directory of objects.
    objects: PathBuf,
    /// The repository's object format: `sha1` or `sha256`.
    object_format: String,
    /// Key of the entry in the cache.
    key: String,
    lock: EntryLock,
    _bisection_lock: EntryLock,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Commit {
    /// Full object name.
    pub id: String,
    /// Object name of the tree.
    pub tree: String,
    /// Object names of the parents.
    pub parents: Vec<String>,
    /// Name and mail address of the author.
    pub author: String,
    /// Author date in the author's time zone (ISO 8601).
    pub date: String,
    /// First line of the message.
    pub subject: String,
}

impl<'a> History<'a> {
    /// Opens the repository that contains this directory. Writes nothing.
    ///
    /// # Errors
    /// [`GitError`] if there is no repository, or if it is a shallow or partial clone;
    /// [`Error::ToolsMissing`] without git.
    pub fn open(cache: &'a Cache, repository: &Path) -> Result<History<'a>, Error> {
        let missing = toolchain::missing_programs(&[toolchain::GIT]);
        if !missing.is_empty() {
            return Err(toolchain::missing_tools_error(&missing));
        }
        let _impersonation = cache.owner.impersonate();
        let repository =
            std::path::absolute(expand_home(repository)).unwrap_or_else(|_| repository.to_owned());
        let mut git = git::command_without_replacements(cache, &repository);
        git.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
        git.args(["--show-object-format", "--is-shallow-repository"]);
        let output = command::stdout_of(git).unwrap_or_default();
        let [git_directory, object_format, is_shallow] = output.lines().collect::<Vec<_>>()[..]
        else {
            return Err(GitError::NotARepository { linux: repository }.into());
        };
        if is_shallow == "true" {
            return Err(GitError::Shallow { linux: repository }.into());
        }
        let mut git = git::command_without_replacements(cache, &repository);
        git.args(["config", "--get-regexp", r"^(extensions\.partialclone|remote\..*\.promisor)$"]);
        if command::stdout_of(git).is_some() {
            return Err(GitError::Partial { linux: repository }.into());
        }
        let name = name_for_cache(&repository);
        let key = format!("history-{name}-{}", hex(&Sha256::digest(git_directory)[..8]));
        Ok(History {
            cache,
            objects: Path::new(git_directory).join("objects"),
            object_format: object_format.to_owned(),
            key,
            lock: EntryLock::default(),
            _bisection_lock: EntryLock::default(),
            repository,
        })
    }

    /// Locks the work tree and the bisection in the cache, waiting for other runs. A caller must
    /// lock the history before it builds a kernel or begins a bisection.
    ///
    /// # Errors
    /// If the cache cannot be written to; [`Error::Interrupted`].
    pub fn lock(&mut self, monitor: &mut dyn Monitor) -> Result<(), Error> {
        let _impersonation = self.cache.owner.impersonate();
        self.lock = self.cache.lock("trees", &self.key, LockMode::Exclusive, monitor)?;
        self._bisection_lock =
            self.cache.lock("bisections", &self.key, LockMode::Exclusive, monitor)?;
        self.prepare(monitor)
    }

    /// The tools for building kernels that this machine lacks. Runs the compiler a few times, which
    /// takes about 20 ms.
    #[must_use]
    pub fn missing_tools(&self, request: &Request) -> Vec<Tool> {
        request.toolchain.for_arch(request.arch).missing_tools(self.cache.owner)
    }

    /// The key in the cache, which is the same for every directory of a repository.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The directory in the cache with the bare repository, its index and its work tree.
    pub(crate) fn dir(&self) -> PathBuf {
        self.cache.entry_path("trees", &self.key)
    }

    fn work_tree(&self) -> PathBuf {
        self.dir().join("src")
    }

    /// Creates the work tree and the bare repository, and removes the lock file of a killed git.
    fn prepare(&self, monitor: &mut dyn Monitor) -> Result<(), Error> {
        let (work_tree, index) = (self.work_tree(), self.dir().join("index"));
        fs::create_dir_all(&work_tree).context("make", &work_tree)?;
        self.recreate(monitor)?;
        // No running git uses the lock file of the index, because this run has locked the entry of
        // the cache.
        let mut lock = index.into_os_string();
        lock.push(".lock");
        match fs::remove_file(&lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", Path::new(&lock), error));
            }
            _ => {}
        }
        Ok(())
    }

    /// Recreates the bare repository, without refs and without a running bisection.
    pub(crate) fn recreate(&self, monitor: &mut dyn Monitor) -> Result<(), Error> {
        let _impersonation = self.cache.owner.impersonate();
        let git = self.dir().join("git");
        if git.exists() {
            fs::remove_dir_all(&git).context("remove", &git)?;
        }
        let mut init = command::clean("git", self.cache.owner);
        init.args(["init", "--quiet", "--bare", "--template="]);
        init.arg(format!("--object-format={}", self.object_format)).arg(&git);
        self.run_checked("make a repository in the cache", init, monitor)?;
        let write_file = |name: &str, text: String| {
            let path = git.join(name);
            let parent = path.parent().unwrap_or(&git);
            fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).context("write", &path)
        };
        write_file("objects/info/alternates", format!("{}\n", self.objects.display()))
    }

    /// A git command on the bare repository, without the user's configuration (hooks, filters,
    /// colours).
    pub(crate) fn command(&self) -> Command {
        let mut git = command::clean("git", self.cache.owner);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        git.args(["-c", "safe.directory=*", "-c", "gc.auto=0"]);
        git.arg("--git-dir").arg(self.dir().join("git"));
        git
    }

    /// A git command on the bare repository with its work tree and index.
    fn checkout_command(&self) -> Command {
        let mut git = self.command();
        git.env("GIT_INDEX_FILE", self.dir().join("index"));
        git.args(["-c", "core.sparseCheckout=true", "-c", "core.bare=false"]);
        // The index is synced to disk, so that after a power loss git detects truncated files by
        // the sizes in the index.
        git.args(["-c", "core.fsync=index"]);
        git.arg("--work-tree").arg(self.work_tree());
        git
    }

    /// Runs a git command. Returns its exit status and its output, line by line.
    pub(crate) fn run(
        &self,
        command: Command,
        monitor: &mut dyn Monitor,
    ) -> Result<(ExitStatus, Vec<String>), Error> {
        process::status_and_lines(command, &self.lock, monitor)
    }

    /// Runs a git command, which must succeed. `purpose` is for the error message.
    pub(crate) fn run_checked(
        &self,
        purpose: &'static str,
        command: Command,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<String>, Error> {
        let (status, lines) = self.run(command, monitor)?;
        if status.success() {
            return Ok(lines);
        }
        if lines.iter().any(|line| crate::error::is_full_disk(line)) {
            return Err(Error::DiskFull(format!("{purpose} in {}", self.dir().display())));
        }
        let output = lines.join("; ");
        Err(GitError::Failed { purpose, linux: self.repository.clone(), output }.into())
    }

    /// Finds the commit with this name, such as a tag, a branch, an object name or `HEAD~3`.
    ///
    /// # Errors
    /// [`GitError`] if there is no such commit, or if its tree is not a Linux source tree.
    pub fn commit(&self, name: &str) -> Result<Commit, Error> {
        let linux = self.repository.clone();
        let resolve = |object: &str| {
            let mut git = git::command_without_replacements(self.cache, &self.repository);
            git.args(["rev-parse", "--verify", "--quiet", "--end-of-options", object]);
            command::stdout_of(git).map(|id| id.trim().to_owned())
        };
        // git would parse a name that begins with a dash as an option. No commit has such a name.
        let id = Some(name).filter(|name| !name.starts_with('-')).and_then(resolve);
        let Some(id) = id.and_then(|id| resolve(&format!("{id}^{{commit}}"))) else {
            return Err(GitError::NoCommit { linux, name: name.to_owned() }.into());
        };
        let mut git = git::command_without_replacements(self.cache, &self.repository);
        git.args(["show", "--no-patch", "--no-show-signature", "--no-notes"]);
        git.args(["--format=%H%n%T%n%P%n%an <%ae>%n%aI%n%s", &id]);
        let output = command::stdout_of(git).unwrap_or_default();
        let lines: Vec<&str> = output.lines().collect();
        let [id, tree, parents, author, date, subject_lines @ ..] = &lines[..] else {
            return Err(GitError::Unreadable { linux, id }.into());
        };
        let missing = ["Makefile", "Kconfig", "kernel"].into_iter().find(|path| {
            let mut git = git::command_without_replacements(self.cache, &self.repository);
            git.args(["cat-file", "-e", &format!("{tree}:{path}")]);
            command::stdout_of(git).is_none()
        });
        if let Some(missing) = missing {
            return Err(GitError::NotLinux { linux, name: name.to_owned(), missing }.into());
        }
        Ok(Commit {
            id: (*id).to_owned(),
            tree: (*tree).to_owned(),
            parents: parents.split_whitespace().map(str::to_owned).collect(),
            author: (*author).to_owned(),
            date: (*date).to_owned(),
            subject: subject_lines.first().copied().unwrap_or_default().to_owned(),
        })
    }

    /// Whether `commit` is an ancestor of `descendant`.
    #[must_use]
    pub fn is_ancestor(&self, commit: &Commit, descendant: &Commit) -> bool {
        let mut git = git::command_without_replacements(self.cache, &self.repository);
        git.args(["merge-base", "--is-ancestor", &commit.id, &descendant.id]);
        command::stdout_of(git).is_some()
    }

    /// Builds a commit, or finds its image in the cache. Ignores `request.reference`.
    ///
    /// # Errors
    /// As [`crate::kernel`].
    pub fn kernel(
        &self,
        request: &Request,
        commit: &Commit,
        monitor: &mut dyn Monitor,
    ) -> Result<KernelImage, Error> {
        let _impersonation = self.cache.owner.impersonate();
        let options = BuildOptions::from_request(request)?;
        let source = SourceIdentity {
            // The content is the same as for `sudbox run KERNEL=commit`, so that both share images.
            content: format!("release git-{}-{}", commit.tree, request.arch.name()),
            kconfig: format!("git {}", self.kconfig_digest(commit, monitor)?),
            directory: self.key.clone(),
            label: format!(
                "git {}, commit {:.12}, tree {}",
                self.repository.display(),
                commit.id,
                commit.tree
            ),
            substitution_note: None,
            lacks_left_out_files: false,
        };
        let ctx = &mut Ctx::new(self.cache, monitor);
        let recipe = Recipe::new(ctx, &options, &source);
        if let Some(image) = recipe.find_cached(ctx)? {
            return Ok(image);
        }
        let missing = options.toolchain.missing_tools(self.cache.owner);
        if !missing.is_empty() {
            return Err(toolchain::missing_tools_error(&missing));
        }
        self.check_out(request, commit, ctx.monitor)?;
        recipe.build(ctx, &self.work_tree())
    }

    /// Checks out a commit in the work tree.
    fn check_out(
        &self,
        request: &Request,
        commit: &Commit,
        monitor: &mut dyn Monitor,
    ) -> Result<(), Error> {
        let is_first_checkout = !self.dir().join("index").exists();
        if is_first_checkout {
            monitor
                .phase(&format!("checking out {:.12} (only what changes, next time)", commit.id));
        }
        let path = self.dir().join("git/info/sparse-checkout");
        fs::create_dir_all(self.dir().join("git/info"))
            .and_then(|()| fs::write(&path, source_filter::sparse_patterns(request.arch)))
            .context("write", &path)?;
        let unfinished_mark = self.dir().join("unfinished");
        if unfinished_mark.exists() {
            // Remove files that a killed checkout has left outside the index; keep build slots.
            let mut clean = self.checkout_command();
            clean.args(["clean", "-ffdxq", "--exclude=/sudbox-*"]);
            self.run_checked("clean the work tree", clean, monitor)?;
        }
        fs::write(&unfinished_mark, &commit.id).context("write", &unfinished_mark)?;
        let mut git = self.checkout_command();
        git.args(["read-tree", "--reset", "-u", &commit.tree]);
        self.run_checked("check out a commit", git, monitor)?;
        fs::remove_file(&unfinished_mark).context("remove", &unfinished_mark)?;
        if is_first_checkout {
            self.lock.record_size(cache::disk_usage(&self.work_tree()));
        }
        Ok(())
    }

    /// Digest of the commit's files that can change the final .config.
    fn kconfig_digest(&self, commit: &Commit, monitor: &mut dyn Monitor) -> Result<String, Error> {
        let mut git = self.command();
        git.args(["-c", "core.quotePath=false", "ls-tree", "-r", &commit.tree]);
        let mut hasher = Sha256::new();
        for line in self.run_checked("list the files of a commit", git, monitor)? {
            if line.split_once('\t').is_some_and(|(_, path)| mirror::decides_configuration(path)) {
                hasher.update(&line);
                hasher.update("\n");
            }
        }
        Ok(hex(&hasher.finalize()))
    }
}
