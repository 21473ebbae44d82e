// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Judges with VMs that follow the protocol until a planned fault of this machine.

use super::*;
use crate::cli::UserOptions;
use crate::output::rerun::RerunVerb;
use crate::selection::parse_selection;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, PipeWriter};
use std::os::fd::{AsFd as _, BorrowedFd};
use sudbox_protocol::{Arch, CaseResult, FrameReader, GuestMessage, HostMessage, PlannedCase};
use sudbox_vmm::machine::{BootError, DeviceDiscovery, HostStream, RunningVm, Vm, VmEnd, VmSpec};
use sudbox_vmm::poll::{PollFd, PollFlags};

const CASES: [&str; 4] = [
    "selector/allow-executes",
    "selector/block-dispatches",
    "selector/flips",
    "selector/invalid-value-kills",
];

/// What happens when a VM is about to run a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The backend fails.
    BackendFails,
    /// The stream returns an error of the host.
    StreamFails,
    /// sudbox panics.
    Panic,
    /// The guest cannot run the case.
    CaseBroken,
}

/// Boots VMs in which some cases meet a fault.
struct FaultyMachine {
    faults: Vec<(&'static str, Fault)>,
    /// Number of VMs that fail before their guest says hello.
    failing_boots: usize,
    boots: AtomicUsize,
}

/// The state that a fake VM and its stream share.
#[derive(Default)]
struct VmState {
    sent: VecDeque<u8>,
    plan: Vec<PlannedCase>,
    stream_fault: Option<Fault>,
    end: Option<VmEnd>,
}

struct FakeVm {
    state: Arc<Mutex<VmState>>,
    /// Always readable, so that the session never waits.
    event: File,
    _console: PipeWriter,
}

struct FakeStream {
    state: Arc<Mutex<VmState>>,
    faults: Vec<(&'static str, Fault)>,
    frames: FrameReader,
    event: File,
}

impl Machine for FaultyMachine {
    fn describe(&self, _: DeviceDiscovery) -> String {
        "fake".to_owned()
    }

    fn boot(&self, _: &VmSpec) -> Result<RunningVm, BootError> {
        let boot = self.boots.fetch_add(1, Ordering::SeqCst);
        let mut state = VmState::default();
        if boot < self.failing_boots {
            state.end = Some(VmEnd::Failed("killed by signal 6: an assertion".to_owned()));
        } else {
            let features = vec![Feature::Dispatch];
            let hello = Hello { version: sudbox_protocol::VERSION, features, ..Hello::default() };
            state.sent.extend(GuestMessage::Hello(hello).to_frame());
        }
        let state = Arc::new(Mutex::new(state));
        let event = || File::open("/dev/null").unwrap();
        let (console, writer): (PipeReader, PipeWriter) = sudbox_vmm::console::pipe().unwrap();
        let vm = FakeVm { state: state.clone(), event: event(), _console: writer };
        let (faults, frames) = (self.faults.clone(), FrameReader::default());
        let stream = FakeStream { state, faults, frames, event: event() };
        Ok(RunningVm { vm: Box::new(vm), stream: Box::new(stream), console })
    }
}

impl Vm for FakeVm {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.event.as_fd()]
    }

    fn handle_events(&mut self) -> Option<VmEnd> {
        self.state.lock().unwrap().end.clone()
    }
}

impl HostStream for FakeStream {
    fn accept(&mut self) -> io::Result<bool> {
        Ok(self.state.lock().unwrap().end.is_none())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        match state.stream_fault {
            Some(Fault::Panic) if state.sent.is_empty() => {
                drop(state);
                panic!("a planted panic");
            }
            Some(_) if state.sent.is_empty() => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            _ if state.sent.is_empty() => Err(ErrorKind::WouldBlock.into()),
            _ => io::Read::read(&mut state.sent, buffer),
        }
    }

    /// Answers as guest-init does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        self.frames.push(bytes);
        while let Some(body) = self.frames.next_body().unwrap() {
            let answers = match HostMessage::decode(&body).unwrap() {
                HostMessage::Plan(plan) => {
                    state.plan = plan.cases;
                    vec![GuestMessage::Start { case: 0 }]
                }
                HostMessage::Go { case } => {
                    let id = &state.plan[case as usize].id;
                    let fault = self.faults.iter().find(|(faulty, _)| faulty == id);
                    match fault.map(|(_, fault)| *fault) {
                        Some(Fault::BackendFails) => {
                            let message = "killed by signal 6: an assertion".to_owned();
                            state.end = Some(VmEnd::Failed(message));
                            vec![]
                        }
                        Some(Fault::CaseBroken) => {
                            let reason = "no memory for its stack".to_owned();
                            next_messages(
                                case,
                                CaseResult::Broken(reason),
                                &state.plan,
                                &self.faults,
                            )
                        }
                        Some(fault) => {
                            state.stream_fault = Some(fault);
                            vec![]
                        }
                        None => next_messages(case, CaseResult::Pass, &state.plan, &self.faults),
                    }
                }
                _ => vec![],
            };
            state.sent.extend(answers.iter().flat_map(GuestMessage::to_frame));
        }
        Ok(bytes.len())
    }

    fn read_event(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.event.as_fd(), PollFlags::IN)
    }

    fn write_event(&self) -> PollFd<'_> {
        self.read_event()
    }
}

