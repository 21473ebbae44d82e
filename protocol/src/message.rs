// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The messages of guest and host, and their encoding.

use crate::codec::{DecodeError, Reader, Writer};
use crate::feature::Feature;
use crate::frame;
use crate::measurement::Measurement;
use crate::observation::Observation;
use crate::program::{Program, ProgramEnd};

/// Longest string in a message, in bytes. [`GuestMessage::to_frame`] cuts longer strings, so that
/// the end of a case and its logs always fit in a frame.
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
    /// The layout of the floating point state that the CPU saves, on which the size of signal frames
    /// depends: on x86-64 the components of the XSAVE area with offsets and sizes. Equal for CPUs with the
    /// same layout.
    pub floating_state_layout: String,
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
    fn encode(&self, writer: &mut Writer) {
        writer.write_list(&self.cases, |writer, case| {
            writer.write_str(truncated(&case.id));
            writer.write_u32(case.deadline_ms);
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Plan {
            cases: reader.read_list(|reader| {
                Ok(PlannedCase { id: reader.read_str()?, deadline_ms: reader.read_u32()? })
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

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.read_u8()?;
        ResultKind::ALL
            .get(usize::from(tag))
            .copied()
            .ok_or(DecodeError::UnknownTag { kind: "result", tag })
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

    fn encode(&self, writer: &mut Writer) {
        writer.write_u8(self.kind() as u8);
        match self {
            CaseResult::Pass | CaseResult::Hang => {}
            CaseResult::Fail { expected, got } => {
                writer.write_str(truncated(expected));
                writer.write_str(truncated(got));
            }
            CaseResult::Absent(feature) => feature.encode(writer),
            CaseResult::Unmet(text) | CaseResult::Broken(text) => writer.write_str(truncated(text)),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match ResultKind::decode(reader)? {
            ResultKind::Pass => CaseResult::Pass,
            ResultKind::Fail => {
                CaseResult::Fail { expected: reader.read_str()?, got: reader.read_str()? }
            }
            ResultKind::Absent => CaseResult::Absent(Feature::decode(reader)?),
            ResultKind::Unmet => CaseResult::Unmet(reader.read_str()?),
            ResultKind::Hang => CaseResult::Hang,
            ResultKind::Broken => CaseResult::Broken(reader.read_str()?),
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
    /// The digest of all observations of the running case. It is sent even if the host did not ask for
    /// observations. Guests with the same cases send the same digest if they observe the same values.
    ObservationDigest {
        /// Index in the plan.
        case: u32,
        /// The digest.
        digest: u64,
    },
    /// No other case may run in this VM, because the last case left a process that SIGKILL does not
    /// end, or ended before it undid a change of the kernel's state. The guest waits until the host ends
    /// the VM.
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
    /// The last message after a plan: the result of every case without its texts, in the order of the plan.
    AllResults(Vec<ResultKind>),
    /// Bytes that the program of [`HostMessage::Execute`] wrote.
    Output {
        /// Whether the program wrote the bytes to stderr instead of stdout.
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
    /// Answer to [`GuestMessage::AllResults`] and [`GuestMessage::ProgramEnded`]: the guest may
    /// reboot.
    Acknowledge,
    /// Answer to [`GuestMessage::Hello`] instead of a plan: run this program.
    Execute(Program),
    /// Answer to [`GuestMessage::StdinWanted`]: input for the program. Empty input is end of file.
    Stdin(Vec<u8>),
    /// Answer to [`GuestMessage::Hello`]: as [`HostMessage::Plan`], but the guest also sends the
    /// observations of each case.
    Record(Plan),
}

impl GuestMessage {
    /// The message as a frame. Texts are cut at [`MAX_TEXT`], except those of an observation.
    ///
    /// # Panics
    /// If a list or an observation makes the message longer than [`frame::MAX_BODY`].
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            GuestMessage::Hello(hello) => {
                writer.write_u8(0);
                writer.write_u16(hello.version);
                writer.write_str(truncated(&hello.release));
                writer.write_str(truncated(&hello.build));
                writer.write_str(truncated(&hello.machine));
                writer.write_u32(hello.cpus);
                writer.write_str(truncated(&hello.cpu_model));
                writer.write_list(&hello.cpu_features, |writer, name| {
                    writer.write_str(truncated(name));
                });
                writer.write_str(truncated(&hello.floating_state_layout));
                writer.write_list(&hello.features, |writer, feature| feature.encode(writer));
                writer.write_u64(hello.boot_micros);
            }
            GuestMessage::Start { case } => {
                writer.write_u8(1);
                writer.write_u32(*case);
            }
            GuestMessage::Log { case, text } => {
                writer.write_u8(2);
                writer.write_u32(*case);
                writer.write_str(truncated(text));
            }
            GuestMessage::End { case, result, micros } => {
                writer.write_u8(3);
                writer.write_u32(*case);
                result.encode(&mut writer);
                writer.write_u64(*micros);
            }
            GuestMessage::AllResults(kinds) => {
                writer.write_u8(4);
                writer.write_list(kinds, |writer, kind| writer.write_u8(*kind as u8));
            }
            GuestMessage::Output { is_stderr, bytes } => {
                writer.write_u8(5);
                writer.write_u8((*is_stderr).into());
                writer.write_bytes(bytes);
            }
            GuestMessage::StdinWanted => writer.write_u8(6),
            GuestMessage::ProgramEnded(end) => {
                writer.write_u8(7);
                end.encode(&mut writer);
            }
            GuestMessage::Measured { case, measurement } => {
                writer.write_u8(8);
                writer.write_u32(*case);
                measurement.encode(&mut writer);
            }
            GuestMessage::VmSpent { case } => {
                writer.write_u8(9);
                writer.write_u32(*case);
            }
            GuestMessage::Observed { case, observation } => {
                writer.write_u8(10);
                writer.write_u32(*case);
                observation.encode(&mut writer);
            }
            GuestMessage::ObservationDigest { case, digest } => {
                writer.write_u8(11);
                writer.write_u32(*case);
                writer.write_u64(*digest);
            }
        }
        frame::wrap(&writer.into_bytes())
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = match reader.read_u8()? {
            0 => GuestMessage::Hello(Hello {
                version: reader.read_u16()?,
                release: reader.read_str()?,
                build: reader.read_str()?,
                machine: reader.read_str()?,
                cpus: reader.read_u32()?,
                cpu_model: reader.read_str()?,
                cpu_features: reader.read_list(Reader::read_str)?,
                floating_state_layout: reader.read_str()?,
                features: reader.read_list(Feature::decode)?,
                boot_micros: reader.read_u64()?,
            }),
            1 => GuestMessage::Start { case: reader.read_u32()? },
            2 => GuestMessage::Log { case: reader.read_u32()?, text: reader.read_str()? },
            3 => GuestMessage::End {
                case: reader.read_u32()?,
                result: CaseResult::decode(&mut reader)?,
                micros: reader.read_u64()?,
            },
            4 => GuestMessage::AllResults(reader.read_list(ResultKind::decode)?),
            5 => GuestMessage::Output {
                is_stderr: match reader.read_u8()? {
                    0 => false,
                    1 => true,
                    tag => return Err(DecodeError::UnknownTag { kind: "stream", tag }),
                },
                bytes: reader.read_bytes()?,
            },
            6 => GuestMessage::StdinWanted,
            7 => GuestMessage::ProgramEnded(ProgramEnd::decode(&mut reader)?),
            8 => GuestMessage::Measured {
                case: reader.read_u32()?,
                measurement: Measurement::decode(&mut reader)?,
            },
            9 => GuestMessage::VmSpent { case: reader.read_u32()? },
            10 => GuestMessage::Observed {
                case: reader.read_u32()?,
                observation: Observation::decode(&mut reader)?,
            },
            11 => GuestMessage::ObservationDigest {
                case: reader.read_u32()?,
                digest: reader.read_u64()?,
            },
            tag => return Err(DecodeError::UnknownTag { kind: "guest message", tag }),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl HostMessage {
    /// The message as a frame.
    ///
    /// # Panics
    /// If the message is longer than [`frame::MAX_BODY`], as that of a plan of some 6000 cases is.
    /// [`Program::fits_in_frame`] checks the length of the message of a program.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            HostMessage::Plan(plan) => {
                writer.write_u8(0);
                plan.encode(&mut writer);
            }
            HostMessage::Go { case } => {
                writer.write_u8(1);
                writer.write_u32(*case);
            }
            HostMessage::Acknowledge => writer.write_u8(2),
            HostMessage::Execute(program) => {
                writer.write_u8(3);
                program.encode(&mut writer);
            }
            HostMessage::Stdin(bytes) => {
                writer.write_u8(4);
                writer.write_bytes(bytes);
            }
            HostMessage::Record(plan) => {
                writer.write_u8(5);
                plan.encode(&mut writer);
            }
        }
        frame::wrap(&writer.into_bytes())
    }

    /// Reads the body of a frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not exactly one message.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = match reader.read_u8()? {
            0 => HostMessage::Plan(Plan::decode(&mut reader)?),
            1 => HostMessage::Go { case: reader.read_u32()? },
            2 => HostMessage::Acknowledge,
            3 => HostMessage::Execute(Program::decode(&mut reader)?),
            4 => HostMessage::Stdin(reader.read_bytes()?),
            5 => HostMessage::Record(Plan::decode(&mut reader)?),
            tag => return Err(DecodeError::UnknownTag { kind: "host message", tag }),
        };
        reader.finish()?;
        Ok(message)
    }
}

/// Returns the first [`MAX_TEXT`] bytes of `text`, or a few less if a character would be split.
fn truncated(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}
