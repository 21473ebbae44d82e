// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Foreign programs in the sandbox. A program must have the same transcript on all engines.

use crate::arch::{self, Registers};
use crate::case::Check;
use crate::cases::tracefs::Tracefs;
use crate::sandbox::{
    self, Alien, CallContext, Engine, Fault, Image, NextAction, Personality, Sandbox, SandboxError,
};
use crate::support::*;
use crate::sys;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The transcript of the program for the personality [`Alien`], the same on all architectures.
const ALIEN_TRANSCRIPT: &str = r#"thread 0
  say(0x140000f00, 21) "hello from elsewhere\n" = 0x15, 0x7d6
  unknown(0xb11e000000000027) fails
  unknown(0xe7) fails
  unknown(0x3c) fails
  unknown(0x27) fails
  unknown(0xffffffffffffffff) fails
  nap(1)
  map(4096, 3) = 0x140400000, 0x0
  say(0x140400000, 8) "nowhere\n" = 0x8, 0x302
  protect(0x140400000, 4096, 1) = 0x3, 0x0
  faults(0x140000840) = 0x0, 0x0
  fault access to 0x140400000 at 0x140000800
  say(0x10, 1) fails
  protect(0x140400000, 4096, 3) = 0x1, 0x0
  spawn(0x140000c00, 0x140400000) = 0x1, 0x0
  join(1)
  call(0x140000d00, 2)
  call(0x140000d00, 1)
  call(0x140000d00, 0)
  done(1)
  done(3)
  done(7)
  stop(0)
thread 1
  say(0x140000f40, 13) "and a thread\n" = 0xd, 0x456
  leave(5)
console
  hello from elsewhere
  nowhere
  and a thread
end 0x0
"#;

fn expect_alien_transcript(engines: &[Engine]) -> Check {
    expect_transcript(&Image::of_code(arch::alien_program()), &Alien, engines, ALIEN_TRANSCRIPT)
}

pub(crate) fn alien_exclusive() -> Check {
    expect_alien_transcript(&[Engine::Exclusive])
}

pub(crate) fn alien_inclusive() -> Check {
    expect_alien_transcript(&[Engine::Inclusive])
}

pub(crate) fn alien_filter() -> Check {
    expect_alien_transcript(&[Engine::Exclusive, Engine::Filter])
}

pub(crate) fn alien_trace() -> Check {
    expect_alien_transcript(&[Engine::Exclusive, Engine::Trace])
}

/// The Linux calls that tasks of a sandbox issue for the emulator.
const EMULATOR_CALLS: &[i64] = &[
    libc::SYS_prctl,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigaction,
    libc::SYS_sigaltstack,
    libc::SYS_seccomp,
    libc::SYS_ptrace,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigreturn,
    libc::SYS_mprotect,
    libc::SYS_nanosleep,
    libc::SYS_clone,
    libc::SYS_sched_yield,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Linux calls that the emulator issues at most once for a task. The program issues calls with the same
/// numbers in their low bits. If Linux executed these calls of the program, there would be a second event with
/// the number.
const CALLED_ONCE: [i64; 3] = [libc::SYS_getpid, libc::SYS_exit, libc::SYS_exit_group];

pub(crate) fn calls_unseen_by_linux() -> Check {
    for engine in Engine::ALL {
        let trace = Tracefs::start(&["raw_syscalls/sys_enter"])?;
        let image = Image::of_code(arch::alien_program());
        let sandbox = match Sandbox::start(&image, &Alien, engine) {
            Err(SandboxError::Missing(_) | SandboxError::Refused { .. }) => continue,
            started => started.map_err(broken("starting"))?,
        };
        let transcript = sandbox.finish();
        let events_of_threads = trace.stop(sandbox.first_two_tids())?;
        check_transcript(engine, transcript, ALIEN_TRANSCRIPT)?;
        for events in events_of_threads {
            expect_only_emulator_calls(engine, &events)?;
        }
    }
    Ok(())
}

/// Checks that these `sys_enter` events are those of [`EMULATOR_CALLS`].
fn expect_only_emulator_calls(engine: Engine, events: &[String]) -> Check {
    let what = format!("{engine}: Linux sees calls of the emulator alone");
    let number =
        |text: &String| text.strip_prefix("sys_enter: NR ")?.split(' ').next()?.parse().ok();
    let numbers: Option<Vec<i64>> = events.iter().map(number).collect();
    let numbers = numbers.ok_or_else(|| mismatch(&*what, format!("{events:?}")))?;
    ensure(numbers.contains(&libc::SYS_sigaltstack), "its own are seen", || format!("{events:?}"))?;
    let are_of_emulator = numbers.iter().all(|number| EMULATOR_CALLS.contains(number));
    let count = |call| numbers.iter().filter(|number| **number == call).count();
    let are_called_once = CALLED_ONCE.iter().all(|call| count(*call) <= 1);
    ensure(are_of_emulator && are_called_once, &what, || format!("{events:?}"))
}

/// The personality [`Alien`], but for each emulated call it issues two Linux calls of its own: one from
/// inside the allowed range and one from outside.
struct AlienWithNativeCalls;

/// The number of calls of [`AlienWithNativeCalls`] that Linux executed.
static NATIVE_CALLS_EXECUTED: AtomicU64 = AtomicU64::new(0);
/// The number of calls that [`AlienWithNativeCalls`] issued.
static NATIVE_CALLS_ISSUED: AtomicU64 = AtomicU64::new(0);

/// The argument of the umask(2) calls of [`AlienWithNativeCalls`]: the umask that is set already.
const CURRENT_UMASK: u64 = 0o111;

/// Sets the umask, which the tasks of a sandbox share with this process; returns the previous one.
pub(crate) fn set_umask(mask: u64) -> sys::Result<u64> {
    // SAFETY: takes no pointers.
    unsafe { sys::call(libc::SYS_umask, &[mask]) }
}

impl Personality for AlienWithNativeCalls {
    fn name(&self) -> &'static str {
        Alien.name()
    }

    fn notification_limit(&self) -> Option<&'static str> {
        Alien.notification_limit()
    }

    fn prepare_first_thread(&self, call: &mut CallContext<'_>, image: &Image) -> Option<()> {
        Alien.prepare_first_thread(call, image)
    }

    fn call(&self, call: &mut CallContext<'_>, registers: &mut Registers) -> NextAction {
        let regs =
            Registers::for_call(call_number(libc::SYS_umask), [CURRENT_UMASK, 0, 0, 0, 0, 0]);
        let result_outside = arch::gate().issue(&regs).result().cast_unsigned();
        for result in [Ok(result_outside), set_umask(CURRENT_UMASK)] {
            NATIVE_CALLS_ISSUED.fetch_add(1, Ordering::SeqCst);
            let is_executed = result == Ok(CURRENT_UMASK);
            NATIVE_CALLS_EXECUTED.fetch_add(u64::from(is_executed), Ordering::SeqCst);
        }
        Alien.call(call, registers)
    }

    fn fault(
        &self,
        call: &mut CallContext<'_>,
        registers: &mut Registers,
        fault: Fault,
    ) -> NextAction {
        Alien.fault(call, registers, fault)
    }
}

