// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests that each message is decoded as it was encoded, and that invalid bodies are refused.

use sudbox_protocol::message::MAX_TEXT;
use sudbox_protocol::{
    CaseResult, DecodeError, Feature, FrameReader, GuestMessage, Hello, HostMessage, MAX_BODY,
    Measurement, Observation, ObservedPart, Plan, PlannedCase, Program, ProgramEnd, ResultKind,
    VERSION,
};

fn hello() -> Hello {
    Hello {
        version: VERSION,
        release: "6.12.117".into(),
        build: "#1 SMP PREEMPT_DYNAMIC".into(),
        machine: "x86_64".into(),
        cpus: 2,
        cpu_model: "AuthenticAMD EPYC".into(),
        cpu_features: vec!["fpu".into(), "avx".into(), String::new()],
        floating_state_layout: "xcr0 0x7 2:576+256".into(),
        features: Feature::ALL.to_vec(),
        boot_micros: u64::MAX,
    }
}

fn guest_messages() -> Vec<GuestMessage> {
    let results = [
        CaseResult::Pass,
        CaseResult::Fail { expected: "SIGSYS".into(), got: "exit 0".into() },
        CaseResult::Absent(Feature::Inclusive),
        CaseResult::Unmet("needs avx".into()),
        CaseResult::Hang,
        CaseResult::Broken("fork: EAGAIN".into()),
    ];
    let mut messages = vec![
        GuestMessage::Hello(hello()),
        GuestMessage::Hello(Hello::default()),
        GuestMessage::Start { case: u32::MAX },
        GuestMessage::Log { case: 7, text: "zwei\nZeilen ü \0".into() },
        GuestMessage::VmSpent { case: 3 },
        GuestMessage::Measured { case: 2, measurement: Measurement::default() },
        GuestMessage::Measured {
            case: 2,
            measurement: Measurement {
                operations: 64,
                batches: vec![u64::MAX, 0],
                empty_batches: vec![1],
                ticks: 2,
                nanoseconds: 3,
                total_operations: 4,
                interrupts: 5,
            },
        },
        GuestMessage::ObservationDigest { case: 4, digest: u64::MAX - 1 },
        GuestMessage::Observed { case: 4, observation: Observation::default() },
        GuestMessage::Observed {
            case: 4,
            observation: Observation {
                scenario: "plain".into(),
                step: "handler 0".into(),
                field: "frame".into(),
                function: "x64_setup_rt_frame()".into(),
                parts: vec![
                    ObservedPart { name: "si_code".into(), bytes: vec![2, 0, 0, 0] },
                    ObservedPart { name: String::new(), bytes: vec![] },
                ],
            },
        },
        GuestMessage::AllResults(results.iter().map(CaseResult::kind).collect()),
        GuestMessage::AllResults(vec![]),
        GuestMessage::Output { is_stderr: true, bytes: vec![0, 0xff] },
        GuestMessage::StdinWanted,
        GuestMessage::ProgramEnded(ProgramEnd::Exited(3)),
        GuestMessage::ProgramEnded(ProgramEnd::Killed(31)),
        GuestMessage::ProgramEnded(ProgramEnd::NotStarted("ENOENT".into())),
    ];
    messages.extend(results.map(|result| GuestMessage::End { case: 1, result, micros: 99 }));
    messages
}

fn host_messages() -> Vec<HostMessage> {
    let case = |id: &str, deadline_ms| PlannedCase { id: id.into(), deadline_ms };
    vec![
        HostMessage::Plan(Plan { cases: vec![case("selector/allow-passes", 2000), case("", 0)] }),
        HostMessage::Plan(Plan::default()),
        HostMessage::Record(Plan { cases: vec![case("grid/range", 1)] }),
        HostMessage::Go { case: 3 },
        HostMessage::Acknowledge,
        HostMessage::Execute(Program {
            path: b"/bin/true".to_vec(),
            arguments: vec![b"true".to_vec(), vec![]],
            environment: vec![(b"TERM".to_vec(), vec![0xff])],
            directory: b"/".to_vec(),
        }),
        HostMessage::Stdin(b"x".to_vec()),
        HostMessage::Stdin(vec![]),
    ]
}

/// The body of a frame, after which no bytes may follow.
fn only_body(frame: &[u8]) -> Vec<u8> {
    let mut reader = FrameReader::default();
    reader.push(frame);
    let body = reader.next_body().unwrap().unwrap();
    assert!(!reader.is_mid_frame());
    body
}

#[test]
fn every_message_is_decoded_as_it_was_encoded() {
    for message in guest_messages() {
        assert_eq!(GuestMessage::decode(&only_body(&message.to_frame())), Ok(message));
    }
    for message in host_messages() {
        assert_eq!(HostMessage::decode(&only_body(&message.to_frame())), Ok(message));
    }
}

