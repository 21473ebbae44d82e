// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the process and of the kernel, read from `/proc`.

use crate::case::Failure;
use crate::support::broken;

/// Lines of `/proc/meminfo` in kB, and the growth in kB that is allowed, since caches keep freed memory.
const MEMORY: &[(&str, i64)] = &[
    ("SUnreclaim", 20),
    ("KernelStack", 48),
    ("PageTables", 32),
    ("SecPageTables", 0),
    ("Percpu", 16),
    ("VmallocUsed", 96),
    ("AnonPages", 64),
    ("Shmem", 64),
    ("Unevictable", 0),
    ("Mlocked", 0),
];

/// Lines of `/proc/self/status` that may not grow.
const EXACT: &[&str] =
    &["SigQ", "Threads", "FDSize", "SigPnd", "ShdPnd", "SigBlk", "VmLck", "VmPin"];
/// Lines of `/proc/self/status` in kB, and the growth in kB that is allowed.
const GROWING: &[(&str, i64)] = &[("VmSize", 512), ("VmData", 512), ("VmPTE", 8), ("VmStk", 0)];

/// The allowed growth of the number of active timers, since the kernel starts and stops its own.
const TIMERS: i64 = 12;

/// A reading of all counters.
pub(super) struct Counters {
    /// Name, value, and allowed growth.
    values: Vec<(String, i64, i64)>,
}

fn read(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(broken(path))
}

/// The first number in the line `name:`.
fn line(text: &str, name: &str, radix: u32) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number = line.trim().split(|c: char| !c.is_ascii_hexdigit()).next()?;
    i64::from_str_radix(number, radix).ok()
}

impl Counters {
    /// Reads all counters.
    pub(super) fn read() -> Result<Counters, Failure> {
        let mut values = Vec::new();
        // Folds the per-CPU counts into the totals. On kernels without this file the totals are exact
        // to a few pages.
        let _ = std::fs::write("/proc/sys/vm/stat_refresh", "1");
        let memory = read("/proc/meminfo")?;
        for (name, slack) in MEMORY {
            if let Some(value) = line(&memory, name, 10) {
                values.push((format!("{name} (kB)"), value, *slack));
            }
        }
        let status = read("/proc/self/status")?;
        for name in EXACT {
            let radix = if name.starts_with("Sig") && *name != "SigQ" || *name == "ShdPnd" {
                16
            } else {
                10
            };
            if let Some(value) = line(&status, name, radix) {
                values.push(((*name).to_owned(), value, 0));
            }
        }
        for (name, slack) in GROWING {
            if let Some(value) = line(&status, name, 10) {
                values.push((format!("{name} (kB)"), value, *slack));
            }
        }
        let tasks = read("/proc/loadavg")?;
        let tasks = tasks.split_whitespace().nth(3).and_then(|word| word.split_once('/'));
        let tasks = tasks.and_then(|(_, all)| all.parse().ok()).unwrap_or(0);
        values.push(("tasks".into(), tasks, 0));
        let files = std::fs::read_dir("/proc/self/fd").map_err(broken("/proc/self/fd"))?.count();
        values.push(("descriptors".into(), i64::try_from(files).unwrap_or(i64::MAX), 0));
        if let Ok(timers) = read("/proc/timer_list") {
            let active = timers.lines().filter(|line| line.starts_with(" #")).count();
            values.push(("timers".into(), i64::try_from(active).unwrap_or(i64::MAX), TIMERS));
        }
        Ok(Counters { values })
    }

    /// The counters that grew by more than is allowed since `earlier`: name, earlier value, value.
    pub(super) fn grown(&self, earlier: &Counters) -> Vec<(String, i64, i64)> {
        let pairs = earlier.values.iter().zip(&self.values);
        pairs
            .filter(|((_, from, slack), (_, to, _))| to - from > *slack)
            .map(|((name, from, _), (_, to, _))| (name.clone(), *from, *to))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_from_its_line() {
        let text =
            "Slab:  4321 kB\nSUnreclaim:       1234 kB\nSigQ:\t5/100\nSigBlk:\t00000000000000ff\n";
        assert_eq!(line(text, "SUnreclaim", 10), Some(1234));
        assert_eq!(line(text, "SigQ", 10), Some(5));
        assert_eq!(line(text, "SigBlk", 16), Some(255));
        assert_eq!(line(text, "Nothing", 10), None);
    }

    #[test]
    fn only_counters_that_grew_by_more_than_allowed_are_listed() {
        let of = |a, b| Counters { values: vec![("a".into(), a, 0), ("b".into(), b, 10)] };
        assert!(of(1, 10).grown(&of(1, 0)).is_empty());
        assert!(of(0, 0).grown(&of(1, 0)).is_empty());
        assert_eq!(of(2, 11).grown(&of(1, 0)), [("a".into(), 1, 2), ("b".into(), 0, 11)]);
    }
}
