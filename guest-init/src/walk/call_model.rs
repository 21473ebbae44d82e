// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The model of one call of a random walk: its dispatch, its seccomp filters, its signal and its effect.

use super::Platform;
use super::event::{EventKind, SYS_SECCOMP, SYS_USER_DISPATCH};
use super::operations::{
    Call, CallSite, Disposition, Filter, FilterAction, Program, ProgramLayout, Selector,
};
use super::registers::registers;
use crate::arch::{AUDIT_ARCH, AUDIT_ARCH_COMPAT, Reg};
use crate::oracle::{Config, Decision, Rules};

/// The selector bytes, which tasks with the same memory share.
pub(super) type SelectorBytes = [u8; 2];

/// The seccomp filters of a thread with the numbers of the steps that installed them, the oldest first.
pub(super) type FilterChain = Vec<(u16, Filter)>;

/// The reason for a SIGSYS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum SigsysReason {
    /// The call was dispatched.
    Dispatch,
    /// A seccomp filter trapped the call, with this `si_errno`.
    Filter(u8),
}

/// The effect of a call that the kernel executes.
pub(super) enum Effect {
    /// The call returns this result.
    Returns(u64),
    /// The call replaces the program.
    ReplacesProgram,
}

/// A call with the values that the model predicts for it.
#[derive(Clone, Copy)]
pub(super) struct ModelledCall {
    pub(super) site: CallSite,
    pub(super) call: Call,
    /// The number as the kernel reads it.
    pub(super) number: i32,
    /// The compared address.
    pub(super) address: u64,
    /// The result register after the kernel has rolled the call back (`syscall_rollback()`).
    pub(super) result_after_rollback: u64,
    /// `si_arch`
    arch: u32,
}

/// The rules of calls on a kernel.
#[derive(Clone, Copy)]
pub(super) struct CallModel<'a> {
    pub(super) layout: &'a ProgramLayout,
    pub(super) platform: Platform,
}

impl CallModel<'_> {
    /// A call from this site, with the values that the model predicts.
    pub(super) fn call(&self, site: CallSite, call: Call) -> ModelledCall {
        let regs = registers(site, call, self.layout);
        // The kernel reads only the low half of the number register and stores it in `si_syscall`.
        #[allow(clippy::cast_possible_truncation)]
        let number = regs[Reg::NUMBER] as i32;
        let (arch, result_after_rollback) = match site {
            CallSite::CompatGate => (AUDIT_ARCH_COMPAT, regs[Reg::RESULT] & 0xffff_ffff),
            _ => (AUDIT_ARCH, regs[Reg::RESULT]),
        };
        let address = self.layout.compared_address(site);
        ModelledCall { site, call, number, address, result_after_rollback, arch }
    }

    /// The kernel's decision about a call with this compared address.
    pub(super) fn decide(&self, config: &Config, address: u64, bytes: &SelectorBytes) -> Decision {
        config.decide(address, |selector| {
            let index = self.layout.selectors.iter().position(|address| *address == selector);
            index.map(|index| bytes[index])
        })
    }

    /// The event of a handled SIGSYS.
    pub(super) fn sigsys(
        &self,
        call: &ModelledCall,
        reason: SigsysReason,
        continues_at: u64,
    ) -> EventKind {
        let (code, errno) = match reason {
            SigsysReason::Dispatch => (SYS_USER_DISPATCH, 0),
            SigsysReason::Filter(data) => (SYS_SECCOMP, data.into()),
        };
        EventKind::SigsysHandled {
            number: call.number,
            code,
            errno,
            arch: call.arch,
            call_address: call.address,
            result: call.result_after_rollback,
            continues_at,
            is_disturbed: false,
        }
    }

    /// Simulates the execution of a call by a task with this configuration.
    pub(super) fn execute(
        &self,
        call: &ModelledCall,
        config: &mut Config,
        umask: &mut u64,
    ) -> Effect {
        Effect::Returns(match call.call {
            Call::Umask(value) | Call::UmaskWithHighBit(value) => {
                std::mem::replace(umask, value.into())
            }
            Call::UnusedNumber | Call::MinusOne => error_result(libc::ENOSYS),
            Call::Prctl(arguments) => {
                let mut arguments = self.layout.arguments(arguments);
                if call.site == CallSite::CompatGate {
                    arguments = arguments.map(|argument| argument & 0xffff_ffff);
                }
                error_result(self.configure(config, arguments))
            }
            Call::Exec(Program::Valid) => return Effect::ReplacesProgram,
            Call::Exec(Program::NoFormat) => error_result(libc::ENOEXEC),
            Call::Exec(Program::UnreadableArguments) => error_result(libc::EFAULT),
        })
    }

    /// Simulates setting a configuration. Returns 0 or an error number.
    pub(super) fn configure(&self, config: &mut Config, arguments: [u64; 4]) -> i32 {
        let rules = Rules {
            has_inclusive_mode: self.platform.has_inclusive_mode,
            is_arming_permitted: true,
        };
        let is_forbidden = |selector| selector == self.layout.selector(Selector::Kernel);
        match Config::set(arguments, rules, is_forbidden) {
            Ok(new_config) => {
                *config = new_config;
                0
            }
            Err(error) => error,
        }
    }
}

/// The result register of a call that fails with this error number, or succeeds with 0.
pub(super) fn error_result(errno: i32) -> u64 {
    i64::from(-errno).cast_unsigned()
}

/// The action of the filters for a call from this site; `None` if all filters allow the call. The most severe
/// action counts; among equally severe actions, that of the newest filter (`seccomp_run_filters()`).
pub(super) fn filter_action(chain: &FilterChain, site: CallSite) -> Option<FilterAction> {
    let severity = |action: &FilterAction| match action {
        FilterAction::Kill => 0,
        FilterAction::Trap(_) => 1,
        FilterAction::Errno(_) => 2,
    };
    let actions = chain.iter().rev().filter(|(_, filter)| filter.site == site);
    // `min_by_key` returns the first of equal elements.
    actions.map(|(_, filter)| filter.action).min_by_key(severity)
}

/// Simulates a SIGSYS that the kernel forces on a task (`force_sig_info_to_task()`). Returns true if a
/// handler runs, false if the signal kills the process.
pub(super) fn deliver_sigsys(disposition: &mut Disposition, is_blocked: bool) -> bool {
    match *disposition {
        _ if is_blocked => false,
        Disposition::Default | Disposition::Ignored => false,
        Disposition::ResetHand => {
            *disposition = Disposition::Default;
            true
        }
        Disposition::Handler | Disposition::NoDefer => true,
    }
}
