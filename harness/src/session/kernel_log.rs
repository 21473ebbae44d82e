// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds reports of kernel faults in console output.
//!
//! The patterns are those of Linux 6.12 and of other releases where they differ; comments name the
//! functions that print the reports. The patterns must not match reports of *user space* faults,
//! such as `traps: case[77] general protection fault`, because cases provoke such faults on
//! purpose.
//!
//! Console output of a process could be mistaken for a report. The risk is small, because
//! guest-init is the only process that writes to the console.
//!
//! The scan is linear in the length of the text and its result is bounded. The text may begin and
//! end within a line and may have no line ends.

use sudbox_protocol::{NO_HOST_LINE_PREFIX, PROBLEM_LINE_PREFIX};

/// Maximum length of a headline, in characters.
const MAX_HEADLINE_CHARS: usize = 300;
/// Maximum length of a line of an excerpt, in characters.
const MAX_LINE_CHARS: usize = 500;
/// Maximum number of lines of an excerpt.
const MAX_EXCERPT_LINES: usize = 160;
/// Maximum distance in lines from a `cut here` line to the headline of the same report.
const MAX_LINES_AFTER_CUT_HERE: usize = 3;

/// The kind of a fault that a kernel reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// A panic.
    Panic,
    /// An oops: an unhandled exception in the kernel.
    Oops,
    /// A failed check that the kernel reports as a bug: `BUG:`, `BUG_ON`, a corrupt list, a wrong
    /// reference count.
    Bug,
    /// A failed check with a warning (`WARN_ON`).
    Warning,
    /// A CPU is stuck in the kernel.
    Lockup,
    /// An RCU grace period does not end.
    RcuStall,
    /// A task sleeps uninterruptibly for too long.
    HungTask,
    /// A wrong access to memory, found by KASAN, KFENCE or KMSAN.
    MemoryAccess,
    /// A data race, found by KCSAN.
    DataRace,
    /// Undefined behaviour, found by UBSAN.
    UndefinedBehaviour,
    /// A wrong use of locks or RCU, found by lockdep.
    LockMisuse,
    /// guest-init gave up; the kernel reported no fault.
    InitGaveUp,
}

/// A fault that the kernel reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FaultReport {
    /// The kind of the fault.
    pub(crate) kind: FaultKind,
    /// The line that reports the fault, without time stamp.
    pub(crate) headline: String,
    /// The console output from the headline to the end of the trace, at most [`MAX_EXCERPT_LINES`]
    /// lines.
    pub(crate) excerpt: String,
}

impl FaultReport {
    /// Whether the fault makes the results of later cases in the same VM invalid. The kernel
    /// continues after a warning, a data race or undefined behaviour. It stops after any other
    /// fault, or its checks stop: KASAN and lockdep report only once.
    pub(crate) fn invalidates_later_cases(&self) -> bool {
        self.kind.invalidates_later_cases()
    }
}

impl FaultKind {
    fn invalidates_later_cases(self) -> bool {
        !matches!(self, FaultKind::Warning | FaultKind::DataRace | FaultKind::UndefinedBehaviour)
    }
}

/// The first report in `text` that invalidates later cases, or else the first report. If an oops
/// leads to a panic, the oops is returned.
pub(crate) fn scan(text: &str) -> Option<FaultReport> {
    let mut first_report: Option<(usize, FaultKind, &str)> = None;
    let mut cut_here_index = None;
    for (index, line) in text.lines().enumerate() {
        if line.contains("[ cut here ]") {
            cut_here_index = Some(index);
            continue;
        }
        let Some((kind, headline)) = match_line(line) else { continue };
        if first_report.is_some() && !kind.invalidates_later_cases() {
            continue;
        }
        // WARN() prints its message between the `cut here` line and the headline (__warn_printk()).
        let start = cut_here_index
            .filter(|cut_index| index - cut_index <= MAX_LINES_AFTER_CUT_HERE)
            .map_or(index, |cut_index| cut_index + 1);
        first_report = Some((start, kind, headline));
        if kind.invalidates_later_cases() {
            break;
        }
    }
    let (start, kind, headline) = first_report?;
    let mut excerpt = excerpt(text.lines().skip(start));
    let headline = truncated(headline, MAX_HEADLINE_CHARS);
    // Other output may precede the headline on its line.
    if !excerpt.contains(headline.trim_end_matches("...")) {
        excerpt = format!("{headline}\n{excerpt}");
    }
    Some(FaultReport { kind, headline, excerpt })
}

