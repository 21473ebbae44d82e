// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Plays scenes in a task and records what the task itself can see.
//!
//! From arming on nothing here allocates or panics: a thread without the C library may be the one that
//! plays, and every call but those from inside may be one that is dispatched.

use super::proc;
use super::record::{Moment, Record};
use super::setting::{Alternate, Armed, Before, Filter, Raise, SCENES, STACK, Scene, Setting};
use crate::arch::{self, Entry, Floating, Place, Reg, Registers};
use crate::filter::{self, statement};
use crate::support::*;
use crate::sys::{self, Action};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Where the stack and the alternate stack are, one behind the other, and behind them room for a copy
/// of both.
static STACKS: AtomicUsize = AtomicUsize::new(0);
/// A stack that nobody can write to.
static UNWRITABLE: AtomicUsize = AtomicUsize::new(0);
/// The record, and where in it the handler writes.
static RECORD: AtomicPtr<Record> = AtomicPtr::new(std::ptr::null_mut());
/// The setting whose call the next handler is to make.
static AGAIN: AtomicPtr<Setting> = AtomicPtr::new(std::ptr::null_mut());
static SCENE: AtomicUsize = AtomicUsize::new(0);
static COMPAT: AtomicBool = AtomicBool::new(false);
static EVENTS: AtomicU32 = AtomicU32::new(0);
/// The call's registers that say who calls, and stand for it in the record: process and thread.
static WHO: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// What stands in the record for the process and the thread that make the call.
pub(super) const SOMEBODY: u64 = 0x1d;

/// How the playing ended, as an exit code.
pub(crate) const PLAYED: i32 = 0;
pub(crate) const NOT_ARMED: i32 = 90;
pub(crate) const NOT_FILTERED: i32 = 91;
pub(crate) const NOT_PREPARED: i32 = 92;

/// Makes the stacks, once in a case, before anybody plays.
pub(super) fn prepare() -> crate::case::Check {
    let start = pages((4 * STACK).div_ceil(PAGE))?;
    STACKS.store(start as usize, Ordering::SeqCst);
    let start = pages(2)?;
    protect(start, 2, libc::PROT_READ)?;
    UNWRITABLE.store(start as usize, Ordering::SeqCst);
    Ok(())
}

/// The stack or the alternate stack, whole.
fn area(index: usize) -> &'static [u8] {
    let start = STACKS.load(Ordering::SeqCst) + index * STACK;
    // SAFETY: `prepare` mapped it. Who writes to it is a handler's frame, while nobody holds this.
    unsafe { std::slice::from_raw_parts(start as *const u8, STACK) }
}

/// Copies both stacks, to tell later what became of them.
fn copy_stacks() {
    let start = STACKS.load(Ordering::SeqCst) as *mut u8;
    // SAFETY: as above; the copy is behind them.
    unsafe { std::ptr::copy_nonoverlapping(start, start.add(2 * STACK), 2 * STACK) };
}

/// Turns the copy into what has changed since it was made: zero where nothing has.
fn changes() -> [&'static [u8]; 2] {
    let start = STACKS.load(Ordering::SeqCst) as *mut u64;
    let words = 2 * STACK / 8;
    // SAFETY: as above.
    unsafe {
        for at in 0..words {
            let (now, copy) = (start.add(at).read(), start.add(words + at));
            copy.write(copy.read() ^ now);
        }
    }
    [area(2), area(3)]
}

fn paint() {
    let start = STACKS.load(Ordering::SeqCst) as *mut u64;
    for at in 0..2 * STACK / 8 {
        // SAFETY: as above.
        unsafe { start.add(at).write(0xa5a5_0000_5a5a_0000 | (at as u64) << 32 | at as u64) };
    }
}

