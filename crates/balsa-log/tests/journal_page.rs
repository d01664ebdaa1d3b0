//! The segments of a real directory, decoded by what docs/storage-format.md says of a batch and by nothing else: where its
//! fields are is read from that page, and the checksum is computed here.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use balsa_log::format::operation::Operation;
use balsa_log::{JournalSize, Mode, Options};
use common::{Gate, block_of, crashed, open_with, ticket};

const SEGMENT: usize = 64 << 10;

/// A field of the table: where it is, of how many bytes, and what is said of it.
struct Field {
    at: usize,
    bytes: usize,
    says: String,
}

struct Page(BTreeMap<String, Field>);

impl Page {
    /// The first table behind the heading of the journal.
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/storage-format.md");
        let text = fs::read_to_string(path).unwrap();
        let chapter = text.split("\n## The journal\n").nth(1).unwrap();
        let table = chapter.split("```\n").nth(1).unwrap();
        let fields = table.lines().map(|line| {
            let words: Vec<&str> = line.strip_prefix("batch").unwrap_or(line).split("  ").map(str::trim).collect();
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let (at, rest) = words.split_first().unwrap();
            let (bytes, rest) = match rest {
                ["u32", rest @ ..] => (4, rest),
                ["u64", rest @ ..] => (8, rest),
                rest => (0, rest),
            };
            (rest[0], Field { at: at.parse().unwrap(), bytes, says: rest[1..].concat() })
        });
        Self(fields.map(|(name, field)| (name.to_owned(), field)).collect())
    }

    fn of(&self, name: &str) -> &Field {
        self.0.get(name).unwrap_or_else(|| panic!("the page knows no {name}"))
    }

    fn number(&self, name: &str, batch: &[u8]) -> u64 {
        let Field { at, bytes, .. } = self.of(name);
        (0..*bytes).map(|byte| u64::from(batch[at + byte]) << (8 * byte)).sum()
    }

    /// The only number in what is said of a field, behind some words.
    fn said(&self, name: &str, words: &str) -> usize {
        let says = &self.of(name).says;
        let behind = says.split(words).nth(1).unwrap_or_else(|| panic!("{words:?} is not said of {name}: {says}"));
        behind.trim().chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }
}

/// CRC-32C, bit by bit.
fn checksum(parts: &[&[u8]]) -> u64 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    u64::from(!crc)
}

#[derive(Debug)]
struct Batch {
    sequence: u64,
    salt: u64,
    goes_on: bool,
    previous: u64,
    crc: u64,
    body: Vec<u8>,
}

/// The batch at a place, whose every rule of the page is checked; and how long it is.
fn batch_at(page: &Page, segment: u32, at: usize, bytes: &[u8]) -> (Batch, usize) {
    let batch = &bytes[at..];
    let length = page.number("length", batch) as usize;
    assert_eq!(length % page.said("length", "a multiple of"), 0, "the length");
    let begin = page.of("body").at;
    let end = begin + page.number("body length", batch) as usize;
    assert!(end <= length && batch[end..length].iter().all(|byte| *byte == 0), "then zeros");
    assert!(page.of("flags").says.starts_with("bit 0: the group commit goes on in the next batch"));
    let flags = page.number("flags", batch);
    assert!(flags <= 1, "another flag");
    assert!(page.of("crc").says.starts_with("over u32 segment, u64 byte in the segment, bytes 0 .. "));
    assert!(page.of("crc").says.ends_with(", body"));
    let header = &batch[..=page.said("crc", "bytes 0 ..")];
    let crc = page.number("crc", batch);
    let place = [segment.to_le_bytes().as_slice(), (at as u64).to_le_bytes().as_slice()].concat();
    assert_eq!(crc, checksum(&[&place, header, &batch[begin..end]]), "segment {segment}, byte {at}");
    let number = |name: &str| page.number(name, batch);
    let (sequence, salt, previous) = (number("sequence"), number("salt"), number("previous"));
    (Batch { sequence, salt, goes_on: flags == 1, previous, crc, body: batch[begin..end].to_vec() }, length)
}

/// All batches of a directory, in the order in which they were written, and nothing but zeros between them.
fn batches_of(page: &Page, dir: &Path) -> Vec<Batch> {
    let magic = page.of("magic").says.trim_matches('"').as_bytes().to_vec();
    let sector = page.said("length", "a multiple of");
    let mut batches = Vec::new();
    for segment in 1_u32.. {
        let Ok(bytes) = fs::read(dir.join(format!("journal-{segment:04}"))) else { break };
        assert_eq!(bytes.len(), SEGMENT);
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at..].starts_with(&magic) {
                let (batch, length) = batch_at(page, segment, at, &bytes);
                batches.push(batch);
                at += length;
            } else {
                assert!(bytes[at..at + sector].iter().all(|byte| *byte == 0), "segment {segment}, byte {at}");
                at += sector;
            }
        }
    }
    batches.sort_by_key(|batch| batch.sequence);
    batches
}

#[test]
fn the_batches_of_a_directory_are_what_the_page_says_and_hold_what_was_submitted() {
    let page = Page::read();
    let fields = "body, body length, crc, flags, length, magic, previous, salt, sequence";
    assert_eq!(page.0.keys().cloned().collect::<Vec<_>>().join(", "), fields);
    let dir = tempfile::tempdir().unwrap();
    let gate = Gate::default();
    let mut options = Options::default();
    options.mode = Mode::Journal(JournalSize { segment_bytes: SEGMENT as u32, bytes_max: 16 * SEGMENT as u64 });
    options.faults = gate.faults();
    let opened = open_with(dir.path(), &options).unwrap();
    gate.set(true);
    // The last one is longer than a segment.
    let lengths = [0, 1, 4000, 4056, 5000, 70_000];
    let tickets: Vec<Vec<u8>> = (1..)
        .zip(lengths)
        .map(|(index, length)| {
            let vote = Operation::HardState { term: index, commit: index - 1, voted_for: Some("a") };
            let block = block_of(index, index, &[&vec![index as u8; length]]);
            let facts = [Operation::Put { key: "k", value: b"v" }, Operation::Delete { key: "k" }];
            ticket(&[&[vote, Operation::Append { block: &block }], facts.as_slice()].concat())
        })
        .collect();
    for bytes in &tickets {
        let number = opened.store.submit(bytes).unwrap();
        opened.until("a ticket is durable", |progress| progress.durable >= number);
    }
    let copy = crashed(dir.path());
    gate.set(false);
    let batches = batches_of(&page, copy.path());
    let (mut previous, mut commits, mut commit) = (0, Vec::new(), Vec::new());
    assert!(page.of("sequence").says.starts_with("1 for the first"));
    for (sequence, batch) in (1..).zip(&batches) {
        assert_eq!((batch.sequence, batch.salt, batch.previous), (sequence, batches[0].salt, previous), "{batch:?}");
        previous = batch.crc;
        commit.extend_from_slice(&batch.body);
        if !batch.goes_on {
            commits.push(std::mem::take(&mut commit));
        }
    }
    assert!(commit.is_empty() && batches.len() > commits.len());
    assert!(commits == tickets, "what was submitted is not what is there");
}
