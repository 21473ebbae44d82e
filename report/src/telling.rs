//! The lines of a console excerpt that tell most, where there is no room for all.

use sudbox_protocol::{CONSOLE_NO_HOST, CONSOLE_PROBLEM};

/// How little a line tells; 0 is the most.
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
        CONSOLE_NO_HOST,
        CONSOLE_PROBLEM,
    ];
    // A frame that the unwinder is not sure of starts with a question mark.
    let frame = line.contains("+0x") && line.contains("/0x");
    if HEADLINES.iter().any(|h| line.contains(h)) {
        0
    } else if line.contains("RIP: 00") || line.contains("pc : ") {
        1
    } else if frame && !line.contains("? ") {
        2
    } else if ["Call Trace:", "CPU: ", "Comm: ", "Workqueue:"].iter().any(|h| line.contains(h)) {
        3
    } else if frame {
        5
    } else if ["RAX: ", "RDX: ", "RBP: ", "R10: ", "R13: ", "FS: ", "CS: ", "CR2: ", "Code: "]
        .iter()
        .any(|h| line.contains(h))
    {
        6
    } else {
        4
    }
}

/// At most `room` of `lines`, the most telling ones, in their order; and how many are left out.
pub(crate) fn telling(lines: &[String], room: usize) -> (Vec<&str>, usize) {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|&i| (rank(&lines[i]), i));
    order.truncate(room);
    order.sort_unstable();
    let left_out = lines.len() - order.len();
    (order.into_iter().map(|i| lines[i].as_str()).collect(), left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|l| (*l).to_owned()).collect()
    }

    #[test]
    fn the_headline_the_place_and_sure_frames_come_first() {
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
        let (shown, left_out) = telling(&lines, 4);
        assert_eq!(shown, [&lines[0], &lines[2], &lines[8], &lines[9]]);
        assert_eq!(left_out, 6);
    }

    #[test]
    fn where_there_is_room_nothing_is_left_out() {
        let lines = owned(&["a", "b"]);
        assert_eq!(telling(&lines, 2), (vec!["a", "b"], 0));
        assert_eq!(telling(&[], 2), (vec![], 0));
    }
}
