//! The bytes of docs/storage-format.md as fixed vectors; the TypeScript half reads the same file.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use balsa_log::format::block::{self, Depth};
use balsa_log::format::operation::{Compact, Operation, Operations, encode};
use balsa_log::format::snapshot::Snapshot;
use common::{block_of, entries_of, sealed};
use proptest::prelude::*;
use serde_json::Value;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../test/format/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn items(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let hex = text(value);
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn kind_code(kind: &str) -> u8 {
    match kind {
        "command" => block::KIND_COMMAND,
        "noop" => block::KIND_NOOP,
        "barrier" => block::KIND_BARRIER,
        "configuration" => block::KIND_CONFIGURATION,
        other => panic!("a vector has the kind {other}"),
    }
}

#[test]
fn every_block_vector_is_written_byte_for_byte_and_read_back() {
    let vectors = vectors();
    assert!(items(&vectors["blocks"]).len() > 3);
    for vector in items(&vectors["blocks"]) {
        let payloads: Vec<_> = items(&vector["entries"]).iter().map(|entry| bytes(&entry["payload"])).collect();
        let entries: Vec<_> = items(&vector["entries"])
            .iter()
            .zip(&payloads)
            .map(|(entry, payload)| {
                (kind_code(text(&entry["kind"])), entry["milliseconds"].as_u64().unwrap(), payload.as_slice())
            })
            .collect();
        let first = vector["first"].as_u64().unwrap();
        let term = vector["term"].as_u64().unwrap();
        let expected = bytes(&vector["hex"]);
        assert_eq!(sealed(first, term, &entries), expected, "{}", vector["name"]);
        let info = block::check(&expected, Depth::Records).unwrap();
        assert_eq!((info.first, info.last, info.term), (first, vector["last"].as_u64().unwrap(), term));
        assert_eq!(info.is_configuration, entries[0].0 == block::KIND_CONFIGURATION);
    }
}

#[test]
fn every_block_vector_with_sessions_is_intact_sealed_alike_and_clipped_with_its_flags() {
    for vector in items(&vectors()["sessionBlocks"]) {
        let expected = bytes(&vector["hex"]);
        let info = block::check(&expected, Depth::Records).unwrap();
        assert_eq!((info.first, info.last), (vector["first"].as_u64().unwrap(), vector["last"].as_u64().unwrap()));
        let mut arena = expected.clone();
        let sealed_end = arena.len() - 4;
        arena[sealed_end..].fill(0);
        assert_eq!(block::seal(&mut arena, 0).unwrap(), expected.len());
        assert_eq!(arena, expected);
        let mut clipped = vec![0; block::clipped_bytes(&expected, info.first + 1, info.last + 1).unwrap()];
        block::clip(&expected, info.first + 1, info.last + 1, &mut clipped).unwrap();
        assert_eq!(block::check(&clipped, Depth::Records).unwrap().first, info.first + 1);
    }
}

#[test]
fn every_invalid_block_vector_is_refused() {
    for vector in items(&vectors()["invalidBlocks"]) {
        assert!(block::check(&bytes(&vector["hex"]), Depth::Records).is_err(), "{}", vector["name"]);
    }
}

#[test]
fn every_ticket_vector_is_read_and_written_back_byte_for_byte() {
    let vectors = vectors();
    for vector in items(&vectors["tickets"]) {
        let expected = bytes(&vector["hex"]);
        let operations: Vec<_> = Operations::new(&expected).map(Result::unwrap).collect();
        assert_eq!(operations.len(), items(&vector["steps"]).len(), "{}", vector["name"]);
        for (operation, step) in operations.iter().zip(items(&vector["steps"])) {
            let name = match operation {
                Operation::Append { .. } => "append",
                Operation::TruncateSuffix { .. } => "truncateSuffix",
                Operation::Compact(compact) => {
                    assert_compacts(compact, step, &vectors);
                    "compact"
                }
                Operation::HardState { .. } => "hardState",
                Operation::Put { .. } => "put",
                Operation::Delete { .. } => "delete",
            };
            assert_eq!(name, text(&step["type"]));
        }
        let mut written = Vec::new();
        operations.iter().for_each(|operation| encode(&mut written, operation));
        assert_eq!(written, expected, "{}", vector["name"]);
    }
}

#[test]
fn every_invalid_ticket_vector_is_refused_by_its_operations_or_by_its_blocks() {
    for vector in items(&vectors()["invalidTickets"]) {
        let ticket = bytes(&vector["hex"]);
        let refused = Operations::new(&ticket).any(|operation| match operation {
            Ok(Operation::Append { block }) => block::check(block, Depth::Block).is_err(),
            Ok(_) => false,
            Err(_) => true,
        });
        assert!(refused, "{}", vector["name"]);
    }
}

fn assert_compacts(compact: &Compact<'_>, step: &Value, vectors: &Value) {
    let number = |name: &str| step[name].as_u64().unwrap();
    let configuration = items(&vectors["configurations"]).iter().find(|one| one["name"] == step["configuration"]);
    let expected = Snapshot {
        index: number("index"),
        term: number("term"),
        time: number("time"),
        configuration_index: number("configurationIndex"),
        id: bytes(&step["id"]).try_into().unwrap(),
        configuration: bytes(&configuration.unwrap()["hex"]),
    };
    assert_eq!((compact.first, compact.prev_term), (number("first"), number("prevTerm")));
    assert_eq!(compact.keep_suffix, step["keepSuffix"].as_bool().unwrap());
    let Snapshot { index, term, time, configuration_index, id, configuration } = compact.snapshot;
    let configuration = configuration.to_vec();
    assert_eq!(Snapshot { index, term, time, configuration_index, id, configuration }, expected);
}

#[test]
fn a_flipped_bit_anywhere_in_a_block_is_found() {
    let block = block_of(5, 3, &[b"", b"a", b"eight by", &[7; 100]]);
    for at in 0..block.len() {
        for bit in 0..8 {
            let mut damaged = block.clone();
            damaged[at] ^= 1 << bit;
            for depth in [Depth::Block, Depth::Records] {
                assert!(block::check(&damaged, depth).is_err(), "byte {at}, bit {bit}, {depth:?}");
            }
        }
    }
}

#[test]
fn damage_inside_a_record_names_its_index() {
    let block = block_of(10, 3, &[b"first", b"second", b"third"]);
    let at = entries_of(&block).iter().take(1).map(|entry| 32 + entry.payload.len().next_multiple_of(8)).sum::<usize>();
    let mut damaged = block.clone();
    damaged[24 + at + 32] ^= 1;
    assert_eq!(block::check(&damaged, Depth::Block).unwrap_err().index, Some(11));
}

#[test]
fn seal_refuses_an_arena_without_room() {
    let block = block_of(1, 1, &[b"payload"]);
    for length in 0..block.len() {
        let mut arena = block[..length].to_vec();
        assert!(block::seal(&mut arena, 0).is_err());
    }
    assert!(block::seal(&mut block.clone(), block.len() + 1).is_err());
}

proptest! {
    #[test]
    fn clipping_a_block_keeps_exactly_the_entries_of_the_range(
        lengths in prop::collection::vec(0_usize..200, 1..20),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let payloads: Vec<Vec<u8>> = lengths.iter().map(|length| vec![(length % 251) as u8; *length]).collect();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let block = block_of(100, 7, &slices);
        let (a, b) = (from.index(lengths.len()), to.index(lengths.len()));
        let (lo, hi) = (a.min(b), a.max(b) + 1);
        let mut out = vec![0xee; block.len()];
        let length = block::clip(&block, 100 + lo as u64, 100 + hi as u64, &mut out).unwrap();
        prop_assert_eq!(Some(length), block::clipped_bytes(&block, 100 + lo as u64, 100 + hi as u64));
        prop_assert_eq!(entries_of(&out[..length]), &entries_of(&block)[lo..hi]);
    }

    #[test]
    fn no_bytes_make_the_decoders_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _checked = block::check(&bytes, Depth::Records);
        let _sealed = block::seal(&mut bytes.clone(), 0);
        let _clipped = block::clip(&bytes, 1, 2, &mut [0; 64]);
        let _payload = block::only_payload(&bytes);
        let _operations = Operations::new(&bytes).count();
    }

    #[test]
    fn no_damage_to_a_block_makes_the_decoders_panic(
        at in any::<prop::sample::Index>(),
        value in any::<u32>(),
    ) {
        let mut block = block_of(1, 1, &[b"one", b"two", &[3; 40]]);
        let at = at.index(block.len() - 4);
        block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let _checked = block::check(&block, Depth::Records);
        let _clipped = block::clip(&block, 2, 3, &mut [0; 200]);
        let _sealed = block::seal(&mut block, 0);
    }
}
