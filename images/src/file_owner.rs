// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The owner of files in the cache: under sudo, the user who called sudo.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The owner (user and group id) of files that this process creates. `None` means the user
/// who runs the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(Option<(u32, u32)>);

impl Owner {
    /// The user who called sudo, by `SUDO_UID` and `SUDO_GID`, if this process runs as root.
    pub(crate) fn from_sudo() -> Owner {
        let id_from_variable = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let is_root = rustix::process::geteuid().is_root();
        match (id_from_variable("SUDO_UID"), id_from_variable("SUDO_GID")) {
            (Some(uid), Some(gid)) if is_root && uid != 0 => Owner(Some((uid, gid))),
            _ => Owner(None),
        }
    }

    /// The owner of new files in `directory`: root if root owns `directory`, else this owner.
    pub(crate) fn of_new_files_in(self, directory: &Path) -> Owner {
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.uid() == 0 => Owner(None),
            _ => self,
        }
    }

    /// The user's home directory from the user database, because sudo sets HOME to the home
    /// directory of root.
    pub(crate) fn home(self) -> Option<PathBuf> {
        let (uid, _) = self.0?;
        // getpwuid() does not work in a static program, which cannot load NSS modules.
        let output = Command::new("getent").args(["passwd", &uid.to_string()]).output().ok()?;
        let line = String::from_utf8(output.stdout).ok()?;
        line.trim_end().split(':').nth(5).filter(|home| home.starts_with('/')).map(PathBuf::from)
    }

    /// Makes this thread, and threads that it starts, access files as the owner (setfsuid(2)),
    /// until the guard is dropped.
    #[must_use]
    pub fn impersonate(self) -> OwnerGuard {
        OwnerGuard(self.0.map(|(uid, gid)| {
            // SAFETY: the calls take no pointers, and change only this thread's file credentials.
            unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) }
        }))
    }

    /// Makes a command run as the owner.
    pub(crate) fn run_as_owner(self, command: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
            if let Some(home) = self.home() {
                command.env("HOME", home);
            }
        }
    }
}

/// Guard of [`Owner::impersonate`]: restores the thread's file credentials when dropped.
#[derive(Debug)]
pub struct OwnerGuard(Option<(i32, i32)>);

impl Drop for OwnerGuard {
    fn drop(&mut self) {
        if let Some((gid, uid)) = self.0 {
            // SAFETY: the calls take no pointers; the ids are the former ones of this thread.
            unsafe {
                libc::setfsuid(uid.cast_unsigned());
                libc::setfsgid(gid.cast_unsigned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_threads_and_commands_create_as_the_owner_belong_to_the_owner() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("NOT RUN: only root can create files of another user");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let owned_dir = dir.path().join("owned");
        std::fs::create_dir(&owned_dir).unwrap();
        std::os::unix::fs::chown(&owned_dir, Some(65534), Some(65534)).unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let owner = Owner(Some((65534, 65534)));
        {
            let _impersonation = owner.impersonate();
            std::fs::write(owned_dir.join("by-thread"), "").unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| std::fs::write(owned_dir.join("by-new-thread"), "").unwrap());
            });
            let mut touch = Command::new("touch");
            owner.run_as_owner(touch.arg(owned_dir.join("by-command")));
            assert!(touch.status().unwrap().success());
        }
        std::fs::write(owned_dir.join("after-guard"), "").unwrap();
        let uid = |name: &str| std::fs::metadata(owned_dir.join(name)).unwrap().uid();
        let names = ["by-thread", "by-new-thread", "by-command", "after-guard"];
        assert_eq!(names.map(uid), [65534, 65534, 65534, 0]);
    }
}
