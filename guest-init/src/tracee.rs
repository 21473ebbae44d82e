// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A child process that a case traces with ptrace(2).

use crate::arch::TraceeRegisters;
use crate::case::{Check, Failure};
use crate::probe::{PTRACE_GET_DISPATCH, PTRACE_SET_DISPATCH};
use crate::ptrace::{self, CALL_STOP};
use crate::support::*;
use crate::sys::{self, WaitStatus};

/// A dispatch configuration: `struct ptrace_sud_config` (include/uapi/linux/ptrace.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Config {
    pub(crate) mode: u64,
    pub(crate) selector: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The size of a [`Config`] in bytes.
pub(crate) const CONFIG_SIZE: u64 = size_of::<Config>() as u64;

/// The kind of a stop: `PTRACE_SYSCALL_INFO_*` (include/uapi/linux/ptrace.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopKind {
    None,
    Entry,
    Exit,
    Other(u8),
}

/// A child that this process traces. The kernel kills it when this process ends.
pub(crate) struct Tracee {
    pub(crate) pid: i32,
}

/// Stops the calling tracee by SIGSTOP until its tracer resumes it.
pub(crate) fn pause_for_tracer() {
    let _ = sys::kill(sys::getpid(), libc::SIGSTOP);
}

/// Exit code of a child for which `PTRACE_TRACEME` fails, as in some containers.
const NOT_TRACED: i32 = 98;

impl Tracee {
    /// Forks a tracee that calls `run` and exits with the result of `run`. Waits until the tracee calls
    /// [`pause_for_tracer`] for the first time.
    pub(crate) fn start(run: impl FnOnce() -> i32) -> Result<Tracee, Failure> {
        let pid = spawn_child(|| {
            if ptrace::trace_me().is_err() {
                return NOT_TRACED;
            }
            run()
        })?;
        let tracee = Tracee { pid };
        let status = wait_for_change(pid)?;
        if status == WaitStatus::Exited(NOT_TRACED) {
            return Err(Failure::Broken("PTRACE_TRACEME is refused".into()));
        }
        if status != WaitStatus::Stopped(libc::SIGSTOP) {
            return Err(mismatch("the tracee sets itself up and stops", format!("it {status}")));
        }
        ptrace::set_options(pid).map_err(refused_request("PTRACE_SETOPTIONS"))?;
        Ok(tracee)
    }

    /// Attaches to a running task (a child, or a thread of a child), and stops the task.
    pub(crate) fn seize(pid: i32) -> Result<Tracee, Failure> {
        ptrace::seize(pid).map_err(broken("PTRACE_SEIZE"))?;
        let tracee = Tracee { pid };
        tracee.interrupt()?;
        expect_equal("the seized task", wait_for_change(pid)?, Tracee::INTERRUPTED)?;
        Ok(tracee)
    }

    /// The stop that [`Tracee::interrupt`] causes.
    pub(crate) const INTERRUPTED: WaitStatus =
        WaitStatus::Stopped(libc::SIGTRAP | ptrace::EVENT_STOP << 8);

    /// Stops a seized task (`PTRACE_INTERRUPT`). If the task is stopped already, it stops again when the
    /// tracer resumes it.
    pub(crate) fn interrupt(&self) -> Check {
        self.request(ptrace::INTERRUPT, 0, 0).map_err(refused_request("PTRACE_INTERRUPT")).map(drop)
    }

    /// Makes a ptrace(2) request of the stopped tracee.
    pub(crate) fn request(&self, request: u32, address: u64, data: u64) -> sys::Result<u64> {
        ptrace::request(self.pid, request, address, data)
    }

    /// Resumes the tracee by `request`, delivering `signal`, and waits until the tracee stops or ends.
    pub(crate) fn resume(&self, request: u32, signal: i32) -> Result<WaitStatus, Failure> {
        self.request(request, 0, u64::from(signal.cast_unsigned()))
            .map_err(refused_request("resuming the tracee"))?;
        wait_for_change(self.pid)
    }

    /// Resumes the tracee, and checks that it stops next with the status `stop`.
    fn expect_stop(&self, request: u32, signal: i32, stop: i32) -> Check {
        let got = self.resume(request, signal)?;
        let expected = WaitStatus::Stopped(stop);
        let describe = |change: WaitStatus| match change {
            WaitStatus::Stopped(CALL_STOP) => "stopped at a system call".to_owned(),
            other => other.to_string(),
        };
        ensure(got == expected, &format!("the tracee: {}", describe(expected)), || describe(got))
    }

