// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::command;
use crate::file_owner::Owner;
use crate::monitor::Silent;
use crate::monitor::tests::Interrupted;

fn shell(script: &str) -> Command {
    let mut shell = command::clean("sh", Owner::default());
    shell.args(["-c", script]);
    shell
}

/// Runs a pipeline. Returns its lines of output and the exit statuses.
fn run_and_collect(commands: Vec<Command>) -> (Vec<String>, Vec<ExitStatus>) {
    let mut lines = Vec::new();
    let statuses = run(commands, &EntryLock::default(), &mut Silent, &mut |_, event| {
        if let Event::Line(line) = event {
            lines.push(line.to_owned());
        }
    });
    (lines, statuses.unwrap())
}

#[test]
fn stdout_of_the_last_command_and_stderr_of_all_are_read_by_lines() {
    let (mut lines, statuses) = run_and_collect(vec![
        shell("echo warn >&2; printf 'b\\na\\n'; exit 3"),
        shell("sort; printf tail"),
    ]);
    lines.sort();
    assert_eq!(lines, ["a", "b", "tail", "warn"]);
    assert_eq!(statuses[0].code(), Some(3));
    assert_eq!(statuses[1].code(), Some(0));
}

#[test]
fn an_interrupt_kills_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let pid_file = dir.path().join("pid");
    let script =
        format!("trap '' TERM; (trap '' TERM; echo $$ > {}; sleep 60) & wait", pid_file.display());
    let start = Instant::now();
    let mut monitor = InterruptAt(start + Duration::from_millis(300), Interrupted::new());
    let result = run(vec![shell(&script)], &EntryLock::default(), &mut monitor, &mut |_, _| {});
    assert!(matches!(result, Err(Error::Interrupted)));
    assert!(start.elapsed() < KILL_DELAY + Duration::from_secs(2));
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(2);
    while is_group_alive(pid) {
        assert!(Instant::now() < deadline, "a process of the group is alive");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process of the group is alive. Zombies that PID 1 has not reaped do not count.
fn is_group_alive(group: i32) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.next() != Some("Z") && fields.nth(1) == Some(&group.to_string())
    })
}

/// A monitor that interrupts from a time on.
struct InterruptAt(Instant, Interrupted);

impl Monitor for InterruptAt {
    fn phase(&mut self, _: &str) {}
    fn progress(&mut self, _: u64, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        if Instant::now() < self.0 { None } else { self.1.interrupt() }
    }
}

#[test]
fn a_missing_program_is_named() {
    let error = run(
        vec![command::clean("sudbox-no-such-program", Owner::default())],
        &EntryLock::default(),
        &mut Silent,
        &mut |_, _| {},
    )
    .unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Machine);
    assert!(error.to_string().contains("sudbox-no-such-program"));
}