/// The messages at the end of a case, and at the start of the next one.
fn next_messages(
    case: u32,
    result: CaseResult,
    plan: &[PlannedCase],
    faults: &[(&'static str, Fault)],
) -> Vec<GuestMessage> {
    let end = GuestMessage::End { case, result, micros: 1 };
    if case as usize + 1 < plan.len() {
        return vec![end, GuestMessage::Start { case: case + 1 }];
    }
    let kind = |case: &PlannedCase| match faults.iter().find(|(faulty, _)| *faulty == case.id) {
        Some(_) => CaseResult::Broken(String::new()).kind(),
        None => CaseResult::Pass.kind(),
    };
    vec![end, GuestMessage::AllResults(plan.iter().map(kind).collect())]
}

/// The end of a run on a machine.
struct Run {
    error: String,
    /// The cases that passed.
    passed: Vec<String>,
    reason: String,
    boots: usize,
}

/// Judges [`CASES`] on a machine with faults. The run fails with the code of a fault of this machine.
#[track_caller]
fn judge(faults: &[(&'static str, Fault)], failing_boots: usize) -> Run {
    let boots = AtomicUsize::new(0);
    let machine = FaultyMachine { faults: faults.to_vec(), failing_boots, boots };
    let spec = VmSpec::new("", "", sudbox_protocol::PORT);
    let limit = Duration::from_secs(20);
    let runner = CaseRunner {
        environment: Environment::Vm { machine: &machine, spec },
        vmlinux: None,
        timeouts: Timeouts { boot: limit, case: limit },
        case_deadline: limit,
        runs_per_case: 1,
        isolate_cases: false,
        max_parallel_vms: 1,
        boot_arguments: "",
        show_console: false,
        rerun: RerunCommand::new(RerunVerb::Run, "7.3", &UserOptions::default()),
        recorder: None,
        baseline: None,
        liars: None,
    };
    let selection = parse_selection(&CASES.join(",")).unwrap();
    let mut expectations = Expectations::new(Arch::X86_64, None, None, None);
    let (mut verdict, mut console_log) = (Verdict::default(), String::new());
    let mut progress = Progress::silent();
    let result =
        runner.judge(&selection, &mut expectations, &mut verdict, &mut console_log, &mut progress);
    let error = result.expect_err("a fault of this machine");
    assert_eq!(failure::error_code(&error), Code::Machine, "{error:#}");
    let message = format!("{error:#}");
    let verdict = match error.downcast::<Incomplete>() {
        Ok(incomplete) => *incomplete.verdict,
        Err(_) => Verdict::default(),
    };
    let reports = verdict.cases.iter();
    assert!(reports.clone().all(|report| report.outcome == Outcome::Pass), "{:?}", verdict.cases);
    Run {
        error: message,
        passed: reports.map(|report| report.id.clone()).collect(),
        reason: verdict.unjudged_reason.unwrap_or_default(),
        boots: machine.boots.into_inner(),
    }
}

#[test]
fn a_fault_of_the_machine_costs_only_the_running_case() {
    for (fault, words, boots) in [
        (Fault::BackendFails, "the VM could not run: killed by signal 6: an assertion", 2),
        (Fault::StreamFails, "the host cannot wait for the VM: Cannot allocate memory", 2),
        (Fault::CaseBroken, "a fault of sudbox, not of the kernel: the case could not be run", 1),
    ] {
        let run = judge(&[(CASES[1], fault)], 0);
        assert_eq!(run.passed, [CASES[0], CASES[2], CASES[3]], "{fault:?}");
        assert_eq!(run.boots, boots, "{fault:?}");
        let start = format!("{} has no result: ", CASES[1]);
        assert!(run.error.starts_with(&start) && run.error.contains(words), "{}", run.error);
        assert_eq!(run.reason, format!("3 of 4 cases have a result: {}", run.error));
    }
}

#[test]
fn a_fault_in_the_last_case_costs_no_further_vm() {
    let run = judge(&[(CASES[3], Fault::BackendFails)], 0);
    assert_eq!(
        (run.passed, run.boots),
        (CASES[..3].iter().map(|id| (*id).to_owned()).collect(), 1)
    );
}

#[test]
fn faults_before_the_first_message_cost_no_case() {
    let run = judge(&[], MAX_FAULTY_VMS - 1);
    assert_eq!((run.passed.len(), run.boots), (CASES.len(), MAX_FAULTY_VMS));
    assert!(run.error.ends_with("an assertion; and 1 more"), "{}", run.error);
    let run = judge(&[], MAX_FAULTY_VMS);
    assert_eq!((run.passed.len(), run.boots), (0, MAX_FAULTY_VMS));
    assert!(run.error.contains("killed by signal 6"), "{}", run.error);
}

#[test]
fn after_three_faulty_vms_no_further_vm_is_started() {
    let run = judge(&CASES.map(|id| (id, Fault::BackendFails))[1..], 0);
    assert_eq!((&run.passed[..], run.boots), (&[CASES[0].to_owned()][..], 3));
    let run = judge(&CASES.map(|id| (id, Fault::BackendFails)), 0);
    assert_eq!((run.passed.len(), run.boots), (0, 3));
}

#[test]
fn a_panic_keeps_the_results_of_earlier_vms() {
    let run = judge(&[(CASES[1], Fault::BackendFails), (CASES[3], Fault::Panic)], 0);
    // The results of the VM that was running at the panic are lost.
    assert_eq!(run.passed, [CASES[0]]);
    assert!(run.error.contains("a fault of sudbox, not of the kernel: a planted panic"));
}
