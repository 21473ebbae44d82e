// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Chooses the recordings with which a kernel is compared.

use super::Recording;
use crate::version::Version;

/// The recordings that are on offer for the kernels of a run.
#[derive(Clone, Debug)]
pub(crate) enum Baseline {
    /// Recordings of several series, all of one architecture and flavour. A kernel is compared with its
    /// neighbours.
    Series(Vec<Recording>),
    /// Every kernel is compared with this recording.
    Fixed(Box<Recording>),
}

impl Baseline {
    /// The recordings with which a kernel of this release is compared, on a CPU whose floating point
    /// state has this layout.
    ///
    /// A point release of a recorded series is compared with that recording alone. Any other kernel has
    /// two neighbours: the recording of its own or the next older series, and that of the next newer
    /// one. A development kernel may have the changes of the next series without its number.
    ///
    /// # Errors
    /// The reason why there is none, in one sentence.
    pub(crate) fn neighbours(
        &self,
        release: &str,
        floating_state_layout: &str,
    ) -> Result<Vec<&Recording>, String> {
        let recordings = match self {
            Baseline::Series(recordings) => recordings.as_slice(),
            Baseline::Fixed(recording) => std::slice::from_ref(&**recording),
        };
        let same_layout: Vec<&Recording> = recordings
            .iter()
            .filter(|recording| recording.floating_state_layout == floating_state_layout)
            .collect();
        if same_layout.is_empty() {
            return Err("no kernel is recorded on a processor with this layout of the floating \
                        point state"
                .to_owned());
        }
        if let Baseline::Fixed(_) = self {
            return Ok(same_layout);
        }
        let Some(version) = Version::parse(release) else {
            return Err(format!("{release} names no series"));
        };
        let series_of = |version: Version| (version.0, version.1);
        let recorded = |recording: &Recording| Version::parse(&recording.release).map(series_of);
        let own = Some(series_of(version));
        let by_series = || same_layout.iter().copied().filter(|it| recorded(it).is_some());
        let older = by_series().filter(|it| recorded(it) <= own).max_by_key(|it| recorded(it));
        let newer = by_series().filter(|it| recorded(it) > own).min_by_key(|it| recorded(it));
        Ok(match older {
            Some(older) if recorded(older) == own && !version.is_mainline() => vec![older],
            _ => older.into_iter().chain(newer).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::behaviour::Behaviour;

    fn recording(release: &str, floating_state_layout: &str) -> Recording {
        let behaviour = Behaviour {
            release: release.to_owned(),
            floating_state_layout: floating_state_layout.to_owned(),
            ..Behaviour::default()
        };
        Recording::of_behaviour("default", behaviour)
    }

    fn releases(baseline: &Baseline, release: &str, layout: &str) -> Result<Vec<String>, String> {
        let found = baseline.neighbours(release, layout)?;
        Ok(found.into_iter().map(|recording| recording.release.clone()).collect())
    }

    #[test]
    fn a_point_release_has_its_series_and_any_other_kernel_both_neighbours() {
        let of = ["6.1.200", "6.12.90", "7.3.4"].map(|release| recording(release, "a"));
        let baseline = Baseline::Series(of.to_vec());
        let found = |release| releases(&baseline, release, "a").unwrap();
        assert_eq!(found("6.12.31-amd64"), ["6.12.90"]);
        assert_eq!(found("6.12.0-rc3"), ["6.12.90", "7.3.4"]);
        assert_eq!(found("6.6.100"), ["6.1.200", "6.12.90"]);
        assert_eq!(found("7.3.0-00123-gabcdef"), ["7.3.4"]);
        assert_eq!(found("7.4.0-rc1"), ["7.3.4"]);
        assert_eq!(found("5.15.7"), ["6.1.200"]);
        assert!(releases(&baseline, "linux", "a").is_err());
    }

    #[test]
    fn only_recordings_with_the_same_layout_are_neighbours() {
        let baseline = Baseline::Series(vec![recording("6.12.90", "a"), recording("6.12.90", "b")]);
        assert_eq!(releases(&baseline, "6.12.1", "b").unwrap(), ["6.12.90"]);
        assert!(releases(&baseline, "6.12.1", "c").unwrap_err().contains("processor"));
        let fixed = Baseline::Fixed(Box::new(recording("6.1.200", "a")));
        assert_eq!(releases(&fixed, "7.3.4", "a").unwrap(), ["6.1.200"]);
        assert!(releases(&fixed, "7.3.4", "b").is_err());
    }
}
