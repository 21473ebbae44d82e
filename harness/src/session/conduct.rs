// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Conducts the protocol with one VM, from its start to the account of every case planned or to
//! whatever ended it before that.

use crate::session::kernel_log::{self, Report};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use sudbox_protocol::{
    CaseResult, FrameReader, GuestMessage, Hello, HostMessage, Measurement, Plan, PlannedCase,
    ResultKind,
};
use sudbox_vmm::machine::VmEnd;
use sudbox_vmm::session::Event;

/// Most that a kernel may print before it reaches its init, or while one case runs, in bytes. A
/// debug kernel's whole log is a tenth of it.
const FLOOD: u64 = 4 << 20;

/// Most lines of log that are kept of one case.
const LOG_LINES: usize = 200;

/// How long a guest that has hung up may take to say why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Booting may take this many times the time allowed without progress, however much is printed.
const BOOT_PATIENCE: u32 = 10;

/// What conducting needs of a VM; a session has it, and tests play a guest that lies.
pub(crate) trait Vm {
    /// The next thing that happens, or [`Event::Deadline`].
    fn next(&mut self, deadline: Instant, interrupt: Option<BorrowedFd<'_>>) -> Event;
    /// Writes to the guest; an error means that the stream is gone, of which `next` tells.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> std::io::Result<()>;
    /// Bytes the console has printed up to now.
    fn printed(&mut self) -> u64;
    /// What the console has printed since `mark`.
    fn console_since(&mut self, mark: u64) -> String;
}

/// How the conversation with one VM ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The guest accounted for every case.
    Accounted,
    /// The VM is gone.
    Died,
    /// Nothing happened for as long as is allowed.
    Stalled,
    /// The console was printed on without end: too much, or for too long before init.
    Flooded,
    /// The kernel reported a fault of its own that makes everything after it doubtful.
    Tainted,
    /// The guest said something that the protocol does not allow; what.
    Lied(String),
    /// The guest's init said on the console why it cannot go on.
    Gave(GaveUp),
    /// A signal.
    Interrupted,
}

/// Why the guest's init gave up, in its own words.
#[derive(Debug)]
pub(crate) enum GaveUp {
    /// No vsock, or nobody there.
    NoHost(String),
    /// Anything else.
    Problem(String),
}

/// One case that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) result: CaseResult,
    pub(crate) micros: u64,
    pub(crate) log: Vec<String>,
    pub(crate) measurement: Option<Measurement>,
    /// The first fault the kernel reported while the case ran.
    pub(crate) report: Option<Report>,
}

/// What came of one VM.
#[derive(Debug)]
pub(crate) struct Conducted {
    pub(crate) hello: Option<Hello>,
    /// The cases that ended, in the order of the plan: always a prefix of it.
    pub(crate) ended: Vec<Ended>,
    /// The case that was running when it ended, if one was.
    pub(crate) running: Option<usize>,
    pub(crate) ending: Ending,
    /// What the console said since the running case began, or from the start if none had.
    pub(crate) console: String,
    /// Log of the running case.
    pub(crate) log: Vec<String>,
    /// How the VM ended, once it has.
    pub(crate) end: Option<VmEnd>,
    /// What a VM of which nothing was heard any more was doing.
    pub(crate) whereabouts: Vec<String>,
}

/// How long to wait without progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Until the guest says who it is, and then until it says it after each line printed.
    pub(crate) boot: Duration,
    /// From message to message after that. Longer than the deadline by which the guest itself
    /// ends a case.
    pub(crate) case: Duration,
}

