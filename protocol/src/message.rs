// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages of guest and host, and their encoding.

use crate::codec::{DecodeError, Reader, Writer};
use crate::feature::Feature;
use crate::frame;
use crate::measurement::Measurement;
use crate::observation::Observation;
use crate::program::{Program, ProgramEnd};

/// Longest string in a message, in bytes. [`GuestMessage::to_frame`] cuts longer strings, so that the end
/// of a case and its logs always fit in a frame.
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
        out.write_list(&self.cases, |out, case| {
            out.write_str(truncated(&case.id));
            out.write_u32(case.deadline_ms);
        });
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Plan {
            cases: input.read_list(|input| {
                Ok(PlannedCase { id: input.read_str()?, deadline_ms: input.read_u32()? })
            })?,
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
        let tag = input.read_u8()?;
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
        out.write_u8(self.kind() as u8);
        match self {
            CaseResult::Pass | CaseResult::Hang => {}
            CaseResult::Fail { expected, got } => {
                out.write_str(truncated(expected));
                out.write_str(truncated(got));
            }
            CaseResult::Absent(feature) => feature.encode(out),
            CaseResult::Unmet(text) | CaseResult::Broken(text) => out.write_str(truncated(text)),
        }
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match ResultKind::decode(input)? {
            ResultKind::Pass => CaseResult::Pass,
            ResultKind::Fail => {
                CaseResult::Fail { expected: input.read_str()?, got: input.read_str()? }
            }
            ResultKind::Absent => CaseResult::Absent(Feature::decode(input)?),
            ResultKind::Unmet => CaseResult::Unmet(input.read_str()?),
            ResultKind::Hang => CaseResult::Hang,
            ResultKind::Broken => CaseResult::Broken(input.read_str()?),
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
    /// An observation of the running case. Sent only after [`HostMessage::Record`].
    Observed {
        /// Index in the plan.
        case: u32,
        /// The observation.
        observation: Observation,
    },
    /// No other case may run in this VM, because the last case left a process that SIGKILL does not end. The
    /// guest waits until the host ends the VM.
    VmSpent {
        /// Index in the plan.
        case: u32,
    },
    /// The case ended.
    End {
        /// Index in the plan.
        case: u32,
        /// The result.
        result: CaseResult,
        /// Microseconds from [`HostMessage::Go`] to the end of the case.
        micros: u64,
    },
    /// The last message after a plan: the kind of result of every case, in the order of the plan.
    AllResults(Vec<ResultKind>),
    /// Bytes that the program of [`HostMessage::Execute`] wrote.
    Output {
        /// Whether the program wrote them to stderr instead of stdout.
        is_stderr: bool,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The program has read all input so far: the host may send more.
    StdinWanted,
    /// The last message after [`HostMessage::Execute`]: how the program ended.
    ProgramEnded(ProgramEnd),
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
    /// Answer to [`GuestMessage::AllResults`] and [`GuestMessage::ProgramEnded`]: the guest may reboot.
    Acknowledge,
    /// Answer to [`GuestMessage::Hello`] instead of a plan: run this program.
    Execute(Program),
    /// Answer to [`GuestMessage::StdinWanted`]: input for the program. Empty input is end of file.
    Stdin(Vec<u8>),
    /// Answer to [`GuestMessage::Hello`] like [`HostMessage::Plan`]. The guest also sends the observations of
    /// each case.
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
                out.write_u8(0);
                out.write_u16(h.version);
                out.write_str(truncated(&h.release));
                out.write_str(truncated(&h.build));
                out.write_str(truncated(&h.machine));
                out.write_u32(h.cpus);
                out.write_str(truncated(&h.cpu_model));
                out.write_list(&h.cpu_features, |out, s| out.write_str(truncated(s)));
                out.write_list(&h.features, |out, f| f.encode(out));
                out.write_u64(h.boot_micros);
            }
            GuestMessage::Start { case } => {
                out.write_u8(1);
                out.write_u32(*case);
            }
            GuestMessage::Log { case, text } => {
                out.write_u8(2);
                out.write_u32(*case);
                out.write_str(truncated(text));
            }
            GuestMessage::End { case, result, micros } => {
                out.write_u8(3);
                out.write_u32(*case);
                result.encode(&mut out);
                out.write_u64(*micros);
            }
            GuestMessage::AllResults(kinds) => {
                out.write_u8(4);
                out.write_list(kinds, |out, kind| out.write_u8(*kind as u8));
            }
            GuestMessage::Output { is_stderr, bytes } => {
                out.write_u8(5);
                out.write_u8((*is_stderr).into());
                out.write_bytes(bytes);
            }
            GuestMessage::StdinWanted => out.write_u8(6),
            GuestMessage::ProgramEnded(end) => {
                out.write_u8(7);
                end.encode(&mut out);
            }
            GuestMessage::Measured { case, measurement } => {
                out.write_u8(8);
                out.write_u32(*case);
                measurement.encode(&mut out);
            }
            GuestMessage::VmSpent { case } => {
                out.write_u8(9);
                out.write_u32(*case);
            }
            GuestMessage::Observed { case, observation } => {
                out.write_u8(10);
                out.write_u32(*case);
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
        let message = match input.read_u8()? {
            0 => GuestMessage::Hello(Hello {
                version: input.read_u16()?,
                release: input.read_str()?,
                build: input.read_str()?,
                machine: input.read_str()?,
                cpus: input.read_u32()?,
                cpu_model: input.read_str()?,
                cpu_features: input.read_list(Reader::read_str)?,
                features: input.read_list(Feature::decode)?,
                boot_micros: input.read_u64()?,
            }),
            1 => GuestMessage::Start { case: input.read_u32()? },
            2 => GuestMessage::Log { case: input.read_u32()?, text: input.read_str()? },
            3 => GuestMessage::End {
                case: input.read_u32()?,
                result: CaseResult::decode(&mut input)?,
                micros: input.read_u64()?,
            },
            4 => GuestMessage::AllResults(input.read_list(ResultKind::decode)?),
            5 => GuestMessage::Output {
                is_stderr: match input.read_u8()? {
                    0 => false,
                    1 => true,
                    tag => return Err(DecodeError::UnknownTag { what: "stream", tag }),
                },
                bytes: input.read_bytes()?,
            },
            6 => GuestMessage::StdinWanted,
            7 => GuestMessage::ProgramEnded(ProgramEnd::decode(&mut input)?),
            8 => GuestMessage::Measured {
                case: input.read_u32()?,
                measurement: Measurement::decode(&mut input)?,
            },
            9 => GuestMessage::VmSpent { case: input.read_u32()? },
            10 => GuestMessage::Observed {
                case: input.read_u32()?,
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
    /// If the message is longer than [`frame::MAX_BODY`]. A plan of some 6000 cases is longer. For a program,
    /// [`Program::fits_in_frame`] tells whether its message is short enough.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            HostMessage::Plan(plan) => {
                out.write_u8(0);
                plan.encode(&mut out);
            }
            HostMessage::Go { case } => {
                out.write_u8(1);
                out.write_u32(*case);
            }
            HostMessage::Acknowledge => out.write_u8(2),
            HostMessage::Execute(program) => {
                out.write_u8(3);
                program.encode(&mut out);
            }
            HostMessage::Stdin(bytes) => {
                out.write_u8(4);
                out.write_bytes(bytes);
            }
            HostMessage::Record(plan) => {
                out.write_u8(5);
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
        let message = match input.read_u8()? {
            0 => HostMessage::Plan(Plan::decode(&mut input)?),
            1 => HostMessage::Go { case: input.read_u32()? },
            2 => HostMessage::Acknowledge,
            3 => HostMessage::Execute(Program::decode(&mut input)?),
            4 => HostMessage::Stdin(input.read_bytes()?),
            5 => HostMessage::Record(Plan::decode(&mut input)?),
            tag => return Err(DecodeError::UnknownTag { what: "host message", tag }),
        };
        input.finish()?;
        Ok(message)
    }
}

/// Returns the first [`MAX_TEXT`] bytes of `text`, or a few less if a character would be split.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
