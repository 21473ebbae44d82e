// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters of the process and of the kernel, read from `/proc`.

use crate::case::Failure;
use crate::support::broken;

/// A line `name: number` of a file in `/proc`, whose number is a counter.
struct CounterLine {
    name: &'static str,
    radix: u32,
    /// The unit as it follows the name in messages.
    unit: &'static str,
    /// The allowed growth, in the unit of the counter. Counters of memory may grow, since caches keep freed
    /// memory.
    allowed_growth: i64,
}

const fn kilobytes(name: &'static str, allowed_growth: i64) -> CounterLine {
    CounterLine { name, radix: 10, unit: " (kB)", allowed_growth }
}

const fn exact(name: &'static str) -> CounterLine {
    CounterLine { name, radix: 10, unit: "", allowed_growth: 0 }
}

const fn signal_mask(name: &'static str) -> CounterLine {
    CounterLine { name, radix: 16, unit: "", allowed_growth: 0 }
}

/// Lines of `/proc/meminfo`.
const MEMINFO_LINES: &[CounterLine] = &[
    kilobytes("SUnreclaim", 20),
    kilobytes("KernelStack", 48),
    kilobytes("PageTables", 32),
    kilobytes("SecPageTables", 0),
    kilobytes("Percpu", 16),
    kilobytes("VmallocUsed", 96),
    kilobytes("AnonPages", 64),
    kilobytes("Shmem", 64),
    kilobytes("Unevictable", 0),
    kilobytes("Mlocked", 0),
];

/// Lines of `/proc/self/status`.
const STATUS_LINES: &[CounterLine] = &[
    exact("SigQ"),
    exact("Threads"),
    exact("FDSize"),
    signal_mask("SigPnd"),
    signal_mask("ShdPnd"),
    signal_mask("SigBlk"),
    kilobytes("VmLck", 0),
    kilobytes("VmPin", 0),
    kilobytes("VmSize", 512),
    kilobytes("VmData", 512),
    kilobytes("VmPTE", 8),
    kilobytes("VmStk", 0),
];

/// The allowed growth of the number of active timers. The kernel starts and stops timers of its own.
const ALLOWED_TIMER_GROWTH: i64 = 12;

/// The values of all counters at one time.
pub(super) struct Counters {
    /// Name, value, and allowed growth.
    values: Vec<(String, i64, i64)>,
}

fn read_file(path: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(broken(path))
}

/// The counters of `table` in the text of a file: name with unit, value, and allowed growth.
fn counters_in<'a>(
    text: &'a str,
    table: &'a [CounterLine],
) -> impl Iterator<Item = (String, i64, i64)> + 'a {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let row = table.iter().find(|row| row.name == name)?;
        let number = value.trim().split(|c: char| !c.is_ascii_hexdigit()).next()?;
        let value = i64::from_str_radix(number, row.radix).ok()?;
        Some((format!("{name}{}", row.unit), value, row.allowed_growth))
    })
}

impl Counters {
    /// Reads all counters.
    pub(super) fn read() -> Result<Counters, Failure> {
        let mut values = Vec::new();
        // The write makes the kernel add the counts of each CPU to the totals. On kernels without this file
        // the totals may be wrong by a few pages.
        let _ = std::fs::write("/proc/sys/vm/stat_refresh", "1");
        values.extend(counters_in(&read_file("/proc/meminfo")?, MEMINFO_LINES));
        values.extend(counters_in(&read_file("/proc/self/status")?, STATUS_LINES));
        // The fourth word of /proc/loadavg is `RUNNABLE/ALL`, numbers of tasks.
        let loadavg = read_file("/proc/loadavg")?;
        let counts = loadavg.split_whitespace().nth(3).and_then(|word| word.split_once('/'));
        let tasks = counts.and_then(|(_, all)| all.parse().ok()).unwrap_or(0);
        values.push(("tasks".into(), tasks, 0));
        let files = std::fs::read_dir("/proc/self/fd").map_err(broken("/proc/self/fd"))?.count();
        values.push(("descriptors".into(), i64::try_from(files).unwrap_or(i64::MAX), 0));
        if let Ok(timers) = read_file("/proc/timer_list") {
            // The line of each active timer begins with ` #` and its number.
            let active = timers.lines().filter(|line| line.starts_with(" #")).count();
            values.push((
                "timers".into(),
                i64::try_from(active).unwrap_or(i64::MAX),
                ALLOWED_TIMER_GROWTH,
            ));
        }
        Ok(Counters { values })
    }

    /// The counters that grew by more than is allowed since `earlier`: name, earlier value, value.
    pub(super) fn grown_since(&self, earlier: &Counters) -> Vec<(String, i64, i64)> {
        let pairs = earlier.values.iter().zip(&self.values);
        pairs
            .filter(|((_, earlier, allowed_growth), (_, value, _))| {
                value - earlier > *allowed_growth
            })
            .map(|((name, earlier, _), (_, value, _))| (name.clone(), *earlier, *value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_lines_of_a_table() {
        let text =
            "Slab:  4321 kB\nSUnreclaim:       1234 kB\nSigQ:\t5/100\nSigBlk:\t00000000000000ff\n";
        let read = |table| counters_in(text, table).collect::<Vec<_>>();
        assert_eq!(read(MEMINFO_LINES), [("SUnreclaim (kB)".to_owned(), 1234, 20)]);
        assert_eq!(read(STATUS_LINES), [("SigQ".to_owned(), 5, 0), ("SigBlk".to_owned(), 255, 0)]);
    }

    #[test]
    fn only_counters_that_grew_by_more_than_allowed_are_listed() {
        let counters = |a, b| Counters { values: vec![("a".into(), a, 0), ("b".into(), b, 10)] };
        assert!(counters(1, 10).grown_since(&counters(1, 0)).is_empty());
        assert!(counters(0, 0).grown_since(&counters(1, 0)).is_empty());
        let grown = counters(2, 11).grown_since(&counters(1, 0));
        assert_eq!(grown, [("a".into(), 1, 2), ("b".into(), 0, 11)]);
    }
}
