// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages of guest and host, and their encoding.

use crate::codec::{DecodeError, Reader, Writer};
use crate::feature::Feature;
use crate::frame;
use crate::measurement::Measurement;
use crate::observation::Observation;
use crate::program::{Program, ProgramEnd};

/// Longest string in a message, in bytes. [`GuestMessage::to_frame`] cuts longer ones, so that the end
/// of a case and its logs always fit a frame.
pub const MAX_TEXT: usize = 16 * 1024;

/// The guest's first message: the properties of the machine and the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// [`crate::VERSION`] of the guest.
    pub version: u16,
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub build: String,
    /// `uname -m`, such as `x86_64`.
    pub machine: String,
    /// CPUs online.
    pub cpus: u32,
    /// Vendor and model of the CPU.
    pub cpu_model: String,
    /// CPU features, named as in `/proc/cpuinfo`.
    pub cpu_features: Vec<String>,
    /// The kernel's features, as probed.
    pub features: Vec<Feature>,
    /// Microseconds from the start of the kernel (`CLOCK_BOOTTIME`) to this message.
    pub boot_micros: u64,
}

/// A case that the guest must run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCase {
    /// Stable id, such as `selector/invalid-value-kills`.
    pub id: String,
    /// Milliseconds until the guest kills the case as hung.
    pub deadline_ms: u32,
}

/// The cases to run, in order. Other messages name a case by its index in this list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The cases.
    pub cases: Vec<PlannedCase>,
}

impl Plan {
    fn encode(&self, out: &mut Writer) {
        out.list(&self.cases, |out, case| {
            out.str(bounded(&case.id));
            out.u32(case.deadline_ms);
        });
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Plan {
            cases: input
                .list(|input| Ok(PlannedCase { id: input.str()?, deadline_ms: input.u32()? }))?,
        })
    }
}

/// The result of a case in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseResult {
    /// The kernel kept the promise.
    Pass,
    /// The kernel broke the promise.
    Fail {
        /// The behaviour that the promise requires.
        expected: String,
        /// The behaviour that was observed.
        got: String,
    },
    /// The kernel lacks this feature, which the case needs.
    Absent(Feature),
    /// The machine does not meet this requirement (a CPU feature, a privilege, a number of CPUs).
    Unmet(String),
    /// The case did not end before its deadline, and was killed.
    Hang,
    /// The case could not be carried out, for this reason: a fault of sudbox, not of the kernel.
    Broken(String),
}

/// A [`CaseResult`] without its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ResultKind {
    /// [`CaseResult::Pass`]
    Pass = 0,
    /// [`CaseResult::Fail`]
    Fail = 1,
    /// [`CaseResult::Absent`]
    Absent = 2,
    /// [`CaseResult::Unmet`]
    Unmet = 3,
    /// [`CaseResult::Hang`]
    Hang = 4,
    /// [`CaseResult::Broken`]
    Broken = 5,
}

impl ResultKind {
    const ALL: [ResultKind; 6] = [
        ResultKind::Pass,
        ResultKind::Fail,
        ResultKind::Absent,
        ResultKind::Unmet,
        ResultKind::Hang,
        ResultKind::Broken,
    ];

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = input.u8()?;
        ResultKind::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(DecodeError::UnknownTag { what: "result", tag })
    }
}

impl CaseResult {
    /// The result without its texts.
    #[must_use]
    pub fn kind(&self) -> ResultKind {
        match self {
            CaseResult::Pass => ResultKind::Pass,
            CaseResult::Fail { .. } => ResultKind::Fail,
            CaseResult::Absent(_) => ResultKind::Absent,
            CaseResult::Unmet(_) => ResultKind::Unmet,
            CaseResult::Hang => ResultKind::Hang,
            CaseResult::Broken(_) => ResultKind::Broken,
        }
    }