pub(crate) fn native_untouched() -> Check {
    let image = Image::of_code(arch::alien_program());
    let calls = ALIEN_TRANSCRIPT.lines().filter(|line| line.contains('(')).count() as u64;
    set_umask(CURRENT_UMASK).map_err(broken("umask"))?;
    for engine in Engine::ALL {
        NATIVE_CALLS_ISSUED.store(0, Ordering::SeqCst);
        NATIVE_CALLS_EXECUTED.store(0, Ordering::SeqCst);
        match sandbox::run(&image, &AlienWithNativeCalls, engine) {
            Err(SandboxError::Missing(_) | SandboxError::Refused { .. }) => continue,
            result => check_transcript(engine, result, ALIEN_TRANSCRIPT)?,
        }
        let counts = [&NATIVE_CALLS_ISSUED, &NATIVE_CALLS_EXECUTED]
            .map(|count| count.load(Ordering::SeqCst));
        expect_equal(
            &format!("{engine}: Linux calls issued, and executed"),
            counts,
            [2 * calls; 2],
        )?;
    }
    Ok(())
}

/// Time between two signals.
const SIGNAL_INTERVAL: Duration = Duration::from_micros(200);

/// The signals to send. The kernel reports calls and faults by three of them.
const SIGNALS: [i32; 4] = [libc::SIGUSR1, libc::SIGSYS, libc::SIGSEGV, libc::SIGTRAP];

pub(crate) fn signals_from_outside() -> Check {
    let image = Image::of_code(arch::alien_program());
    let mut signal_count = 0;
    for engine in Engine::ALL {
        let sandbox = match Sandbox::start(&image, &Alien, engine) {
            Err(SandboxError::Missing(_) | SandboxError::Refused { .. }) => continue,
            started => started.map_err(broken("starting"))?,
        };
        let task = u64::from(sandbox.first_tid().cast_unsigned());
        // SAFETY: takes no pointers.
        let fd = unsafe { sys::call(libc::SYS_pidfd_open, &[task, 0]) };
        let fd = fd.map_err(broken("pidfd_open"))?;
        let sender = spawn_child(|| send_signals(fd))?;
        let transcript = sandbox.finish();
        check_transcript(engine, transcript, ALIEN_TRANSCRIPT)?;
        expect_success(wait_for_change(sender)?)?;
        signal_count += sandbox.outside_signal_count();
    }
    ensure(signal_count > 0, "signals from outside arrive", || "none did".into())
}

/// Sends signals to the task of this pidfd until the task has been reaped.
fn send_signals(fd: u64) -> i32 {
    for signal in SIGNALS.into_iter().cycle() {
        let signal = u64::from(signal.cast_unsigned());
        // SAFETY: takes no pointers.
        if unsafe { sys::call(libc::SYS_pidfd_send_signal, &[fd, signal, 0, 0]) }.is_err() {
            break;
        }
        sys::sleep(SIGNAL_INTERVAL);
    }
    0
}

/// Runs a program on each engine, and checks that its transcript is `expected`.
pub(crate) fn expect_transcript(
    image: &Image,
    personality: &'static dyn Personality,
    engines: &[Engine],
    expected: &str,
) -> Check {
    engines.iter().try_for_each(|engine| {
        check_transcript(*engine, sandbox::run(image, personality, *engine), expected)
    })
}

/// Checks that the transcript of a run is `expected`. If the transcript differs, logs it as a whole, and
/// fails with the first line that differs.
fn check_transcript(
    engine: Engine,
    transcript: Result<String, SandboxError>,
    expected: &str,
) -> Check {
    let transcript =
        transcript.map_err(|error| mismatch("the program ends", format!("{engine}: {error}")))?;
    if transcript == expected {
        return Ok(());
    }
    let line = (0..).find(|n| expected.lines().nth(*n) != transcript.lines().nth(*n)).unwrap_or(0);
    let describe_line = |text: &str| {
        format!(
            "{engine}, line {}: {}",
            line + 1,
            text.lines().nth(line).unwrap_or("the end").trim()
        )
    };
    let failure = mismatch(describe_line(expected), describe_line(&transcript));
    log(transcript);
    Err(failure)
}
