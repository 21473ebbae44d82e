// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Missing tools, and the packages of distributions that contain them.

/// A missing tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Name, such as `flex` or `the headers of libelf`.
    pub name: String,
    /// The packages that contain the tool.
    pub packages: Packages,
}

/// The names of the packages of a tool, separated by spaces, for each package manager; empty if there
/// is no package.
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

/// Shorthand for constants of [`Packages`].
pub(crate) const fn packages(
    apt: &'static str,
    dnf: &'static str,
    pacman: &'static str,
    zypper: &'static str,
) -> Packages {
    Packages { apt, dnf, pacman, zypper }
}
