// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Counts the interrupts of all CPUs.

use std::fs;

/// Returns the number of interrupts so far on all CPUs, except those of timers; `None` if
/// `/proc/interrupts` cannot be read.
pub(super) fn count() -> Option<u64> {
    Some(sum(&fs::read_to_string("/proc/interrupts").ok()?))
}

/// Adds up the counts in a text of `/proc/interrupts` (`show_interrupts()`).
fn sum(text: &str) -> u64 {
    let mut lines = text.lines();
    let cpus = lines.next().map_or(0, |header| header.split_whitespace().count());
    lines
        .filter(|line| !line.to_ascii_lowercase().contains("timer"))
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(_, rest)| rest.split_whitespace().take(cpus).map_while(|n| n.parse().ok()))
        .fold(0u64, u64::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_cpus_are_added_without_those_of_timers() {
        let text = "           CPU0       CPU1       \n   0:         10          0    IO-APIC   0-edge      \
                    timer\n  12:          3          4    IO-APIC  12-edge      virtio0\nLOC:        99         99   \
                    Local timer interrupts\nCAL:          5          6   Function call interrupts\nERR:          1\n";
        assert_eq!(sum(text), 3 + 4 + 5 + 6 + 1);
        assert_eq!(sum(""), 0);
    }
}
