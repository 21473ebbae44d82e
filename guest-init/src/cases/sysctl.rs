// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The sysctl that permits or denies arming, which is to set a configuration of dispatch (7.3 and later).

use crate::arch;
use crate::case::{Case, Check, Failure, Need, case};
use crate::probe::environment;
use crate::shared::KernelChange;
use crate::support::*;
use crate::sys::{self, Errno, WaitStatus};
use crate::tracee::{Config, Tracee, pause_for_tracer};
use sudbox_protocol::Feature;

const ARMING_FUNCTION: &str = "task_set_syscall_user_dispatch()";
const NEEDS_SYSCTL: &[Feature] = &[Feature::Dispatch, Feature::Sysctl];
const NEEDS_SYSCTL_AND_PTRACE_CONFIG: &[Feature] =
    &[Feature::Dispatch, Feature::Sysctl, Feature::PtraceConfig];
const SYSCTL_PATH: &str = "/proc/sys/kernel/syscall_user_dispatch";
/// The sysctl is system-wide, so changing it needs root and a VM of its own.
const NEEDS_ROOT_AND_VM: &[Need] = &[Need::Root, Need::Vm];

pub(super) const CASES: &[Case] = &[
    case("sysctl/on-at-boot", "after boot the sysctl is 1", ARMING_FUNCTION, on_at_boot)
        .features(NEEDS_SYSCTL)
        .needs(&[Need::Vm]),
    case(
        "sysctl/any-value-permits",
        "any number but 0 permits arming and reads as 1",
        "proc_dobool()",
        any_value_permits,
    )
    .features(NEEDS_SYSCTL)
    .needs(NEEDS_ROOT_AND_VM),
    case(
        "sysctl/denies-arming",
        "while the sysctl is 0, arming is EPERM, also for root",
        ARMING_FUNCTION,
        denies_arming,
    )
    .features(NEEDS_SYSCTL)
    .needs(NEEDS_ROOT_AND_VM),
    case(
        "sysctl/armed-stay-armed",
        "with 0 an armed task stays armed, cannot arm again, and can disarm",
        ARMING_FUNCTION,
        armed_stay_armed,
    )
    .features(NEEDS_SYSCTL)
    .needs(NEEDS_ROOT_AND_VM),
    case(
        "sysctl/denies-tracer",
        "with 0 a tracer cannot arm its tracee, but can disarm it",
        "syscall_user_dispatch_set_config()",
        denies_tracer,
    )
    .features(NEEDS_SYSCTL_AND_PTRACE_CONFIG)
    .needs(NEEDS_ROOT_AND_VM),
    case(
        "sysctl/only-for-root",
        "neither an ordinary user nor root of a user namespace can change the sysctl",
        "proc_dobool()",
        only_for_root,
    )
    .features(NEEDS_SYSCTL)
    .needs(NEEDS_ROOT_AND_VM),
];

fn write_sysctl(text: &str) -> std::io::Result<()> {
    std::fs::write(SYSCTL_PATH, text)
}

/// Checks that the sysctl reads as `expected`.
fn expect_value(expected: &str) -> Check {
    let text = std::fs::read_to_string(SYSCTL_PATH).map_err(broken("sysctl"))?;
    expect_equal("the sysctl", text.trim_end(), expected)
}

/// The sysctl at 0, which denies arming. Dropping the guard sets the sysctl to 1.
pub(crate) struct ArmingDeniedGuard {
    change: Option<KernelChange>,
}

impl ArmingDeniedGuard {
    pub(crate) fn new() -> Result<ArmingDeniedGuard, Failure> {
        let guard = ArmingDeniedGuard { change: Some(KernelChange::begin()) };
        write_sysctl("0").map_err(broken("sysctl"))?;
        expect_value("0").map(|()| guard)
    }
}

impl Drop for ArmingDeniedGuard {
    fn drop(&mut self) {
        if write_sysctl("1").is_ok()
            && let Some(change) = self.change.take()
        {
            change.end();
        }
    }
}

fn on_at_boot() -> Check {
    expect_value("1")
}

fn any_value_permits() -> Check {
    handle_dispatches(do_nothing)?;
    for text in ["1", "2", "255"] {
        let _guard = ArmingDeniedGuard::new()?;
        write_sysctl(text)
            .map_err(|error| mismatch(format!("{text} is accepted"), error.to_string()))?;
        expect_value("1")?;
        arm()?;
        expect_dispatched(&arch::gate())?;
        disarm()?;
    }
    Ok(())
}