/// The watched call: it queues to its caller what a dispatch of it would tell.
pub(super) fn call(like: Entry, place: Place, scene: &Scene) -> Registers {
    let (process, thread) = (sys::getpid(), sys::gettid());
    let who = [process, thread].map(|id| u64::from(id.cast_unsigned()));
    for (place, id) in WHO.iter().zip(who) {
        place.store(id, Ordering::SeqCst);
    }
    let signal = u64::from(libc::SIGSYS.cast_unsigned());
    let (mut regs, audit) = arch::queue_call(like, [who[0], who[1], signal, information()]);
    tell(place, &regs, audit);
    if let Some(flags) = Reg::STATE {
        regs[flags] |= scene.flags;
    }
    let top = match scene.alternate {
        Alternate::Entered | Alternate::EnteredDisarming => 2 * STACK,
        _ => STACK,
    };
    regs[Reg::Sp] = (STACKS.load(Ordering::SeqCst) + top) as u64 - 256 - scene.skew;
    regs
}

/// `struct siginfo` that the watched call queues.
static INFORMATION: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn information() -> u64 {
    INFORMATION.as_ptr() as u64
}

/// Writes down what a dispatch of this call would tell (`trigger_sigsys()`).
fn tell(place: Place, regs: &Registers, audit: u32) {
    let number = seen_number(regs[Reg::NUMBER]).cast_unsigned();
    let pair = |first: u32, second: u32| {
        let [a, b] = [first, second].map(u32::to_ne_bytes);
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
    };
    let words = [
        pair(libc::SIGSYS.cast_unsigned(), 0),
        pair(USER_DISPATCH.cast_unsigned(), 0),
        arch::watched_after(place),
        pair(number, audit),
    ];
    for (place, word) in INFORMATION.iter().zip(words) {
        place.store(word, Ordering::SeqCst);
    }
}

/// Registers in which who calls is somebody. A handler's arguments are what they are.
fn anonymous(registers: &Registers, entry: Entry, except: &[Reg]) -> Registers {
    let mut registers = *registers;
    for (reg, who) in arch::first_arguments(entry).into_iter().zip(&WHO) {
        if registers[reg] == who.load(Ordering::SeqCst) && !except.contains(&reg) {
            registers[reg] = SOMEBODY;
        }
    }
    registers
}

fn bytes<T>(value: &T) -> &[u8] {
    // SAFETY: used on arrays of numbers alone, which have no padding.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

fn see(record: &Record, moment: Moment, sight: &arch::Sight, except: &[Reg]) {
    record.put(moment, "registers", bytes(&anonymous(&sight.registers, entry(), except)));
    record.put(moment, "segments", sight.segments());
    record.put(moment, "floating", sight.floating());
}

/// What the kernel says of the task's signals and threads, by calls from inside.
fn ask(record: &Record, moment: Moment) {
    record.answer(moment, "mask", sys::sigmask(libc::SIG_BLOCK, 0));
    let mut pending = 0u64;
    let mut stack = [0u64; 3];
    // SAFETY: writes the mask and the description of the stack.
    unsafe {
        let _ = sys::call(libc::SYS_rt_sigpending, &[&raw mut pending as u64, 8]);
        let _ = sys::call(libc::SYS_sigaltstack, &[0, stack.as_mut_ptr() as u64]);
    }
    record.number(moment, "pending", pending);
    record.put(moment, "alternate stack", bytes(&stack));
    record.put(moment, "bases", bytes(&arch::bases()));
}

const STACK_NAMES: [&str; 2] = ["the stack", "the alternate stack"];
const CHANGE_NAMES: [&str; 2] = ["change of the stack", "change of the alternate stack"];
const PIECE_NAMES: [&str; 4] =
    ["below the frame", "behind the frame", "floating point frame", "above the frame"];

/// In which registers the task that plays has its arguments.
fn entry() -> Entry {
    if COMPAT.load(Ordering::SeqCst) { Entry::Compat } else { Entry::Native }
}

/// Called by the handler of every signal, on a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn sudbox_watch_event(signal: i32, info: *const [u8; 128], context: *mut arch::Context) {
    let again = AGAIN.swap(std::ptr::null_mut(), Ordering::SeqCst);
    if !again.is_null() {
        // SAFETY: `repeat_in_handler` stored a setting that outlives the process.
        let setting = unsafe { &*again };
        call_once(setting, false, selector(setting));
    }
    let record = RECORD.load(Ordering::SeqCst);
    if record.is_null() {
        return;
    }
    // SAFETY: `everything` stored it before it installed the handler.
    let record = unsafe { *record };
    let count = EVENTS.fetch_add(1, Ordering::SeqCst);
    let scene = SCENES.get(SCENE.load(Ordering::SeqCst)).unwrap_or(&SCENES[0]);
    let moment = Moment { scene: scene.name, step: "handler", count };
    if count < 8 {
        record.number(moment, "signal", u64::from(signal.cast_unsigned()));
        let sight = arch::entered();
        see(&record, moment, &sight, &arch::HANDLER_ARGUMENTS);
        // SAFETY: this is the handler's.
        let mut frame = unsafe { arch::Frame::of(&sight, info, context) };
        let registers = anonymous(&frame.registers(), entry(), &[]);
        frame.set_registers(&registers);
        let framed = Moment { step: "frame", ..moment };
        record.put(framed, "registers", bytes(&registers));
        record.put(moment, "frame", &frame.bytes);
        for (area, whole) in [area(0), area(1)].into_iter().zip(STACK_NAMES) {
            match frame.cut(area) {
                Some(pieces) => {
                    record.put(moment, "the frame's stack", whole.as_bytes());
                    for (piece, name) in pieces.into_iter().zip(PIECE_NAMES) {
                        record.put(moment, name, piece);
                    }
                }
                None if arch::STACKS_WATCHED => record.put(moment, whole, area),
                None => {}
            }
        }
        ask(&record, moment);
    }
    // SAFETY: the kernel hands the handler its frame.
    unsafe { arch::stop_traps(context) };
    copy_stacks();
}

