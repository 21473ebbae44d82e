// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Any stream in any pieces gives the same bodies as the stream in one piece. No body makes a decoder panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sudbox_protocol::{FrameReader, GuestMessage, HostMessage, MAX_BODY};

/// Appends all complete bodies of the reader to `bodies`. Returns false if the stream is invalid.
fn drain(reader: &mut FrameReader, bodies: &mut Vec<Vec<u8>>) -> bool {
    loop {
        match reader.next_body() {
            Ok(Some(body)) => {
                assert!(body.len() <= MAX_BODY);
                bodies.push(body);
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fuzz_target!(|input: (Vec<u8>, &[u8])| {
    let (lengths, stream) = input;

    let mut whole = FrameReader::default();
    let mut expected = vec![];
    whole.push(stream);
    let is_whole_valid = drain(&mut whole, &mut expected);

    let mut reader = FrameReader::default();
    let mut bodies = vec![];
    let mut rest = stream;
    let mut is_valid = true;
    for length in lengths {
        let (piece, after) = rest.split_at(usize::from(length).min(rest.len()));
        rest = after;
        reader.push(piece);
        is_valid &= drain(&mut reader, &mut bodies);
    }
    reader.push(rest);
    is_valid &= drain(&mut reader, &mut bodies);

    assert_eq!((is_valid, &bodies), (is_whole_valid, &expected));
    assert_eq!(reader.is_mid_frame(), whole.is_mid_frame());
    for body in &bodies {
        let _ = GuestMessage::decode(body);
        let _ = HostMessage::decode(body);
    }
});