#[test]
fn the_encoding_does_not_change() {
    // A guest and a host of different builds understand each other if VERSION is the same.
    let end = GuestMessage::End {
        case: 0x0102_0304,
        result: CaseResult::Fail { expected: "a".into(), got: String::new() },
        micros: 5,
    };
    assert_eq!(
        end.to_frame(),
        [
            23, 0, 0, 0, // length of the body
            3, 4, 3, 2, 1, 1, // End, case, Fail
            1, 0, 0, 0, b'a', 0, 0, 0, 0, // expected, got
            5, 0, 0, 0, 0, 0, 0, 0, // micros
        ]
    );
    assert_eq!(HostMessage::Acknowledge.to_frame(), [1, 0, 0, 0, 2]);
}

#[test]
fn every_truncation_of_a_message_is_refused() {
    for message in guest_messages() {
        let body = only_body(&message.to_frame());
        for length in 0..body.len() {
            let error = GuestMessage::decode(&body[..length]).unwrap_err();
            // A list compares its length with the bytes left before it decodes its first entry.
            let is_refused = matches!(error, DecodeError::Truncated | DecodeError::ListTooLong(_));
            assert!(is_refused, "{message:?} cut at {length}: {error:?}");
        }
    }
    for message in host_messages() {
        let body = only_body(&message.to_frame());
        for length in 0..body.len() {
            HostMessage::decode(&body[..length]).unwrap_err();
        }
    }
}

#[test]
fn bytes_after_a_message_are_refused() {
    for message in guest_messages() {
        let mut body = only_body(&message.to_frame());
        body.extend([0, 1, 2]);
        assert_eq!(GuestMessage::decode(&body), Err(DecodeError::Trailing(3)), "{message:?}");
    }
    for message in host_messages() {
        let mut body = only_body(&message.to_frame());
        body.push(0);
        assert_eq!(HostMessage::decode(&body), Err(DecodeError::Trailing(1)), "{message:?}");
    }
}

#[test]
fn unknown_tags_are_refused() {
    let unknown = |kind, tag| Err(DecodeError::UnknownTag { kind, tag });
    assert_eq!(GuestMessage::decode(&[12]), unknown("guest message", 12));
    assert_eq!(GuestMessage::decode(&[4, 1, 0, 0, 0, 6]), unknown("result", 6));
    assert_eq!(GuestMessage::decode(&[5, 2]), unknown("stream", 2));
    assert_eq!(GuestMessage::decode(&[7, 3]), unknown("end of a program", 3));
    let count = u8::try_from(Feature::ALL.len()).unwrap();
    let absent = [3, 0, 0, 0, 0, ResultKind::Absent as u8, count];
    assert_eq!(GuestMessage::decode(&absent), unknown("feature", count));
    let host: Result<HostMessage, _> = HostMessage::decode(&[6]);
    assert_eq!(host, Err(DecodeError::UnknownTag { kind: "host message", tag: 6 }));
}

#[test]
fn too_large_lengths_are_refused_before_memory_is_allocated() {
    let log = |length: u32, text: &[u8]| {
        let mut body = vec![2, 0, 0, 0, 0];
        body.extend(length.to_le_bytes());
        body.extend(text);
        GuestMessage::decode(&body)
    };
    assert_eq!(log(u32::MAX, b"x"), Err(DecodeError::Truncated));
    assert_eq!(log(2, b"x"), Err(DecodeError::Truncated));
    assert_eq!(log(0, b"x"), Err(DecodeError::Trailing(1)));
    assert_eq!(log(2, &[0xc3, 0x28]), Err(DecodeError::NotUtf8));
    let mut all_results = vec![4];
    all_results.extend(u32::MAX.to_le_bytes());
    assert_eq!(GuestMessage::decode(&all_results), Err(DecodeError::ListTooLong(u32::MAX)));
}

#[test]
fn a_long_text_is_cut_between_characters() {
    let text = "ü".repeat(MAX_TEXT);
    let frame = GuestMessage::Log { case: 0, text: format!("x{text}") }.to_frame();
    let GuestMessage::Log { text, .. } = GuestMessage::decode(&only_body(&frame)).unwrap() else {
        panic!("not a log");
    };
    assert_eq!(text.len(), MAX_TEXT - 1);
    assert!(text.ends_with('ü'));
}

#[test]
fn the_largest_texts_fit_a_frame() {
    let huge = "x".repeat(MAX_BODY);
    for result in [
        CaseResult::Fail { expected: huge.clone(), got: huge.clone() },
        CaseResult::Unmet(huge.clone()),
        CaseResult::Broken(huge.clone()),
    ] {
        let frame = GuestMessage::End { case: 0, result, micros: 0 }.to_frame();
        assert!(frame.len() <= 4 + MAX_BODY);
        GuestMessage::decode(&only_body(&frame)).unwrap();
    }
}