fn install(signal: i32, flags: i32, mask: u64) -> bool {
    let action = Action {
        handler: arch::watching_handler(),
        flags: u64::from(flags.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask,
    };
    // SAFETY: a handler.
    unsafe { sys::sigaction(signal, &action) }.is_ok()
}

fn set_alternate(alternate: Alternate) {
    let stack = (STACKS.load(Ordering::SeqCst) + STACK) as u64;
    let disarming = 1 << 31; // SS_AUTODISARM
    let (start, flags) = match alternate {
        Alternate::None => (0, libc::SS_DISABLE),
        Alternate::Unasked | Alternate::Asked | Alternate::Entered => (stack, 0),
        Alternate::Disarming | Alternate::EnteredDisarming => (stack, disarming),
        Alternate::Unwritable => (UNWRITABLE.load(Ordering::SeqCst) as u64, 0),
    };
    // SAFETY: memory that is never unmapped.
    let _ = unsafe { sys::sigaltstack(start, STACK as u64, flags) };
}

/// Plays one scene and records it.
fn play(record: &Record, setting: &Setting, index: usize, floating: &[Floating; 2]) {
    let Some(scene) = SCENES.get(index) else { return };
    let place = Place(setting.entry, false);
    SCENE.store(index, Ordering::SeqCst);
    EVENTS.store(0, Ordering::SeqCst);
    paint();
    install(libc::SIGSYS, scene.action, scene.blocks);
    set_alternate(scene.alternate);
    let _ = sys::sigmask(libc::SIG_SETMASK, scene.blocked);
    let me = (sys::getpid(), sys::gettid());
    for signal in (1..=64).filter(|signal| scene.pending && scene.blocked & sys::bit(*signal) != 0)
    {
        let _ = sys::tgkill(me.0, me.1, signal);
    }
    let regs = call(setting.call, place, scene);
    copy_stacks();
    let given = &floating[usize::from(scene.initial)];
    let moment = Moment { scene: scene.name, step: "given", count: 0 };
    record.put(moment, "registers", bytes(&anonymous(&regs, entry(), &[])));
    record.put(moment, "floating", given.bytes());
    flip(selector(setting));
    // SAFETY: the stacks are ours and the frames'.
    let sight = unsafe { arch::watch(place, &regs, given) };
    flip(ALLOW);
    let moment = Moment { scene: scene.name, step: "behind", count: 0 };
    record.number(moment, "events", EVENTS.load(Ordering::SeqCst).into());
    see(record, moment, &sight, &[]);
    if arch::STACKS_WATCHED {
        for (changes, name) in changes().into_iter().zip(CHANGE_NAMES) {
            record.put(moment, name, changes);
        }
    }
    ask(record, moment);
    for signal in (1..=64).filter(|signal| scene.pending && scene.blocked & sys::bit(*signal) != 0)
    {
        let _ = sys::sigtimedwait(sys::bit(signal), std::time::Duration::ZERO);
    }
    let _ = sys::sigmask(libc::SIG_SETMASK, 0);
    set_alternate(Alternate::None);
}

/// One dispatch of which nothing is recorded.
fn plain_dispatch() {
    flip(BLOCK);
    let _ = arch::gate().issue(&Registers::call(number(libc::SYS_getpid), [0; 6]));
    flip(ALLOW);
}

/// Handles SIGSYS with a handler that does nothing.
fn ignore_dispatches() -> bool {
    extern "C" fn nothing(_: i32, _: *const u8, _: *mut arch::Context) {}
    let action = Action {
        handler: nothing as *const () as u64,
        flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
        restorer: arch::restorer(),
        mask: 0,
    };
    // SAFETY: a handler.
    unsafe { sys::sigaction(libc::SIGSYS, &action) }.is_ok()
}

/// Installs what the setting's filter is.
pub(super) fn set_filter(setting: &Setting) -> bool {
    let action = match setting.filter {
        Filter::None => return true,
        Filter::Allow => libc::SECCOMP_RET_ALLOW,
        Filter::Trap => libc::SECCOMP_RET_TRAP,
    };
    let (regs, _) = arch::queue_call(setting.call, [0; 4]);
    let number = seen_number(regs[Reg::NUMBER]).cast_unsigned();
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, action),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    filter::install(&mut program, 0).is_ok()
}

