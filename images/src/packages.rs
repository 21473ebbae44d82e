// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tools that this machine may lack, and the packages that distributions have them in.

/// A tool that a build needs and this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// What is missing, such as `flex` or `the headers of libelf`.
    pub name: String,
    /// What to install for it.
    pub packages: Packages,
}

/// The package of a tool by package manager; empty where there is none.
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
