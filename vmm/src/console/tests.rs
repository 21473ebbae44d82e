// SPDX-License-Identifier: Apache-2.0 OR MIT

use super::*;
use proptest::prelude::*;

#[test]
fn short_text_is_whole() {
    let mut c = Console::default();
    c.push(b"one\n");
    let mark = c.total_bytes();
    c.push(b"two\n");
    assert_eq!((c.text_since(0), c.text_since(mark)), ("one\ntwo\n".into(), "two\n".into()));
    assert_eq!((c.text_since(8), c.text_since(99)), (String::new(), String::new()));
}

#[test]
fn the_gap_is_named_and_counted() {
    let mut c = Console::default();
    c.push(&vec![b'a'; HEAD_SIZE]);
    c.push(&vec![b'b'; 1000]);
    c.push(&vec![b'c'; TAIL_SIZE]);
    let text = c.text_since(HEAD_SIZE as u64 - 1);
    assert!(text.starts_with("a\n[1000 bytes of console output dropped here]\nc"), "{text:.80}");
    let text = c.text_since(HEAD_SIZE as u64 + 10);
    assert!(text.starts_with("\n[990 bytes of console output dropped here]\nc"), "{text:.80}");
    assert_eq!(c.text_since(HEAD_SIZE as u64 + 1000).len(), TAIL_SIZE);
    assert_eq!(c.text_since(c.total_bytes() - 5), "ccccc");
}

#[test]
fn the_panic_is_found_in_its_line() {
    let mut c = Console::default();
    assert_eq!(c.panic_message(), None);
    c.push(b"[    0.5] Kernel panic - not syncing: No init\r\n[ 0.6] ---[ end Kernel panic");
    assert_eq!(c.panic_message().as_deref(), Some("Kernel panic - not syncing: No init"));
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        pieces in prop::collection::vec((1usize..200_000, 32u8..127), 0..12),
        mark in 0u64..1_200_000,
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
        let mut at_once = Console::default();
        at_once.push(&all);
        prop_assert_eq!(console.text_since(mark), at_once.text_since(mark));
        if all.len() <= HEAD_SIZE + TAIL_SIZE {
            let tail = all.get(to_index(mark)..).unwrap_or(&[]);
            prop_assert_eq!(console.text_since(mark).into_bytes(), tail);
        }
    }
}