/// The kind and the headline of the report whose headline is on this line.
fn match_line(line: &str) -> Option<(FaultKind, &str)> {
    let line = line.trim_end();
    let message = without_printk_prefix(line);
    let headline_from = |pattern: &str| line.find(pattern).map(|start| &line[start..]);
    let match_any = |kind: FaultKind, patterns: &[&str]| {
        let headline = patterns.iter().find_map(|pattern| headline_from(pattern));
        headline.map(|headline| (kind, headline))
    };

    match_any(FaultKind::InitGaveUp, &[NO_HOST_LINE_PREFIX, PROBLEM_LINE_PREFIX])
        // vpanic(); exc_double_fault() and early_fixup_exception() of x86; mount_root_generic().
        .or_else(|| {
            match_any(
                FaultKind::Panic,
                &[
                    "Kernel panic - not syncing",
                    "PANIC: double fault",
                    "PANIC: early exception",
                    "VFS: Unable to mount root",
                ],
            )
        })
        .or_else(|| match_sanitizer(line))
        .or_else(|| match_stall(line, message))
        .or_else(|| match_lock_misuse(line))
        .or_else(|| match_bug(line))
        .or_else(|| is_oops(line).then_some((FaultKind::Oops, message)))
        // die_kernel_fault() of arm64 prints this line before the line with [#1].
        .or_else(|| match_any(FaultKind::Oops, &["Unable to handle kernel "]))
        .or_else(|| {
            let headline = headline_from("WARNING: ").filter(|headline| is_warning(headline));
            headline.map(|headline| (FaultKind::Warning, headline))
        })
}

/// KASAN (start_report(), print_error_description()), KFENCE (kfence_report_error()), KMSAN
/// (kmsan_report()), KCSAN (print_report()), UBSAN (ubsan_prologue()).
fn match_sanitizer(line: &str) -> Option<(FaultKind, &str)> {
    const PATTERNS: [(&str, FaultKind); 5] = [
        ("BUG: KASAN: ", FaultKind::MemoryAccess),
        ("BUG: KFENCE: ", FaultKind::MemoryAccess),
        ("BUG: KMSAN: ", FaultKind::MemoryAccess),
        ("BUG: KCSAN: ", FaultKind::DataRace),
        ("UBSAN: ", FaultKind::UndefinedBehaviour),
    ];
    PATTERNS
        .iter()
        .find_map(|(pattern, kind)| line.find(pattern).map(|start| (*kind, &line[start..])))
}

/// Lockups, stalls and hung tasks: watchdog_timer_fn(), watchdog_hardlockup_check(),
/// wq_watchdog_timer_fn(); print_cpu_stall(), print_other_cpu_stall(),
/// synchronize_rcu_expedited_wait(), check_holdout_task(); check_hung_task().
fn match_stall<'a>(line: &str, message: &'a str) -> Option<(FaultKind, &'a str)> {
    let has = |text: &str| line.contains(text);
    if has("BUG: soft lockup") || has("detected hard LOCKUP") || has("BUG: workqueue lockup") {
        Some((FaultKind::Lockup, message))
    } else if has("INFO: rcu") && (has("detected stall") || has("detected expedited stall")) {
        Some((FaultKind::RcuStall, message))
    } else if has("INFO: task ") && has(" blocked for more than ") {
        Some((FaultKind::HungTask, message))
    } else {
        None
    }
}

/// The reports of kernel/locking/lockdep.c, in the order of the functions that print them, and
/// DEBUG_LOCKS_WARN_ON() of include/linux/debug_locks.h.
fn match_lock_misuse(line: &str) -> Option<(FaultKind, &str)> {
    const PATTERNS: [&str; 16] = [
        "INFO: trying to register non-static key", // assign_lock_key()
        "WARNING: possible circular locking",      // print_circular_bug_header()
        "-unsafe lock order detected",             // print_bad_irq_dependency()
        "WARNING: possible recursive locking",     // print_deadlock_bug()
        "WARNING: chain_key collision",            // print_collision()
        "WARNING: inconsistent lock state",        // print_usage_bug()
        "WARNING: possible irq lock inversion",    // print_irq_inversion_bug()
        "BUG: Invalid wait context",               // print_lock_invalid_wait_context()
        "WARNING: Nested lock was not taken",      // print_lock_nested_lock_not_held()
        "WARNING: bad unlock balance",             // print_unlock_imbalance_bug()
        "WARNING: bad contention",                 // print_lock_contention_bug()
        "WARNING: held lock freed",                // print_freed_lock_bug()
        "still has locks held!",                   // print_held_locks_bug()
        "WARNING: lock held when returning to user", // lockdep_sys_exit()
        "WARNING: suspicious RCU usage",           // lockdep_rcu_suspicious()
        "DEBUG_LOCKS_WARN_ON(",
    ];
    PATTERNS
        .iter()
        .any(|pattern| line.contains(pattern))
        .then(|| (FaultKind::LockMisuse, without_printk_prefix(line)))
}

