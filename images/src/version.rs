// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernel version numbers in the syntax of tags, tarballs and packages.

use std::fmt;
use std::str::FromStr;

/// A series, such as 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

/// A release: the first of a series (6.12), a stable release (6.12.117) or a release candidate
/// (6.12-rc3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// The series.
    pub series: Series,
    /// The third number; 0 for the first release of the series.
    pub point: u32,
    /// The number after `-rc`; `None` for a final release.
    pub candidate: Option<u32>,
}

/// The version that the user requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// This release.
    Exact(Release),
    /// The newest release of this series.
    Newest(Series),
}

/// Error: the text is not a version number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoVersion;

/// Parses a number of decimal digits only, without a sign.
fn number(text: &str) -> Result<u32, NoVersion> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NoVersion);
    }
    text.parse().map_err(|_| NoVersion)
}

impl FromStr for Series {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Series, NoVersion> {
        let (major, minor) = text.split_once('.').ok_or(NoVersion)?;
        Ok(Series { major: number(major)?, minor: number(minor)? })
    }
}

impl FromStr for Release {
    type Err = NoVersion;

    /// Reads `6.12`, `6.12.117` and `6.12-rc3`.
    fn from_str(text: &str) -> Result<Release, NoVersion> {
        let (numbers, candidate) = match text.split_once("-rc") {
            Some((numbers, candidate)) => (numbers, Some(number(candidate)?)),
            None => (text, None),
        };
        let mut parts = numbers.splitn(3, '.');
        let series = Series {
            major: number(parts.next().unwrap_or_default())?,
            minor: number(parts.next().unwrap_or_default())?,
        };
        let point = parts.next().map_or(Ok(0), number)?;
        if candidate.is_some() && point != 0 {
            return Err(NoVersion);
        }
        Ok(Release { series, point, candidate })
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    /// Parses `v6.12` and `6.12.5` as releases, and `6.12` as a series.
    fn from_str(text: &str) -> Result<Version, NoVersion> {
        match text.strip_prefix('v') {
            Some(release) => release.parse().map(Version::Exact),
            None => text.parse().map(Version::Newest).or_else(|_| text.parse().map(Version::Exact)),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Version::Exact(release) => write!(f, "v{release}"),
            Version::Newest(series) => write!(f, "{series}"),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.series)?;
        if self.point != 0 {
            write!(f, ".{}", self.point)?;
        }
        if let Some(candidate) = self.candidate {
            write!(f, "-rc{candidate}")?;
        }
        Ok(())
    }
}

impl Version {
    /// The series of the version.
    pub(crate) fn series(self) -> Series {
        match self {
            Version::Exact(release) => release.series,
            Version::Newest(series) => series,
        }
    }
}

impl Release {
    /// Key for sorting from old to new: release candidates come before their final release.
    fn sort_key(&self) -> (Series, u32, u32) {
        (self.series, self.point, self.candidate.unwrap_or(u32::MAX))
    }

    /// The distance between two releases of a series, in point releases.
    #[must_use]
    pub(crate) fn distance(&self, other: &Release) -> u32 {
        self.point.abs_diff(other.point)
    }
}

impl PartialOrd for Release {
    fn partial_cmp(&self, other: &Release) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Release {
    fn cmp(&self, other: &Release) -> std::cmp::Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed_and_formatted() {
        for text in ["6.12", "6.12.117", "7.3-rc7", "10.0.1"] {
            assert_eq!(text.parse::<Release>().unwrap().to_string(), text);
        }
        for text in
            ["", "6", "6.", ".1", "6.12.", "6.12.1.2", "6.12-rc", "6.12.1-rc1", "a.b", "6.+1"]
        {
            assert_eq!(text.parse::<Release>(), Err(NoVersion), "{text}");
        }
        assert_eq!("6.12".parse(), Ok(Series { major: 6, minor: 12 }));
        assert_eq!("6.12.1".parse::<Series>(), Err(NoVersion));
    }

    #[test]
    fn a_newer_release_is_greater() {
        let sorted = ["6.2", "6.12-rc1", "6.12-rc10", "6.12", "6.12.9", "6.12.10", "7.0"];
        let releases: Vec<Release> = sorted.iter().map(|text| text.parse().unwrap()).collect();
        assert!(releases.is_sorted());
    }
}
