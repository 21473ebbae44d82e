// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Property tests with generated messages, generated splits of the stream, and arbitrary bytes.

use proptest::collection::vec;
use proptest::prelude::*;
use sudbox_protocol::{
    CaseResult, Feature, FrameReader, GuestMessage, Hello, HostMessage, MAX_BODY, Measurement,
    Observation, ObservedPart, Plan, PlannedCase, Program, ProgramEnd, ResultKind,
};

fn feature() -> impl Strategy<Value = Feature> {
    proptest::sample::select(Feature::ALL)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), ".{0,300}"]
}

fn result() -> impl Strategy<Value = CaseResult> {
    prop_oneof![
        Just(CaseResult::Pass),
        Just(CaseResult::Hang),
        (text(), text()).prop_map(|(expected, got)| CaseResult::Fail { expected, got }),
        feature().prop_map(CaseResult::Absent),
        text().prop_map(CaseResult::Unmet),
        text().prop_map(CaseResult::Broken),
    ]
}

fn kind() -> impl Strategy<Value = ResultKind> {
    use ResultKind::{Absent, Broken, Fail, Hang, Pass, Unmet};
    proptest::sample::select(vec![Pass, Fail, Absent, Unmet, Hang, Broken])
}

prop_compose! {
    fn hello()(
        version: u16,
        (release, build, machine, cpu_model) in (text(), text(), text(), text()),
        floating_state_layout in text(),
        cpus: u32,
        cpu_features in vec(text(), 0..20),
        features in vec(feature(), 0..40),
        boot_micros: u64,
    ) -> Hello {
        Hello {
            version,
            release,
            build,
            machine,
            cpus,
            cpu_model,
            cpu_features,
            floating_state_layout,
            features,
            boot_micros,
        }
    }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

fn program() -> impl Strategy<Value = Program> {
    (bytes(), vec(bytes(), 0..5), vec((bytes(), bytes()), 0..5), bytes()).prop_map(
        |(path, arguments, environment, directory)| Program {
            path,
            arguments,
            environment,
            directory,
        },
    )
}

fn program_end() -> impl Strategy<Value = ProgramEnd> {
    prop_oneof![
        any::<u8>().prop_map(ProgramEnd::Exited),
        any::<u8>().prop_map(ProgramEnd::Killed),
        text().prop_map(ProgramEnd::NotStarted),
    ]
}

prop_compose! {
    fn measurement()(
        operations: u32,
        batches in vec(any::<u64>(), 0..100),
        empty_batches in vec(any::<u64>(), 0..100),
        (ticks, nanoseconds) in any::<(u64, u64)>(),
        (total_operations, interrupts) in any::<(u64, u64)>(),
    ) -> Measurement {
        Measurement {
            operations,
            batches,
            empty_batches,
            ticks,
            nanoseconds,
            total_operations,
            interrupts,
        }
    }
}

prop_compose! {
    fn observation()(
        (scenario, step, field, function) in (text(), text(), text(), text()),
        parts in vec((text(), bytes()), 0..6),
    ) -> Observation {
        let parts = parts.into_iter().map(|(name, bytes)| ObservedPart { name, bytes }).collect();
        Observation { scenario, step, field, function, parts }
    }
}

fn guest_message() -> impl Strategy<Value = GuestMessage> {
    prop_oneof![
        hello().prop_map(GuestMessage::Hello),
        any::<u32>().prop_map(|case| GuestMessage::Start { case }),
        any::<u32>().prop_map(|case| GuestMessage::VmSpent { case }),
        (any::<u32>(), text()).prop_map(|(case, text)| GuestMessage::Log { case, text }),
        (any::<u32>(), result(), any::<u64>())
            .prop_map(|(case, result, micros)| GuestMessage::End { case, result, micros }),
        vec(kind(), 0..200).prop_map(GuestMessage::AllResults),
        (any::<bool>(), bytes())
            .prop_map(|(is_stderr, bytes)| GuestMessage::Output { is_stderr, bytes }),
        Just(GuestMessage::StdinWanted),
        (any::<u32>(), measurement())
            .prop_map(|(case, measurement)| GuestMessage::Measured { case, measurement }),
        program_end().prop_map(GuestMessage::ProgramEnded),
        (any::<u32>(), any::<u64>())
            .prop_map(|(case, digest)| GuestMessage::ObservationDigest { case, digest }),
        (any::<u32>(), observation())
            .prop_map(|(case, observation)| GuestMessage::Observed { case, observation }),
    ]
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let case = (text(), any::<u32>()).prop_map(|(id, deadline_ms)| PlannedCase { id, deadline_ms });
    prop_oneof![
        vec(case, 0..50).prop_map(|cases| Plan { cases }).prop_flat_map(|plan| prop_oneof![
            Just(HostMessage::Plan(plan.clone())),
            Just(HostMessage::Record(plan)),
        ]),
        any::<u32>().prop_map(|case| HostMessage::Go { case }),
        Just(HostMessage::Acknowledge),
        program().prop_map(HostMessage::Execute),
        bytes().prop_map(HostMessage::Stdin),
    ]
}

/// Splits `stream` into pieces of the lengths in `lengths`, used cyclically.
fn pieces<'a>(stream: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    lengths.iter().cycle().map_while(move |&length| {
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #[test]
    fn guest_messages_are_decoded_however_the_stream_is_split(
        messages in vec(guest_message(), 1..6),
        lengths in vec(1..2000_usize, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(GuestMessage::to_frame).collect();
        let mut reader = FrameReader::default();
        let mut decoded = vec![];
        for piece in pieces(&stream, &lengths) {
            reader.push(piece);
            while let Some(body) = reader.next_body().unwrap() {
                decoded.push(GuestMessage::decode(&body).unwrap());
            }
        }
        prop_assert!(!reader.is_mid_frame());
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn host_messages_are_decoded_however_the_stream_is_split(
        messages in vec(host_message(), 1..6),
        lengths in vec(1..2000_usize, 1..8),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(HostMessage::to_frame).collect();
        let mut reader = FrameReader::default();
        let mut decoded = vec![];
        for piece in pieces(&stream, &lengths) {
            reader.push(piece);
            while let Some(body) = reader.next_body().unwrap() {
                decoded.push(HostMessage::decode(&body).unwrap());
            }
        }
        prop_assert!(!reader.is_mid_frame());
        prop_assert_eq!(decoded, messages);
    }

    /// Encoding a message that was decoded from arbitrary bytes gives the same bytes. (These bytes are too few
    /// for a text longer than MAX_TEXT, which the encoder would cut.)
    #[test]
    fn each_message_has_one_encoding(
        tag in 0..7_u8,
        bytes in vec(prop_oneof![4 => Just(0_u8), 2 => 0..8_u8, 1 => any::<u8>()], 0..400),
    ) {
        let body: Vec<u8> = std::iter::once(tag).chain(bytes).collect();
        if let Ok(message) = GuestMessage::decode(&body) {
            prop_assert_eq!(&message.to_frame()[4..], &body);
        }
        if let Ok(message) = HostMessage::decode(&body) {
            prop_assert_eq!(&message.to_frame()[4..], &body);
        }
    }

    #[test]
    fn a_changed_byte_changes_the_message_or_makes_it_invalid(
        message in guest_message(),
        index: proptest::sample::Index,
        byte: u8,
    ) {
        let mut body = message.to_frame().split_off(4);
        let index = index.index(body.len());
        let is_same_byte = body[index] == byte;
        body[index] = byte;
        if let Ok(decoded) = GuestMessage::decode(&body) {
            prop_assert_eq!(decoded == message, is_same_byte);
        }
    }

    #[test]
    fn no_body_of_an_arbitrary_stream_is_longer_than_the_maximum(
        stream in vec(any::<u8>(), 0..4000),
        lengths in vec(1..500_usize, 1..8),
    ) {
        let mut reader = FrameReader::default();
        for piece in pieces(&stream, &lengths) {
            reader.push(piece);
            while let Ok(Some(body)) = reader.next_body() {
                prop_assert!(body.len() <= MAX_BODY);
            }
        }
    }
}