    /// Resumes the tracee, and checks that it stops next for the signal `expected`.
    pub(crate) fn resume_to_signal(&self, request: u32, signal: i32, expected: i32) -> Check {
        self.expect_stop(request, signal, expected)
    }

    /// Resumes the tracee, and checks that it stops next at a system call.
    pub(crate) fn expect_call_stop(&self, request: u32, signal: i32) -> Check {
        self.expect_stop(request, signal, CALL_STOP)
    }

    /// Resumes the tracee, and checks that it stops next at the system call with the number `call`, with a
    /// stop of this kind (entry or exit).
    pub(crate) fn expect_call(
        &self,
        request: u32,
        signal: i32,
        kind: StopKind,
        call: i64,
    ) -> Check {
        self.expect_call_stop(request, signal)?;
        expect_equal("kind of stop", self.stop_kind()?, kind)?;
        let got = self.registers()?.number.cast_signed();
        expect_equal("number of the call", got, call)
    }

    /// The general registers.
    pub(crate) fn registers(&self) -> Result<TraceeRegisters, Failure> {
        ptrace::registers(self.pid).map_err(refused_request("PTRACE_GETREGSET"))
    }

    /// Sets the general registers.
    pub(crate) fn set_registers(&self, registers: &TraceeRegisters) -> Check {
        ptrace::set_registers(self.pid, registers).map_err(refused_request("PTRACE_SETREGSET"))
    }

    /// A register set (`NT_*`, include/uapi/linux/elf.h) as bytes.
    pub(crate) fn register_set(&self, set: i32) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; PAGE_SIZE];
        let length = self.regset(libc::PTRACE_GETREGSET, set, &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Sets a register set to bytes that [`Tracee::register_set`] returned.
    pub(crate) fn set_register_set(&self, set: i32, bytes: &[u8]) -> Check {
        self.regset(libc::PTRACE_SETREGSET, set, &mut bytes.to_vec()).map(drop)
    }

    /// Reads or writes a register set. Returns the number of bytes.
    fn regset(&self, request: u32, set: i32, bytes: &mut [u8]) -> Result<usize, Failure> {
        ptrace::regset(self.pid, request, set, bytes)
            .map_err(refused_request("PTRACE_GETREGSET or PTRACE_SETREGSET"))
    }

    /// The kind of the stop by `PTRACE_GET_SYSCALL_INFO`.
    pub(crate) fn stop_kind(&self) -> Result<StopKind, Failure> {
        let info =
            ptrace::call_info(self.pid).map_err(refused_request("PTRACE_GET_SYSCALL_INFO"))?;
        Ok(match info[0] {
            0 => StopKind::None,
            1 => StopKind::Entry,
            2 => StopKind::Exit,
            other => StopKind::Other(other),
        })
    }

    /// Reads the dispatch configuration by a request with this size and address.
    pub(crate) fn get_config_at(&self, size: u64, address: u64) -> sys::Result<u64> {
        self.request(request_code(PTRACE_GET_DISPATCH), size, address)
    }

    /// Sets the dispatch configuration by a request with this size and address.
    pub(crate) fn set_config_at(&self, size: u64, address: u64) -> sys::Result<u64> {
        self.request(request_code(PTRACE_SET_DISPATCH), size, address)
    }

    /// The dispatch configuration.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        // The kernel must overwrite all fields, so fill them with a value that no configuration has.
        let mut config = Config { mode: 9, selector: 9, offset: 9, length: 9 };
        match self.get_config_at(CONFIG_SIZE, &raw mut config as u64) {
            Ok(_) => Ok(config),
            Err(error) => {
                Err(mismatch("the tracer can read the dispatch configuration", error.to_string()))
            }
        }
    }

    /// Sets the dispatch configuration.
    pub(crate) fn set_config(&self, config: &Config) -> sys::Result<()> {
        self.set_config_at(CONFIG_SIZE, std::ptr::from_ref(config) as u64).map(drop)
    }

    /// Kills and reaps the tracee.
    pub(crate) fn kill(&self) -> Check {
        sys::kill(self.pid, libc::SIGKILL).map_err(broken("kill"))?;
        while let WaitStatus::Stopped(_) = wait_for_change(self.pid)? {}
        Ok(())
    }
}

/// A request number as ptrace(2) takes it.
pub(crate) fn request_code(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
