// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests of frames that arrive in pieces, and of frames that announce too long a body.

use sudbox_protocol::frame::wrap;
use sudbox_protocol::{FrameError, FrameReader, MAX_BODY};

#[test]
fn a_frame_may_arrive_byte_by_byte() {
    let mut reader = FrameReader::default();
    let frame = wrap(b"body");
    for (i, byte) in frame.iter().enumerate() {
        assert_eq!(reader.next_body(), Ok(None));
        assert_eq!(reader.is_mid_frame(), i > 0);
        reader.push(&[*byte]);
    }
    assert_eq!(reader.next_body(), Ok(Some(b"body".to_vec())));
    assert_eq!(reader.next_body(), Ok(None));
    assert!(!reader.is_mid_frame());
}

#[test]
fn frames_in_one_piece_are_returned_one_by_one() {
    let mut reader = FrameReader::default();
    reader.push(&[wrap(b"a"), wrap(b""), wrap(b"c")].concat());
    for body in [b"a".as_slice(), b"", b"c"] {
        assert_eq!(reader.next_body(), Ok(Some(body.to_vec())));
    }
    assert_eq!(reader.next_body(), Ok(None));
}

#[test]
fn a_body_of_the_maximum_length_is_accepted_and_a_longer_one_refused() {
    let mut reader = FrameReader::default();
    reader.push(&wrap(&vec![7; MAX_BODY]));
    assert_eq!(reader.next_body().unwrap().map(|b| b.len()), Some(MAX_BODY));

    let announced = u32::try_from(MAX_BODY).unwrap() + 1;
    reader.push(&announced.to_le_bytes());
    // The reader refuses the frame before its body arrives, and every frame after it.
    assert_eq!(reader.next_body(), Err(FrameError::TooLong(announced)));
    reader.push(&wrap(b"fine"));
    assert_eq!(reader.next_body(), Err(FrameError::TooLong(announced)));
}

#[test]
#[should_panic(expected = "a body of 262145 bytes")]
fn a_body_that_is_too_long_is_not_wrapped() {
    let _ = wrap(&vec![0; MAX_BODY + 1]);
}
