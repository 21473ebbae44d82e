// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use std::io::Read as _;

#[test]
fn a_first_process_that_survives_sigterm_is_killed() {
    let namespaces = Namespaces::available();
    if namespaces == Namespaces::None {
        let _ = writeln!(io::stderr(), "NOT RUN: this host allows no namespaces");
        return;
    }
    // The signal that the shell sends to itself is dropped, as that of make is.
    let script = "trap 'trap - TERM; kill -TERM $$' TERM; echo; \
                  for second in 1 2 3 4 5 6 7 8 9 10; do sleep 1; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdout(Stdio::piped());
    // SAFETY: the closure allocates nothing.
    unsafe { command.pre_exec(move || namespaces.enter()) };
    let mut child = command.spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    // SAFETY: takes no pointers.
    unsafe { libc::kill(i32::try_from(child.id()).unwrap(), libc::SIGTERM) };
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGKILL));
}
