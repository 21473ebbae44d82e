// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tools that this machine may lack, and the packages that distributions have them in.

/// A tool that this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name, such as `flex` or `the headers of libelf`.
    pub name: String,
    /// The packages that have it.
    pub packages: Packages,
}

/// The packages of a tool, one field for each package manager; empty if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packages {
    /// Debian, Ubuntu.
    pub apt: &'static str,
    /// Fedora.
    pub dnf: &'static str,
    /// Arch Linux.
    pub pacman: &'static str,
    /// openSUSE.
    pub zypper: &'static str,
}

pub(crate) const fn packages(
    apt: &'static str,
    dnf: &'static str,
    pacman: &'static str,
    zypper: &'static str,
) -> Packages {
    Packages { apt, dnf, pacman, zypper }
}
