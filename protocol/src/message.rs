// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages of both sides.

use crate::codec::{DecodeError, Reader, Writer};
use crate::feature::Feature;
use crate::frame;
use crate::measurement::Measurement;
use crate::program::{Program, ProgramEnd};

/// Longest text that a message carries in one string, in bytes; longer ones are cut by
/// [`GuestMessage::to_frame`] so that a case's end and its logs always fit a frame.
pub const MAX_TEXT: usize = 16 * 1024;

/// What guest-init found when it came up.
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
    /// Vendor and model as the CPU says them.
    pub cpu_model: String,
    /// CPU features by the names of `/proc/cpuinfo`.
    pub cpu_features: Vec<String>,
    /// Features of the kernel that the probes found.
    pub features: Vec<Feature>,
    /// Microseconds from the start of the kernel (`CLOCK_BOOTTIME`) to this message.
    pub boot_micros: u64,
}

/// One case that the host wants run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedCase {
    /// Stable id, such as `selector/invalid-value-kills`.
    pub id: String,
    /// After how many milliseconds the guest ends the case's child as a hang.
    pub deadline_ms: u32,
}

/// The cases to run, in order. A message names a case by its index here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The cases.
    pub cases: Vec<PlannedCase>,
}

/// How a case ended, as the guest saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaseResult {
    /// The promise was kept.
    Pass,
    /// The promise was broken.
    Fail {
        /// What the promise says must be seen.
        expected: String,
        /// What was seen.
        got: String,
    },
    /// The kernel does not offer the feature that the case is about.
    Absent(Feature),
    /// The machine lacks this requirement (a CPU feature, a privilege, CPUs).
    Unmet(String),
    /// The case did not end before its deadline and its child was killed.
    Hang,
    /// The runner could not run the case: a fault of sudbox, with its reason.
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

/// What the guest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestMessage {
    /// First message: who is there.
    Hello(Hello),
    /// This case is next; the guest waits for [`HostMessage::Go`].
    Start {
        /// Index in the plan.
        case: u32,
    },
    /// Something the running case wants kept with its outcome.
    Log {
        /// Index in the plan.
        case: u32,
        /// The text, one or more lines.
        text: String,
    },
    /// What the running case measured.
    Measured {
        /// Index in the plan.
        case: u32,
        /// What it came to.
        measurement: Measurement,
    },
    /// The case ended.
    End {
        /// Index in the plan.
        case: u32,
        /// How.
        result: CaseResult,
        /// Microseconds from Go to the end.
        micros: u64,
    },
    /// Last message: how every case of the plan ended, in the order of the plan.
    Account(Vec<ResultKind>),
    /// The program wrote this.
    Output {
        /// To stderr, not to stdout.
        error: bool,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// The program has taken all input there was; may there be more?
    Hungry,
    /// Last message: how the program ended.
    Over(ProgramEnd),
}

/// What the host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMessage {
    /// Answer to [`GuestMessage::Hello`].
    Plan(Plan),
    /// Answer to [`GuestMessage::Start`].
    Go {
        /// Index in the plan.
        case: u32,
    },
    /// Answer to [`GuestMessage::Account`] and [`GuestMessage::Over`]: the guest may restart.
    Acknowledge,
    /// Answer to [`GuestMessage::Hello`] in place of a plan.
    Execute(Program),
    /// Answer to [`GuestMessage::Hungry`]: input of the program, whose end is an empty one.
    Input(Vec<u8>),
}

impl GuestMessage {
    /// The message as a frame, its texts cut at [`MAX_TEXT`].
    ///
    /// # Panics
    /// If a list makes it longer than [`frame::MAX_BODY`].
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
            GuestMessage::Output { error, bytes } => {
                out.u8(5);
                out.u8((*error).into());
                out.bytes(bytes);
            }
            GuestMessage::Hungry => out.u8(6),
            GuestMessage::Over(end) => {
                out.u8(7);
                end.encode(&mut out);
            }
            GuestMessage::Measured { case, measurement } => {
                out.u8(8);
                out.u32(*case);
                measurement.encode(&mut out);
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
                error: match input.u8()? {
                    0 => false,
                    1 => true,
                    tag => return Err(DecodeError::UnknownTag { what: "stream", tag }),
                },
                bytes: input.bytes()?,
            },
            6 => GuestMessage::Hungry,
            7 => GuestMessage::Over(ProgramEnd::decode(&mut input)?),
            8 => GuestMessage::Measured {
                case: input.u32()?,
                measurement: Measurement::decode(&mut input)?,
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
    /// If it is longer than [`frame::MAX_BODY`], as a plan of some 6000 cases is; see also
    /// [`Program::fits`].
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            HostMessage::Plan(plan) => {
                out.u8(0);
                out.list(&plan.cases, |out, case| {
                    out.str(bounded(&case.id));
                    out.u32(case.deadline_ms);
                });
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
            0 => HostMessage::Plan(Plan {
                cases: input.list(|input| {
                    Ok(PlannedCase { id: input.str()?, deadline_ms: input.u32()? })
                })?,
            }),
            1 => HostMessage::Go { case: input.u32()? },
            2 => HostMessage::Acknowledge,
            3 => HostMessage::Execute(Program::decode(&mut input)?),
            4 => HostMessage::Input(input.bytes()?),
            tag => return Err(DecodeError::UnknownTag { what: "host message", tag }),
        };
        input.finish()?;
        Ok(message)
    }
}

/// At most [`MAX_TEXT`] bytes of `text`, cut at a character.
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
