// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Selects the most informative lines of console output.

use sudbox_protocol::{NO_HOST_LINE_PREFIX, PROBLEM_LINE_PREFIX};

/// Rank of a console line; 0 is the most informative.
fn rank(line: &str) -> u8 {
    const HEADLINES: [&str; 14] = [
        "Kernel panic",
        "BUG:",
        "Oops",
        "WARNING:",
        "general protection fault",
        "invalid opcode",
        "lockup",
        "LOCKUP",
        "stall",
        "blocked for more than",
        "UBSAN:",
        "Unable to mount",
        NO_HOST_LINE_PREFIX,
        PROBLEM_LINE_PREFIX,
    ];
    // The unwinder marks uncertain frames with a question mark.
    let is_frame = line.contains("+0x") && line.contains("/0x");
    if HEADLINES.iter().any(|headline| line.contains(headline)) {
        0
    // The instruction pointer, as x86 and arm64 print it.
    } else if line.contains("RIP: 00") || line.contains("pc : ") {
        1
    } else if is_frame && !line.contains("? ") {
        2
    } else if ["Call Trace:", "CPU: ", "Comm: ", "Workqueue:"]
        .iter()
        .any(|prefix| line.contains(prefix))
    {
        3
    } else if is_frame {
        5
    } else if ["RAX: ", "RDX: ", "RBP: ", "R10: ", "R13: ", "FS: ", "CS: ", "CR2: ", "Code: "]
        .iter()
        .any(|register| line.contains(register))
    {
        6
    } else {
        4
    }
}

/// The `limit` most informative lines in their original order, and the number of lines left out.
pub(crate) fn most_informative(lines: &[String], limit: usize) -> (Vec<&str>, usize) {
    let mut indices: Vec<usize> = (0..lines.len()).collect();
    indices.sort_by_key(|&index| (rank(&lines[index]), index));
    indices.truncate(limit);
    indices.sort_unstable();
    let left_out = lines.len() - indices.len();
    (indices.into_iter().map(|index| lines[index].as_str()).collect(), left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn headlines_then_the_instruction_pointer_then_certain_frames_are_selected() {
        let lines = owned(&[
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "CPU: 0 UID: 0 PID: 77 Comm: case Not tainted 6.12.0 #1",
            "RIP: 0010:syscall_user_dispatch+0x3a/0x120",
            "Code: 48 8b 00 0f 0b",
            "RAX: 0000000000000000 RBX: ffffc90000013f58 RCX: 0000000000000000",
            "Call Trace:",
            " <TASK>",
            " ? __die+0x1f/0x70",
            " do_syscall_64+0x9e/0x1a0",
            "Kernel panic - not syncing: Fatal exception",
        ]);
        let (selected, left_out) = most_informative(&lines, 4);
        assert_eq!(selected, [&lines[0], &lines[2], &lines[8], &lines[9]]);
        assert_eq!(left_out, 6);
    }

    #[test]
    fn nothing_is_left_out_below_the_limit() {
        let lines = owned(&["a", "b"]);
        assert_eq!(most_informative(&lines, 2), (vec!["a", "b"], 0));
        assert_eq!(most_informative(&[], 2), (vec![], 0));
    }
}