    fn encode(&self, out: &mut Writer) {
        out.u8(self.kind() as u8);
        match self {
            CaseResult::Pass | CaseResult::Hang => {}
            CaseResult::Fail { expected, got } => {
                out.str(bounded(expected));
                out.str(bounded(got));
            }
            CaseResult::Absent(feature) => feature.encode(out),
            CaseResult::Unmet(text) | CaseResult::Broken(text) => out.str(bounded(text)),
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match ResultKind::decode(input)? {
            ResultKind::Pass => CaseResult::Pass,
            ResultKind::Fail => CaseResult::Fail { expected: input.str()?, got: input.str()? },
            ResultKind::Absent => CaseResult::Absent(Feature::decode(input)?),
            ResultKind::Unmet => CaseResult::Unmet(input.str()?),
            ResultKind::Hang => CaseResult::Hang,
            ResultKind::Broken => CaseResult::Broken(input.str()?),
        })
    }
}

/// A message of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestMessage {
    /// The first message.
    Hello(Hello),
    /// The guest is about to run a case and waits for [`HostMessage::Go`].
    Start {
        /// Index in the plan.
        case: u32,
    },
    /// A text to be reported with the outcome of the running case.
    Log {
        /// Index in the plan.
        case: u32,
        /// The text, one or more lines.
        text: String,
    },
    /// The measurement of the running case.
    Measured {
        /// Index in the plan.
        case: u32,
        /// The measurement.
        measurement: Measurement,
    },
    /// An observation of the running case. Sent only if the host asked to record.
    Observed {
        /// Index in the plan.
        case: u32,
        /// The observation.
        observation: Observation,
    },
    /// The case that ended left a process that SIGKILL does not end. No other case may run in this VM, and
    /// the guest waits until the host ends the VM.
    Spent {
        /// Index in the plan.
        case: u32,
    },
    /// The case ended.
    End {
        /// Index in the plan.
        case: u32,
        /// The result.
        result: CaseResult,
        /// Microseconds from Go to the end.
        micros: u64,
    },
    /// The last message: the kind of result of every case, in the order of the plan.
    Account(Vec<ResultKind>),
    /// Bytes that the program wrote.
    Output {
        /// Whether the program wrote them to stderr instead of stdout.
        is_stderr: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The program has read all input so far: the host may send more.
    StdinWanted,
    /// The last message: how the program ended.
    Ended(ProgramEnd),
}

/// A message of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// Answer to [`GuestMessage::Hello`].
    Plan(Plan),
    /// Answer to [`GuestMessage::Start`].
    Go {
        /// Index in the plan.
        case: u32,
    },
    /// Answer to [`GuestMessage::Account`] and [`GuestMessage::Ended`]: the guest may reboot.
    Acknowledge,
    /// Answer to [`GuestMessage::Hello`] instead of a plan: run this program.
    Execute(Program),
    /// Answer to [`GuestMessage::StdinWanted`]: input for the program. Empty input is end of file.
    Input(Vec<u8>),
    /// As [`HostMessage::Plan`], and send the observations of each case.
    Record(Plan),
}

