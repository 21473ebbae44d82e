// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Kernel releases as numbers.

/// A release, such as 6.12.117: the three numbers. Releases are ordered by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Whether this is a mainline release, whose last number is 0.
    pub(crate) fn is_mainline(self) -> bool {
        self.2 == 0
    }

    /// Whether both releases belong to one stable series, so that their first two numbers are
    /// equal.
    pub(crate) fn is_same_series(self, other: Version) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }

    /// Reads the leading numbers of a release string: `6.12.117+deb12` is 6.12.117.
    pub(crate) fn parse(release: &str) -> Option<Version> {
        let numbers = release.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numbers.split('.').filter(|part| !part.is_empty()).map(str::parse);
        let major = parts.next()?.ok()?;
        let minor = parts.next()?.ok()?;
        let patch = parts.next().transpose().ok()?.unwrap_or(0);
        Some(Version(major, minor, patch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_release_strings() {
        assert_eq!(Version::parse("6.12.117+deb12-amd64"), Some(Version(6, 12, 117)));
        assert_eq!(Version::parse("6.12"), Some(Version(6, 12, 0)));
        assert_eq!(Version::parse("7.3.0-rc1"), Some(Version(7, 3, 0)));
        assert_eq!(Version::parse("linux"), None);
    }
}
