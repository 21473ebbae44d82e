// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use crate::monitor::Silent;
use crate::monitor::tests::Interrupted;

fn shell(script: &str) -> Command {
    let mut shell = command("sh", Owner::default());
    shell.args(["-c", script]);
    shell
}

fn lines_of(commands: Vec<Command>) -> (Vec<String>, Vec<ExitStatus>) {
    let mut lines = Vec::new();
    let statuses = run(commands, &EntryLock::default(), &mut Silent, &mut |_, event| {
        if let Event::Line(line) = event {
            lines.push(line.to_owned());
        }
    });
    (lines, statuses.unwrap())
}

#[test]
fn both_streams_are_read_by_lines_and_pipelines_joined() {
    let (mut lines, statuses) = lines_of(vec![
        shell("echo warn >&2; printf 'b\\na\\n'; exit 3"),
        shell("sort; printf tail"),
    ]);
    lines.sort();
    assert_eq!(lines, ["a", "b", "tail", "warn"]);
    assert_eq!(statuses[0].code(), Some(3));
    assert_eq!(statuses[1].code(), Some(0));
}

#[test]
fn only_listed_variables_are_inherited() {
    // make exports the first of these; cargo test sets CARGO_*.
    let (lines, _) = lines_of(vec![shell("env")]);
    for line in &lines {
        let name = line.split('=').next().unwrap();
        let allowed = INHERITED_VARIABLES.contains(&name)
            || INHERITED_PREFIXES.iter().any(|p| name.starts_with(p))
            || ["LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"].contains(&name);
        assert!(allowed, "{line} leaked");
    }
    assert!(std::env::vars().any(|(name, _)| name.starts_with("CARGO")), "the test can fail");
}

#[test]
fn an_interrupt_kills_the_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("pid");
    let script =
        format!("trap '' TERM; (trap '' TERM; echo $$ > {}; sleep 60) & wait", mark.display());
    let start = Instant::now();
    let mut late = Late(Interrupted::new(), start + Duration::from_millis(300));
    let result = run(vec![shell(&script)], &EntryLock::default(), &mut late, &mut |_, _| {});
    assert!(matches!(result, Err(Error::Interrupted)));
    assert!(start.elapsed() < KILL_DELAY + Duration::from_secs(2));
    let pid: i32 = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    while alive_in_group(pid) {
        assert!(Instant::now() < until, "the group is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process of the group is alive. Zombies that PID 1 has not reaped do not count.
fn alive_in_group(group: i32) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        fields.next() != Some("Z") && fields.nth(1) == Some(&group.to_string())
    })
}

/// A monitor that interrupts after some time.
struct Late(Interrupted, Instant);

impl Monitor for Late {
    fn phase(&mut self, _: &str) {}
    fn progress(&mut self, _: u64, _: u64, _: &str) {}
    fn note(&mut self, _: &str) {}
    fn interrupt(&self) -> Option<BorrowedFd<'_>> {
        if Instant::now() < self.1 { None } else { self.0.interrupt() }
    }
}

#[test]
fn a_missing_program_is_named() {
    let error = run(
        vec![command("sudbox-no-such-program", Owner::default())],
        &EntryLock::default(),
        &mut Silent,
        &mut |_, _| {},
    )
    .unwrap_err();
    assert_eq!(error.fault(), crate::Fault::Machine);
    assert!(error.to_string().contains("sudbox-no-such-program"));
}