fn denies_arming() -> Check {
    handle_dispatches(do_nothing)?;
    let _guard = ArmingDeniedGuard::new()?;
    let (start, length) = (arch::inside().start, inside_length());
    expect_refused(MODE_EXCLUSIVE, start, length, selector_address(&SELECTOR), libc::EPERM)?;
    expect_refused(MODE_EXCLUSIVE, 0, 0, 0, libc::EPERM)?;
    if environment().features.contains(&Feature::Inclusive) {
        expect_refused(MODE_INCLUSIVE, start, length, selector_address(&SELECTOR), libc::EPERM)?;
    }
    // The kernel checks mode and range before the sysctl, and the selector after the sysctl.
    expect_refused(3, 0, 0, 0, libc::EINVAL)?;
    expect_refused(MODE_EXCLUSIVE, 1, 0, 0, libc::EINVAL)?;
    expect_refused(MODE_OFF, 1, 0, 0, libc::EINVAL)?;
    expect_refused(MODE_EXCLUSIVE, start, length, arch::KERNEL_ADDRESS, libc::EPERM)?;
    disarm()?;
    expect_executed_despite_block(&arch::gate())
}

fn armed_stay_armed() -> Check {
    handle_dispatches(do_nothing)?;
    arm()?;
    let guard = ArmingDeniedGuard::new()?;
    expect_dispatched(&arch::gate())?;
    // The kernel refuses the task's own configuration and another configuration.
    expect_refused(
        MODE_EXCLUSIVE,
        arch::inside().start,
        inside_length(),
        selector_address(&SELECTOR),
        libc::EPERM,
    )?;
    expect_refused(MODE_EXCLUSIVE, 0, u64::MAX, 0, libc::EPERM)?;
    expect_dispatched(&arch::gate())?;
    expect_executed(&arch::gate())?;
    disarm()?;
    expect_executed_despite_block(&arch::gate())?;
    drop(guard);
    arm()?;
    expect_dispatched(&arch::gate())
}

fn denies_tracer() -> Check {
    handle_dispatches(do_nothing)?;
    let tracee = Tracee::start(|| {
        pause_for_tracer();
        let armed = arm();
        pause_for_tracer();
        let after_disarming = expect_executed_despite_block(&arch::gate());
        exit_code(armed.and(after_disarming).is_ok())
    })?;
    let armed = Config {
        mode: MODE_EXCLUSIVE,
        selector: selector_address(&SELECTOR),
        offset: arch::inside().start,
        length: inside_length(),
    };
    let guard = ArmingDeniedGuard::new()?;
    let refused = Err(Errno(libc::EPERM));
    expect_equal("arming by the tracer", tracee.set_config(&armed), refused)?;
    expect_equal("configuration after refused arming", tracee.config()?, Config::default())?;
    drop(guard);
    tracee.resume_to_signal(libc::PTRACE_CONT, 0, libc::SIGSTOP)?;
    let _guard = ArmingDeniedGuard::new()?;
    let shorter = Config { length: 1, ..armed };
    expect_equal("arming anew by the tracer", tracee.set_config(&shorter), refused)?;
    expect_equal("configuration after refused arming", tracee.config()?, armed)?;
    expect_equal("disarming by the tracer", tracee.set_config(&Config::default()), Ok(()))?;
    expect_success(tracee.resume(libc::PTRACE_CONT, 0)?)
}

fn only_for_root() -> Check {
    for in_namespace in [false, true] {
        let child = spawn_child(|| {
            if become_nobody().is_err() || in_namespace && become_namespace_root().is_err() {
                return SETUP_FAILED;
            }
            let error = write_sysctl("0").err().and_then(|error| error.raw_os_error());
            exit_code(matches!(error, Some(libc::EACCES | libc::EPERM)))
        })?;
        let status = wait_for_change(child)?;
        let _ = write_sysctl("1");
        if status == WaitStatus::Exited(SETUP_FAILED) {
            return Err(Failure::Unmet("user-namespace".into()));
        }
        expect_success(status)?;
    }
    expect_value("1")
}

/// Makes the process root of a new user namespace.
fn become_namespace_root() -> std::io::Result<()> {
    let flags = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_unshare, &[flags]) }.map_err(std::io::Error::other)?;
    std::fs::write("/proc/self/uid_map", format!("0 {NOBODY} 1"))
}
