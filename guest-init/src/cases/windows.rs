// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A Windows program that issues its system calls itself. It must have the same transcript on all engines.

use super::foreign::expect_transcript;
use super::this_arch::nt;
use crate::case::Check;
use crate::sandbox::{Engine, Image, Nt};

/// Checks the transcripts of the program from its usual entry and from its faulting entry, on these engines.
fn expect_nt_transcripts(engines: &[Engine]) -> Check {
    let image = nt::image()?;
    expect_transcript(&image, &Nt, engines, nt::TRANSCRIPT)?;
    let faulty = Image { entry: nt::FAULTY_ENTRY, ..image };
    expect_transcript(&faulty, &Nt, engines, nt::FAULTY)
}

pub(crate) fn nt_exclusive() -> Check {
    expect_nt_transcripts(&[Engine::Exclusive])
}

pub(crate) fn nt_inclusive() -> Check {
    expect_nt_transcripts(&[Engine::Inclusive])
}

pub(crate) fn nt_filter() -> Check {
    expect_nt_transcripts(&[Engine::Exclusive, Engine::Filter])
}

pub(crate) fn nt_notification() -> Check {
    expect_nt_transcripts(&[Engine::Exclusive, Engine::Notification])
}

pub(crate) fn nt_trace() -> Check {
    expect_nt_transcripts(&[Engine::Exclusive, Engine::Trace])
}
