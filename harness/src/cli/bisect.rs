// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The command line of `sudbox bisect`.

use super::formats::form_parser;
use super::{BUILD_HEADING, BuildArgs, DEFAULT_TIMEOUT, VM_HEADING, VmArgs, completers};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use sudbox_report::bisection::Bisection;
use sudbox_report::{Form, Report as _};

/// `sudbox bisect`
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[command(after_help = "\
Examples:
  sudbox bisect --linux ~/src/linux --good v6.16 --bad v6.17
  sudbox bisect --linux ~/src/linux --good v6.16 --bad HEAD --changed
  sudbox bisect --linux ~/src/linux --good v6.16 --bad HEAD --bench round-trip --threshold 3%
  sudbox bisect --resume

Both ends are judged first. If the build or the boot differs between the ends, that difference is
bisected; otherwise the cases with different outcomes are. A commit is bad if one of these cases has
the outcome of the bad end, good if all of them have the outcome of the good end, and skipped
otherwise. Exit codes:
    0  the commit is found
  125  only commits that cannot be judged are left; the report names them
  128  this machine can judge no kernel
  129  usage, bad input, or nothing differs between the ends
  130  interrupted; --resume continues")]
pub(crate) struct BisectArgs {
    /// Commit that works: a tag, a branch, anything that git understands
    #[arg(
        long,
        value_name = "REF",
        allow_hyphen_values = true,
        env = "SUDBOX_GOOD",
        hide_env = true
    )]
    pub(crate) good: Option<String>,

    /// Commit at which something fails
    #[arg(
        long,
        value_name = "REF",
        allow_hyphen_values = true,
        env = "SUDBOX_BAD",
        hide_env = true
    )]
    pub(crate) bad: Option<String>,

    /// Cases to compare, as `run` takes them; every one if not given
    #[arg(long, value_name = "GLOBS", add = completers::cases(), env = "SUDBOX_CASES", hide_env = true)]
    pub(crate) cases: Option<String>,

    /// Bisect a slowdown of this benchmark instead of cases
    #[arg(long, value_name = "NAME", conflicts_with_all = ["cases", "timeout"], env = "SUDBOX_BENCH", hide_env = true)]
    pub(crate) bench: Option<String>,

    /// Smallest increase of the instruction count over the good end to bisect
    #[arg(long, value_name = "PERCENT", default_value_t = Threshold::DEFAULT, requires = "bench", env = "SUDBOX_THRESHOLD", hide_env = true)]
    pub(crate) threshold: Threshold,

    /// Bisect the observations of the cases besides their outcomes: a commit is bad if a case
    /// observes something that the good end does not show and no known change explains
    #[arg(long, conflicts_with = "bench", env = "SUDBOX_CHANGED", hide_env = true)]
    #[serde(default)]
    pub(crate) changed: bool,

    /// Number of times to run each end again, and each commit that crashes, hangs or has an outcome of
    /// neither end
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) confirm: u32,

    /// Seconds without progress after which a boot is a hang; a case has a sixth of this time
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_TIMEOUT, value_parser = clap::value_parser!(u64).range(1..=86400))]
    pub(crate) timeout: u64,

    /// Continue the last unfinished bisection, or the one of --linux
    #[arg(long, conflicts_with_all = ["good", "bad", "cases", "bench", "changed", "confirm", "timeout"], env = "SUDBOX_RESUME", hide_env = true)]
    pub(crate) resume: bool,

    /// Form of the report
    #[arg(long, value_name = "FORMAT", value_parser = form_parser::<Bisection>(), default_value = "table")]
    #[serde(skip, default = "table")]
    pub(crate) format: &'static Form<Bisection>,

    #[command(flatten, next_help_heading = VM_HEADING)]
    pub(crate) vm: VmArgs,

    #[command(flatten, next_help_heading = BUILD_HEADING)]
    pub(crate) build: BuildArgs,
}

/// The default form of a report.
fn table() -> &'static Form<Bisection> {
    &Bisection::FORMS[0]
}

impl BisectArgs {
    /// The commit of `--good`.
    pub(crate) fn good(&self) -> &str {
        self.good.as_deref().unwrap_or_default()
    }

    /// The commit of `--bad`.
    pub(crate) fn bad(&self) -> &str {
        self.bad.as_deref().unwrap_or_default()
    }
}

/// The smallest slowdown that is bisected, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Threshold(u32);

impl Threshold {
    /// The default: 5%.
    pub(crate) const DEFAULT: Threshold = Threshold(50);

    /// The threshold in thousandths.
    pub(crate) fn thousandths(self) -> u32 {
        self.0
    }
}

impl FromStr for Threshold {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Threshold, &'static str> {
        let percentage = text.strip_suffix('%').unwrap_or(text);
        let (whole, tenths) = percentage.split_once('.').unwrap_or((percentage, "0"));
        let has_only_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parse_thousandths = || {
            let whole: u32 = whole.parse().ok().filter(|_| has_only_digits(whole))?;
            let tenths: u32 =
                tenths.parse().ok().filter(|_| has_only_digits(tenths) && tenths.len() == 1)?;
            whole.checked_mul(10)?.checked_add(tenths)
        };
        let is_in_range = |thousandths: &u32| (2..=100_000).contains(thousandths);
        parse_thousandths()
            .filter(is_in_range)
            .map(Threshold)
            .ok_or("a threshold is a percentage from 0.2% to 10000%, such as 5%")
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}%", self.0 / 10, self.0 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_percentage() {
        let parse = |text: &str| text.parse::<Threshold>().ok();
        assert_eq!(parse("5%"), Some(Threshold(50)));
        assert_eq!(parse("5"), Some(Threshold(50)));
        assert_eq!(parse("0.5%"), Some(Threshold(5)));
        assert_eq!(parse("12.5%").map(|t| t.to_string()), Some("12.5%".to_owned()));
        for bad in ["", "%", "-5%", "5.25%", "0", "0.1%", "five", "+5%", "5%%", "99999999999%"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