/// Failed checks. show_fault_oops() of x86, __schedule_bug(), __might_resched(), bad_page(), spin_dump()
/// and others print `BUG: `.
fn match_bug(line: &str) -> Option<(FaultKind, &str)> {
    const PATTERNS: [&str; 6] = [
        "kernel BUG at ",      // report_bug()
        "Kernel BUG at ",      // report_bug(), without file names in the kernel
        "list_add corruption", // lib/list_debug.c
        "list_add double add", // lib/list_debug.c
        "list_del corruption", // lib/list_debug.c
        "refcount_t: ",        // refcount_warn_saturate()
    ];
    // `BUG` must be a whole word: `DEBUG: ` contains the pattern too.
    line.match_indices("BUG: ")
        .map(|(start, _)| start)
        .find(|&start| !line[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        .or_else(|| PATTERNS.iter().find_map(|pattern| line.find(pattern)))
        .map(|start| (FaultKind::Bug, &line[start..]))
}

/// Whether a line has the number of the oops in brackets, which __die_header() of x86 and __die()
/// of arm64 print: `Oops: general protection fault, ...: 0000 [#1] PREEMPT SMP`.
fn is_oops(line: &str) -> bool {
    line.match_indices(" [#").any(|(start, mark)| {
        let number_and_rest = &line[start + mark.len()..];
        let after_number = number_and_rest.trim_start_matches(|c: char| c.is_ascii_digit());
        after_number.starts_with(']') && after_number.len() < number_and_rest.len()
    })
}

/// Whether a line with `WARNING: ` is a headline of __warn(): `WARNING: CPU: 0 PID: 1 at file:line
/// function`, from 6.18 on `WARNING: file:line at function, CPU#0: comm/1`. Other such lines are
/// advice (`WARNING: Unprivileged eBPF is enabled`) or come from the unwinder.
fn is_warning(message: &str) -> bool {
    message.contains(" at ") && (message.contains("CPU: ") || message.contains(", CPU#"))
}

/// A line without the prefix of printk: level, time, caller (info_print_prefix()).
fn without_printk_prefix(line: &str) -> &str {
    let mut message = line;
    loop {
        message = message.trim_start();
        let is_prefix_char = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '.' | 'T' | 'C');
        let bracketed_part = match message.as_bytes().first() {
            Some(b'[') => message[1..].split_once(']'),
            Some(b'<') => message[1..].split_once('>'),
            _ => None,
        };
        match bracketed_part {
            Some((part, after)) if part.len() <= 20 && part.chars().all(is_prefix_char) => {
                message = after
            }
            _ => return message,
        }
    }
}

/// The lines to the end mark of the panic, or to the end mark of the trace if there is no panic; at
/// most [`MAX_EXCERPT_LINES`].
fn excerpt<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.take(MAX_EXCERPT_LINES).collect();
    let panic_end = lines.iter().position(|line| line.contains("---[ end Kernel panic"));
    let trace_end = lines.iter().position(|line| line.contains("---[ end trace"));
    let has_panic = lines.iter().any(|line| line.contains("Kernel panic - not syncing"));
    // The end mark of an oops comes before the panic that the oops leads to.
    let end = match (panic_end, trace_end) {
        (Some(end), _) => end + 1,
        (None, Some(end)) if !has_panic => end + 1,
        _ => lines.len(),
    };
    let shortened: Vec<String> =
        lines[..end].iter().map(|line| truncated(line.trim_end(), MAX_LINE_CHARS)).collect();
    shortened.join("\n")
}

/// The first `max_chars` characters of `text`, and `...` if the text is longer.
fn truncated(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
pub(crate) mod tests;