/// Takes a VM that has just been started through the whole plan.
pub(crate) fn conduct(
    vm: &mut dyn Vm,
    plan: Vec<PlannedCase>,
    patience: Patience,
    interrupt: Option<BorrowedFd<'_>>,
    on_progress: &mut dyn FnMut(usize),
) -> Conducted {
    let mut conductor = Conductor {
        planned: plan.len(),
        plan: Some(plan),
        patience,
        state: State::Booting,
        hello: None,
        ended: Vec::new(),
        log: Vec::new(),
        measurement: None,
        mark: 0,
    };
    let ending = conductor.run(vm, interrupt, on_progress);
    let console = vm.console_since(conductor.mark);
    Conducted {
        hello: conductor.hello,
        running: match conductor.state {
            State::Running(case) => Some(case),
            _ => None,
        },
        ended: conductor.ended,
        ending,
        console,
        log: conductor.log,
        end: None,
        whereabouts: Vec::new(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not heard of yet.
    Booting,
    /// Planned; the guest is to start the first case.
    Planned,
    /// This case was told to go.
    Running(usize),
    /// This case ended; the guest is to start the next or to account.
    Between,
    /// Accounted and acknowledged.
    Done,
}

struct Conductor {
    planned: usize,
    plan: Option<Vec<PlannedCase>>,
    patience: Patience,
    state: State,
    hello: Option<Hello>,
    ended: Vec<Ended>,
    log: Vec<String>,
    /// What the running case measured.
    measurement: Option<Measurement>,
    /// Console position at which what is going on now began.
    mark: u64,
}

impl Conductor {
    fn run(
        &mut self,
        vm: &mut dyn Vm,
        interrupt: Option<BorrowedFd<'_>>,
        on_progress: &mut dyn FnMut(usize),
    ) -> Ending {
        let mut frames = FrameReader::default();
        let boot_limit = Instant::now() + self.patience.boot * BOOT_PATIENCE;
        let mut deadline = Instant::now() + self.patience.boot;
        let mut hung_up = false;
        loop {
            match vm.next(deadline, interrupt) {
                Event::Interrupted => return Ending::Interrupted,
                Event::Deadline if hung_up => return self.gave_up(vm).unwrap_or(Ending::Died),
                // What it printed last is too new for that to be the silence.
                Event::Deadline if deadline == boot_limit => {
                    return self.gave_up(vm).unwrap_or(Ending::Flooded);
                }
                Event::Deadline => return self.gave_up(vm).unwrap_or(Ending::Stalled),
                Event::Ended => return self.gave_up(vm).unwrap_or(Ending::Died),
                Event::Disconnected => {
                    // The VM's end, or what the kernel prints on its way there, tells more.
                    hung_up = true;
                    deadline = deadline.min(Instant::now() + LAST_WORDS);
                }
                Event::Connected => deadline = Instant::now() + self.patience.case,
                Event::Console => {
                    if vm.printed() - self.mark > FLOOD {
                        return Ending::Flooded;
                    }
                    if self.state == State::Booting {
                        deadline = boot_limit.min(Instant::now() + self.patience.boot);
                    }
                }
                Event::Bytes(bytes) => {
                    frames.push(&bytes);
                    loop {
                        let body = match frames.next_body() {
                            Ok(Some(body)) => body,
                            Ok(None) => break,
                            Err(error) => return Ending::Lied(error.to_string()),
                        };
                        let message = match GuestMessage::decode(&body) {
                            Ok(message) => message,
                            Err(error) => return Ending::Lied(error.to_string()),
                        };
                        deadline = Instant::now() + self.patience.case;
                        if let Some(ending) = self.hear(vm, message, deadline) {
                            return ending;
                        }
                        on_progress(self.ended.len());
                    }
                }
            }
        }
    }

    /// One message; `Some` when it ends the conversation.
    fn hear(&mut self, vm: &mut dyn Vm, message: GuestMessage, by: Instant) -> Option<Ending> {
        match (self.state, message) {
            (State::Booting, GuestMessage::Hello(hello)) => {
                if hello.version != sudbox_protocol::VERSION {
                    return Some(Ending::Lied(format!("it speaks protocol {}", hello.version)));
                }
                self.hello = Some(hello);
                self.state = State::Planned;
                self.mark = vm.printed();
                let cases = self.plan.take().unwrap_or_default();
                self.send(vm, &HostMessage::Plan(Plan { cases }), by)
            }
            (State::Planned | State::Between, GuestMessage::Start { case })
                if case as usize == self.ended.len() && self.ended.len() < self.planned =>
            {
                if let Some(ending) = self.close_case(vm) {
                    return Some(ending);
                }
                self.state = State::Running(case as usize);
                self.send(vm, &HostMessage::Go { case }, by)
            }
            (State::Running(running), GuestMessage::Log { case, text })
                if case as usize == running =>
            {
                let room = LOG_LINES.saturating_sub(self.log.len());
                self.log.extend(text.lines().take(room).map(str::to_owned));
                None
            }
            (State::Running(running), GuestMessage::Measured { case, measurement })
                if case as usize == running =>
            {
                self.measurement = Some(measurement);
                None
            }
            (State::Running(running), GuestMessage::End { case, result, micros })
                if case as usize == running =>
            {
                let log = std::mem::take(&mut self.log);
                let measurement = self.measurement.take();
                self.ended.push(Ended { result, micros, log, measurement, report: None });
                self.state = State::Between;
                None
            }
            (State::Between | State::Planned, GuestMessage::Account(kinds)) => {
                if let Some(ending) = self.close_case(vm) {
                    return Some(ending);
                }
                let told: Vec<ResultKind> = self.ended.iter().map(|e| e.result.kind()).collect();
                if kinds != told || told.len() != self.planned {
                    return Some(Ending::Lied(
                        "its account is not what it reported case by case".into(),
                    ));
                }
                self.state = State::Done;
                // The account is complete: a guest that is gone by now takes nothing with it.
                let _ = self.send(vm, &HostMessage::Acknowledge, by);
                Some(Ending::Accounted)
            }
            (state, message) => {
                Some(Ending::Lied(format!("{} in state {state:?}", name(&message))))
            }
        }
    }

    /// Reads what the console said while the last case ran. The guest waits meanwhile, so every
    /// byte up to here belongs to that case.
    fn close_case(&mut self, vm: &mut dyn Vm) -> Option<Ending> {
        let printed = vm.printed();
        if printed == self.mark {
            return None;
        }
        let text = vm.console_since(self.mark);
        self.mark = printed;
        let report = kernel_log::scan(&text)?;
        let doubtful = report.taints();
        let last = self.ended.last_mut()?;
        last.report = Some(report);
        doubtful.then_some(Ending::Tainted)
    }

    fn send(&self, vm: &mut dyn Vm, message: &HostMessage, by: Instant) -> Option<Ending> {
        // A failed write means a dead stream; the next event says what became of the VM.
        vm.send(&message.to_frame(), by).err().map(|_| Ending::Died)
    }

    /// The init's own word on the console, if it gave one.
    fn gave_up(&self, vm: &mut dyn Vm) -> Option<Ending> {
        let console = vm.console_since(self.mark);
        let after = |prefix: &str| {
            console
                .lines()
                .find_map(|line| line.split_once(prefix))
                .map(|(_, reason)| reason.trim().to_owned())
        };
        after(sudbox_protocol::CONSOLE_NO_HOST)
            .map(GaveUp::NoHost)
            .or_else(|| after(sudbox_protocol::CONSOLE_PROBLEM).map(GaveUp::Problem))
            .map(Ending::Gave)
    }
}

fn name(message: &GuestMessage) -> &'static str {
    match message {
        GuestMessage::Hello(_) => "Hello",
        GuestMessage::Start { .. } => "Start",
        GuestMessage::Log { .. } => "Log",
        GuestMessage::Measured { .. } => "Measured",
        GuestMessage::End { .. } => "End",
        GuestMessage::Account(_) => "Account",
        GuestMessage::Output { .. } => "Output",
        GuestMessage::StdinWanted => "StdinWanted",
        GuestMessage::Ended(_) => "Ended",
    }
}

#[cfg(test)]
mod tests;
