// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of engines, with the functions of each engine.

mod dispatch;
mod filter;
mod notification;
mod supervisor;
mod trace;

use super::engine::Engine;
use super::state::EngineOperations;

/// The functions of an engine.
pub(super) fn operations(engine: Engine) -> &'static EngineOperations {
    match engine {
        Engine::Exclusive => &dispatch::EXCLUSIVE_METHODS,
        Engine::Inclusive => &dispatch::INCLUSIVE_METHODS,
        Engine::Filter => &filter::METHODS,
        Engine::Notification => &notification::METHODS,
        Engine::Trace => &trace::METHODS,
    }
}
