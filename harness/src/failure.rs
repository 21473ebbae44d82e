// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Errors that end a run without a verdict, with their exit codes.

/// Exit codes of runs without a verdict (see the table in the README).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// The program did not end in time. timeout(1) has the same exit code.
    TimedOut = 124,
    /// This kernel cannot be judged.
    Unjudged = 125,
    /// This machine can judge no kernel, or sudbox has a bug.
    Machine = 128,
    /// The usage or an input is wrong.
    Usage = 129,
    /// A signal interrupted the run.
    Interrupted = 130,
}

/// An error message with the exit code of the run.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Failure { code: Code::Usage, message: message.into() }.into()
    }

    pub(crate) fn machine(message: impl Into<String>) -> anyhow::Error {
        Failure { code: Code::Machine, message: message.into() }.into()
    }

    pub(crate) fn interrupted() -> anyhow::Error {
        Failure { code: Code::Interrupted, message: "interrupted".into() }.into()
    }
}

/// Error: a failure that left cases without a result, after other cases had one.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub(crate) struct Incomplete {
    pub(crate) failure: Failure,
    /// The verdict on the cases that ran.
    pub(crate) verdict: Box<sudbox_report::Verdict>,
}

/// The failure for a panic of sudbox, from the payload of `catch_unwind`.
pub(crate) fn of_panic(payload: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no message");
    Failure::machine(format!("a fault of sudbox, not of the kernel: {text}"))
}

/// The exit code for a result.
pub(crate) fn exit_code(result: &anyhow::Result<u8>) -> u8 {
    result.as_ref().map_or_else(|error| error_code(error) as u8, |code| *code)
}

/// The exit code for an error; [`Code::Machine`] if the error has none of its own.
pub(crate) fn error_code(error: &anyhow::Error) -> Code {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.code;
    }
    if let Some(incomplete) = error.downcast_ref::<Incomplete>() {
        return incomplete.failure.code;
    }
    if let Some(image_error) = error.downcast_ref::<sudbox_images::Error>() {
        return match image_error.fault() {
            sudbox_images::Fault::Input => Code::Usage,
            sudbox_images::Fault::Machine => Code::Machine,
            sudbox_images::Fault::Kernel => Code::Unjudged,
            sudbox_images::Fault::Interrupted => Code::Interrupted,
        };
    }
    Code::Machine
}
