// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any bytes as the body of a message from a guest: refused, or one message that has exactly these
//! bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sudbox_protocol::message::MAX_TEXT;
use sudbox_protocol::{GuestMessage, MAX_BODY};

fuzz_target!(|body: &[u8]| {
    if body.len() > MAX_BODY {
        return;
    }
    if let Ok(message) = GuestMessage::decode(body) {
        // Texts beyond MAX_TEXT are cut on the way out; no body this short holds one.
        if body.len() <= MAX_TEXT {
            assert_eq!(&message.to_frame()[4..], body);
        }
    }
});
