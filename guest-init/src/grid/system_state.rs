// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The states of a point that affect the whole kernel: the monitor of all tasks, and the sysctl. Dropping
//! [`SystemState`] restores the kernel's previous state.

use super::dimension::{Monitor, Point, Sysctl};
use crate::case::Failure;
use crate::cases::audit::Audit;
use crate::cases::sysctl::ArmingDeniedGuard;
use crate::cases::tracefs::Tracefs;

/// The monitor that runs now, and the value of the sysctl.
#[derive(Default)]
pub(super) struct SystemState {
    monitor: Option<Monitor>,
    tracepoints: Option<Tracefs>,
    audit: Option<Audit>,
    /// While the sysctl denies arming.
    arming_denied: Option<ArmingDeniedGuard>,
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
        if point.sysctl() != Sysctl::Denies {
            self.arming_denied = None;
        } else if self.arming_denied.is_none() {
            self.arming_denied = Some(ArmingDeniedGuard::new()?);
        }
        Ok(())
    }
}
