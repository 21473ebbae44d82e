// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A Windows program that issues its system calls itself: all engines must give the same transcript.

use super::foreign::expect_transcript;
use super::this_arch::nt;
use crate::case::Check;
use crate::sandbox::{Engine, Image, Nt};

/// Checks the transcripts of the program and of its faulting entry on these engines.
fn nt_on(engines: &[Engine]) -> Check {
    let image = nt::image()?;
    expect_transcript(&image, &Nt, engines, nt::TRANSCRIPT)?;
    let faulty = Image { entry: nt::FAULTY_ENTRY, ..image };
    expect_transcript(&faulty, &Nt, engines, nt::FAULTY)
}

pub(crate) fn nt_exclusive() -> Check {
    nt_on(&[Engine::Exclusive])
}

pub(crate) fn nt_inclusive() -> Check {
    nt_on(&[Engine::Inclusive])
}

pub(crate) fn nt_filter() -> Check {
    nt_on(&[Engine::Exclusive, Engine::Filter])
}

pub(crate) fn nt_notification() -> Check {
    nt_on(&[Engine::Exclusive, Engine::Notification])
}

pub(crate) fn nt_trace() -> Check {
    nt_on(&[Engine::Exclusive, Engine::Trace])
}
