// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes as the body of a message from a guest are refused, or are the only encoding of a message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sudbox_protocol::message::MAX_TEXT;
use sudbox_protocol::{GuestMessage, MAX_BODY};

fuzz_target!(|body: &[u8]| {
    if body.len() > MAX_BODY {
        return;
    }
    if let Ok(message) = GuestMessage::decode(body) {
        // The encoder cuts texts longer than MAX_TEXT, which such a short body cannot contain.
        if body.len() <= MAX_TEXT {
            assert_eq!(&message.to_frame()[4..], body);
        }
    }
});
