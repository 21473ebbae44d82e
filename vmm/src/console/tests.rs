// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use proptest::prelude::*;

#[test]
fn short_output_is_kept_completely() {
    let mut console = Console::default();
    console.push(b"one\n");
    let position = console.total_bytes();
    console.push(b"two\n");
    assert_eq!(console.text_since(0), "one\ntwo\n");
    assert_eq!(console.text_since(position), "two\n");
    assert_eq!((console.text_since(8), console.text_since(99)), (String::new(), String::new()));
}

#[test]
fn a_line_gives_the_number_of_dropped_bytes() {
    let mut console = Console::default();
    console.push(&vec![b'a'; HEAD_SIZE]);
    console.push(&vec![b'b'; 1000]);
    console.push(&vec![b'c'; TAIL_SIZE]);
    let text = console.text_since(HEAD_SIZE as u64 - 1);
    assert!(text.starts_with("a\n[1000 bytes of console output dropped here]\nc"), "{text:.80}");
    let text = console.text_since(HEAD_SIZE as u64 + 10);
    assert!(text.starts_with("\n[990 bytes of console output dropped here]\nc"), "{text:.80}");
    assert_eq!(console.text_since(HEAD_SIZE as u64 + 1000).len(), TAIL_SIZE);
    assert_eq!(console.text_since(console.total_bytes() - 5), "ccccc");
}

#[test]
fn the_panic_message_ends_with_its_line() {
    let mut console = Console::default();
    assert_eq!(console.panic_message(), None);
    console.push(b"[    0.5] Kernel panic - not syncing: No init\r\n[ 0.6] ---[ end Kernel panic");
    assert_eq!(console.panic_message().as_deref(), Some("Kernel panic - not syncing: No init"));
}

proptest! {
    #[test]
    fn the_text_does_not_depend_on_the_sizes_of_writes(
        pieces in prop::collection::vec((1usize..200_000, 32u8..127), 0..12),
        position in 0u64..1_200_000,
    ) {
        let mut console = Console::default();
        let mut all = Vec::new();
        for (len, byte) in pieces {
            let piece = vec![byte; len];
            console.push(&piece);
            all.extend(piece);
            prop_assert!(console.head.len() + console.tail.len() <= HEAD_SIZE + TAIL_SIZE);
        }
        prop_assert_eq!(console.total_bytes(), all.len() as u64);
        let mut written_at_once = Console::default();
        written_at_once.push(&all);
        prop_assert_eq!(console.text_since(position), written_at_once.text_since(position));
        if all.len() <= HEAD_SIZE + TAIL_SIZE {
            let expected = all.get(to_index(position)..).unwrap_or(&[]);
            prop_assert_eq!(console.text_since(position).into_bytes(), expected);
        }
    }
}
