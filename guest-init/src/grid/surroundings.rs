// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The states of a point that belong to the whole kernel: what observes all tasks, and the sysctl.
//! They are as they were when this is dropped.

use super::dimension::{Point, Sysctl, Watch};
use crate::case::Failure;
use crate::cases::audit::Audit;
use crate::cases::tracefs::Tracefs;
use crate::support::broken;

const SYSCTL: &str = "/proc/sys/kernel/syscall_user_dispatch";

/// What is in force at the moment.
#[derive(Default)]
pub(super) struct Surroundings {
    watch: Option<Watch>,
    tracepoints: Option<Tracefs>,
    audit: Option<Audit>,
    denied: bool,
}

impl Surroundings {
    /// Brings about what this point wants to observe it.
    pub(super) fn observe(&mut self, point: &Point) -> Result<(), Failure> {
        let watch = point.watch();
        if self.watch == Some(watch) {
            return Ok(());
        }
        self.tracepoints = None;
        if let Some(audit) = self.audit.take() {
            audit.stop()?;
        }
        self.watch = Some(watch);
        match watch {
            Watch::None => {}
            Watch::Tracepoints => {
                let events = ["raw_syscalls/sys_enter", "raw_syscalls/sys_exit"];
                self.tracepoints = Some(Tracefs::start_blind(&events)?);
            }
            // The rule is about a call that no point makes: nobody has to read records.
            Watch::Audit => self.audit = Some(Audit::start(libc::SYS_umask)?),
        }
        Ok(())
    }

    /// Sets the sysctl as this point wants it.
    pub(super) fn permit(&mut self, point: &Point) -> Result<(), Failure> {
        let deny = point.sysctl() == Sysctl::Denies;
        if deny != self.denied {
            std::fs::write(SYSCTL, if deny { "0" } else { "1" }).map_err(broken("sysctl"))?;
            self.denied = deny;
        }
        Ok(())
    }
}

impl Drop for Surroundings {
    fn drop(&mut self) {
        if self.denied {
            let _ = std::fs::write(SYSCTL, "1");
        }
    }
}
