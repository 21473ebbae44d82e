// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The states of a point that affect the whole kernel: the monitor of all tasks, and the sysctl. Dropping
//! [`SystemState`] restores the kernel's previous state.

use super::dimension::{Monitor, Point, Sysctl};
use crate::case::Failure;
use crate::cases::audit::Audit;
use crate::cases::tracefs::Tracefs;
use crate::shared::KernelChange;
use crate::support::broken;

const SYSCTL: &str = "/proc/sys/kernel/syscall_user_dispatch";

/// The monitor that runs now, and the value of the sysctl.
#[derive(Default)]
pub(super) struct SystemState {
    monitor: Option<Monitor>,
    tracepoints: Option<Tracefs>,
    audit: Option<Audit>,
    /// The change of the kernel while the sysctl denies arming.
    sysctl_change: Option<KernelChange>,
}

impl SystemState {
    /// Starts the point's monitor and stops any other.
    pub(super) fn set_monitor(&mut self, point: &Point) -> Result<(), Failure> {
        let monitor = point.monitor();
        if self.monitor == Some(monitor) {
            return Ok(());
        }
        self.tracepoints = None;
        if let Some(audit) = self.audit.take() {
            audit.stop()?;
        }
        self.monitor = Some(monitor);
        match monitor {
            Monitor::None => {}
            Monitor::Tracepoints => {
                let events = ["raw_syscalls/sys_enter", "raw_syscalls/sys_exit"];
                self.tracepoints = Some(Tracefs::start_without_recording(&events)?);
            }
            // Audit a call that no point makes, so that there are no audit records to read.
            Monitor::Audit => self.audit = Some(Audit::start(libc::SYS_umask)?),
        }
        Ok(())
    }

    /// Sets the sysctl to the point's state.
    pub(super) fn set_sysctl(&mut self, point: &Point) -> Result<(), Failure> {
        let deny = point.sysctl() == Sysctl::Denies;
        if deny && self.sysctl_change.is_none() {
            self.sysctl_change = Some(KernelChange::begin());
            std::fs::write(SYSCTL, "0").map_err(broken("sysctl"))?;
        } else if !deny && self.sysctl_change.is_some() {
            std::fs::write(SYSCTL, "1").map_err(broken("sysctl"))?;
            self.sysctl_change = None;
        }
        Ok(())
    }
}

impl Drop for SystemState {
    fn drop(&mut self) {
        if self.sysctl_change.is_some() {
            let _ = std::fs::write(SYSCTL, "1");
        }
    }
}