/// The configuration that the setting's raise wants: mode, offset, length, selector.
pub(super) fn configuration(setting: &Setting) -> [u64; 4] {
    let inside = arch::inside().start;
    let selector = address(&SELECTOR);
    match setting.raise {
        Raise::Dispatch | Raise::Trap | Raise::Queue => {
            [EXCLUSIVE, inside, inside_length(), selector]
        }
        Raise::Unselected => [EXCLUSIVE, inside, inside_length(), 0],
        Raise::Inclusive => {
            let range = arch::watched_range();
            [INCLUSIVE, range.start, range.end - range.start, 0]
        }
    }
}

fn set(mode: u64, offset: u64, length: u64, selector: u64) -> bool {
    sys::set_dispatch(mode, offset, length, selector).is_ok()
}

fn arm_as(setting: &Setting) -> bool {
    let [mode, offset, length, selector] = configuration(setting);
    let armed = || set(mode, offset, length, selector);
    match setting.armed {
        Armed::Once => armed(),
        Armed::Twice => armed() && armed(),
        Armed::Toggled => (0..1000).all(|_| armed() && set(OFF, 0, 0, 0)) && armed(),
        Armed::Refused => {
            set(EXCLUSIVE, 0, u64::MAX, 0)
                && armed()
                && !set(EXCLUSIVE, 1, u64::MAX, selector)
                && !set(OFF, 1, 0, 0)
                && !set(9, 0, 0, 0)
        }
        Armed::Off => armed() && set(OFF, 0, 0, 0),
        Armed::Not | Armed::ByTracer => true,
    }
}