impl GuestMessage {
    /// The message as a frame, its texts cut at [`MAX_TEXT`], except those of an observation.
    ///
    /// # Panics
    /// If a list or an observation makes the message longer than [`frame::MAX_BODY`].
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            GuestMessage::Hello(h) => {
                out.u8(0);
                out.u16(h.version);
                out.str(bounded(&h.release));
                out.str(bounded(&h.build));
                out.str(bounded(&h.machine));
                out.u32(h.cpus);
                out.str(bounded(&h.cpu_model));
                out.list(&h.cpu_features, |out, s| out.str(bounded(s)));
                out.list(&h.features, |out, f| f.encode(out));
                out.u64(h.boot_micros);
            }
            GuestMessage::Start { case } => {
                out.u8(1);
                out.u32(*case);
            }
            GuestMessage::Log { case, text } => {
                out.u8(2);
                out.u32(*case);
                out.str(bounded(text));
            }
            GuestMessage::End { case, result, micros } => {
                out.u8(3);
                out.u32(*case);
                result.encode(&mut out);
                out.u64(*micros);
            }
            GuestMessage::Account(kinds) => {
                out.u8(4);
                out.list(kinds, |out, kind| out.u8(*kind as u8));
            }
            GuestMessage::Output { is_stderr, bytes } => {
                out.u8(5);
                out.u8((*is_stderr).into());
                out.bytes(bytes);
            }
            GuestMessage::StdinWanted => out.u8(6),
            GuestMessage::Ended(end) => {
                out.u8(7);
                end.encode(&mut out);
            }
            GuestMessage::Measured { case, measurement } => {
                out.u8(8);
                out.u32(*case);
                measurement.encode(&mut out);
            }
            GuestMessage::Spent { case } => {
                out.u8(9);
                out.u32(*case);
            }
            GuestMessage::Observed { case, observation } => {
                out.u8(10);
                out.u32(*case);
                observation.encode(&mut out);
            }
        }
        frame::wrap(&out.into_bytes())
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8()? {
            0 => GuestMessage::Hello(Hello {
                version: input.u16()?,
                release: input.str()?,
                build: input.str()?,
                machine: input.str()?,
                cpus: input.u32()?,
                cpu_model: input.str()?,
                cpu_features: input.list(Reader::str)?,
                features: input.list(Feature::decode)?,
                boot_micros: input.u64()?,
            }),
            1 => GuestMessage::Start { case: input.u32()? },
            2 => GuestMessage::Log { case: input.u32()?, text: input.str()? },
            3 => GuestMessage::End {
                case: input.u32()?,
                result: CaseResult::decode(&mut input)?,
                micros: input.u64()?,
            },
            4 => GuestMessage::Account(input.list(ResultKind::decode)?),
            5 => GuestMessage::Output {
                is_stderr: match input.u8()? {
                    0 => false,
                    1 => true,
                    tag => return Err(DecodeError::UnknownTag { what: "stream", tag }),
                },
                bytes: input.bytes()?,
            },
            6 => GuestMessage::StdinWanted,
            7 => GuestMessage::Ended(ProgramEnd::decode(&mut input)?),
            8 => GuestMessage::Measured {
                case: input.u32()?,
                measurement: Measurement::decode(&mut input)?,
            },
            9 => GuestMessage::Spent { case: input.u32()? },
            10 => GuestMessage::Observed {
                case: input.u32()?,
                observation: Observation::decode(&mut input)?,
            },
            tag => return Err(DecodeError::UnknownTag { what: "guest message", tag }),
        };
        input.finish()?;
        Ok(message)
    }
}

impl HostMessage {
    /// The message as a frame.
    ///
    /// # Panics
    /// If the message is longer than [`frame::MAX_BODY`], as a plan of some 6000 cases is. For programs
    /// see [`Program::fits`].
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            HostMessage::Plan(plan) => {
                out.u8(0);
                plan.encode(&mut out);
            }
            HostMessage::Go { case } => {
                out.u8(1);
                out.u32(*case);
            }
            HostMessage::Acknowledge => out.u8(2),
            HostMessage::Execute(program) => {
                out.u8(3);
                program.encode(&mut out);
            }
            HostMessage::Input(bytes) => {
                out.u8(4);
                out.bytes(bytes);
            }
            HostMessage::Record(plan) => {
                out.u8(5);
                plan.encode(&mut out);
            }
        }
        frame::wrap(&out.into_bytes())
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let message = match input.u8()? {
            0 => HostMessage::Plan(Plan::decode(&mut input)?),
            1 => HostMessage::Go { case: input.u32()? },
            2 => HostMessage::Acknowledge,
            3 => HostMessage::Execute(Program::decode(&mut input)?),
            4 => HostMessage::Input(input.bytes()?),
            5 => HostMessage::Record(Plan::decode(&mut input)?),
            tag => return Err(DecodeError::UnknownTag { what: "host message", tag }),
        };
        input.finish()?;
        Ok(message)
    }
}

/// The first [`MAX_TEXT`] bytes of `text`, or fewer, so that no character is split.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