fn had(before: Before) -> bool {
    match before {
        Before::Nothing => true,
        Before::Dispatches(count) => {
            let handled = ignore_dispatches();
            for _ in 0..count {
                plain_dispatch();
            }
            handled
        }
        Before::Handler => {
            extern "C" fn dispatch(_: i32, _: *const u8, _: *mut arch::Context) {
                plain_dispatch();
            }
            let action = Action {
                handler: dispatch as *const () as u64,
                flags: u64::from(libc::SA_SIGINFO.cast_unsigned()) | sys::SA_RESTORER,
                restorer: arch::restorer(),
                mask: 0,
            };
            // SAFETY: a handler.
            let handled = unsafe { sys::sigaction(libc::SIGUSR1, &action) }.is_ok();
            handled
                && ignore_dispatches()
                && sys::tgkill(sys::getpid(), sys::gettid(), libc::SIGUSR1).is_ok()
                && {
                    // SAFETY: the default action.
                    unsafe { sys::sigaction(libc::SIGUSR1, &Action::default()) }.is_ok()
                }
        }
    }
}

/// Brings the task to where the scenes of a setting begin, or says what hinders it.
pub(super) fn set_up(setting: &Setting) -> Result<(), i32> {
    COMPAT.store(setting.call == Entry::Compat, Ordering::SeqCst);
    let flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    if ![libc::SIGTRAP, libc::SIGSEGV].into_iter().all(|signal| install(signal, flags, 0)) {
        return Err(NOT_PREPARED);
    }
    if !set_filter(setting) {
        return Err(NOT_FILTERED);
    }
    if !arm_as(setting) || !had(setting.before) {
        return Err(NOT_ARMED);
    }
    Ok(())
}

/// Handles a signal with the handler that records, or with one that does nothing where nothing is
/// recorded.
pub(super) fn handle_plainly(signal: i32) {
    install(signal, SCENES[0].action, 0);
}

/// Has the next handler make the watched call itself.
pub(super) fn repeat_in_handler(setting: &Setting) {
    AGAIN.store(std::ptr::from_ref(setting).cast_mut(), Ordering::SeqCst);
}

/// Makes the watched call once as the first scene has it. Nothing of it is recorded here.
pub(super) fn call_once(setting: &Setting, stopping: bool, selector: u8) {
    let place = Place(setting.entry, stopping);
    paint();
    let regs = call(setting.call, place, &SCENES[0]);
    let floating = Floating::pattern();
    flip(selector);
    // SAFETY: the stacks are ours and the frames'.
    let _ = unsafe { arch::watch(place, &regs, &floating) };
    flip(ALLOW);
}

/// Forks with these flags, right behind a place where a tracee stops. Gives 0 in the child.
pub(super) fn fork_at_stop(flags: i32) -> u64 {
    let mut regs = call(Entry::Native, Place(Entry::Native, true), &SCENES[0]);
    let arguments = arch::clone_arguments(u64::from(flags.cast_unsigned()), 0);
    for (reg, value) in Reg::ARGUMENTS.into_iter().zip(arguments.into_iter().chain([0; 4])) {
        regs[reg] = value;
    }
    regs[Reg::NUMBER] = number(libc::SYS_clone);
    let place = Place(Entry::Native, arch::STOPS_BEFORE_CALLS);
    // SAFETY: the stack is ours, and the child has its own copy.
    unsafe { arch::watch(place, &regs, &Floating::initial()) }.registers[Reg::RESULT]
}

/// What the selector says at the watched call.
pub(super) fn selector(setting: &Setting) -> u8 {
    if setting.raise == Raise::Dispatch { BLOCK } else { ALLOW }
}

/// Plays every scene in this task, which then says how it is. Gives an exit code.
pub(super) fn everything(record: &Record, setting: &Setting) -> i32 {
    RECORD.store(std::ptr::from_ref(record).cast_mut(), Ordering::SeqCst);
    if let Err(code) = set_up(setting) {
        return code;
    }
    let floating = [Floating::pattern(), Floating::initial()];
    for (index, scene) in SCENES.iter().enumerate() {
        let possible = arch::STACKS_WATCHED || scene.alternate == Alternate::None;
        if possible && (scene.always || setting.every_scene) {
            play(record, setting, index, &floating);
        }
    }
    proc::status(record, Moment { scene: "end", step: "status", count: 0 });
    PLAYED
}
