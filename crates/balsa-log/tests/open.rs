//! Opening: whose directory it is, who holds it, and what damage does. What cannot be opened is left untouched.

#![allow(missing_docs, clippy::as_conversions, clippy::cast_possible_truncation)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use balsa_log::format::block::KIND_CONFIGURATION;
use balsa_log::format::operation::Operation;
use balsa_log::{Durability, Error, JournalSize, Mode, Options, Store};
use common::{Opened, block_of, crashed, open, open_error};

/// Every file of a directory with its bytes.
fn image(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// The same, without the two files that every opener may write: its own lock and LMDB's table of readers.
fn stored_image(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = image(dir);
    files.remove("LOCK");
    files.remove("lock.mdb");
    files
}

/// A closed store with entries 1 to 6 in three blocks.
fn small_store(dir: &Path) {
    let opened = open(dir);
    for first in [1, 3, 5] {
        let block = block_of(first, 1, &[b"payload of the even kind", &[first as u8; 3000]]);
        opened.put(&[Operation::Append { block: &block }]);
    }
    opened.store.close();
}

#[test]
fn a_new_store_makes_its_parents_and_counts_its_boots() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b/c");
    let first = open(&nested);
    assert_eq!((first.state.first, first.state.last, first.state.boot_counter), (1, 0, 1));
    assert!(!first.state.was_clean);
    first.store.close();
    let second = open(&nested);
    assert_eq!(second.state.boot_counter, 2);
    assert_eq!(second.state.incarnation, first.state.incarnation);
    assert!(second.state.was_clean);
}

#[test]
fn inspect_tells_what_an_open_would_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("store");
    let options = Options::default();
    assert!(Store::inspect(&place, &options).unwrap().is_none());
    assert!(!place.exists(), "nothing was made");
    fs::create_dir(&place).unwrap();
    assert!(Store::inspect(&place, &options).unwrap().is_none());
    assert!(image(&place).is_empty(), "nothing was made");
    small_store(&place);
    let before = stored_image(&place);
    let told = Store::inspect(&place, &options).unwrap().unwrap();
    assert_eq!(stored_image(&place), before);
    let opened = open(&place);
    assert_eq!((told.first, told.last, told.boot_counter), (1, 6, opened.state.boot_counter - 1));
    assert!(told.was_clean && opened.state.was_clean, "an inspection is no start");
    assert_eq!(told.incarnation, opened.state.incarnation);
    assert_eq!(told.fingerprint, opened.state.fingerprint);
    assert_eq!(Store::inspect(&place, &options).err().unwrap().code(), "ERR_RAFT_DIR_LOCKED");
    opened.store.close();
    fs::write(place.join("FORMAT"), "").unwrap();
    let damaged = image(&place);
    let error = Store::inspect(&place, &options).err().unwrap();
    assert_names_the_way_back(&error, "balsa-store 2 lmdb");
    assert_eq!(image(&place), damaged);
}

#[test]
fn a_directory_with_something_else_in_it_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("letters.txt"), "dear").unwrap();
    let before = image(dir.path());
    let error = open_error(dir.path());
    assert_eq!(error.code(), "ERR_RAFT_DIR_UNUSABLE");
    assert!(error.to_string().contains("letters.txt"), "{error}");
    assert_eq!(image(dir.path()), before);
}

/// What an operator reads who has lost `FORMAT`: what is there, and how to get it back.
fn assert_names_the_way_back(error: &Error, line: &str) {
    assert_eq!(error.code(), "ERR_RAFT_DIR_UNUSABLE");
    let text = error.to_string();
    assert!(text.contains(&format!("write FORMAT again, the one line \"{line}\"")), "{text}");
    assert!(text.contains("Do not start this server in an empty directory"), "{text}");
    assert!(!text.contains("Choose an empty directory"), "{text}");
}

#[test]
fn a_store_that_lost_its_format_is_left_alone_and_opens_once_the_named_line_is_back() {
    for lost in [None, Some(""), Some("\n"), Some("balsa-sto"), Some("\u{0}\u{0}\u{0}")] {
        let dir = tempfile::tempdir().unwrap();
        small_store(dir.path());
        let format = dir.path().join("FORMAT");
        match lost {
            None => fs::remove_file(&format).unwrap(),
            Some(text) => fs::write(&format, text).unwrap(),
        }
        let before = image(dir.path());
        assert_names_the_way_back(&open_error(dir.path()), "balsa-store 2 lmdb");
        assert_eq!(image(dir.path()), before);
        fs::write(&format, "balsa-store 2 lmdb\n").unwrap();
        assert_eq!(open(dir.path()).state.last, 6);
    }
}

#[test]
fn the_log_of_a_file_store_that_lost_its_format_is_told_from_a_foreign_one() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("log"), "of the application").unwrap();
    assert!(open_error(dir.path()).to_string().contains("it holds log"));
    fs::write(dir.path().join("log"), "balsalog, and what follows it").unwrap();
    assert_names_the_way_back(&open_error(dir.path()), "balsa-store 2 file");
}

#[test]
fn a_file_set_has_a_fingerprint_that_stays_with_it_and_that_no_copy_has() {
    let dir = tempfile::tempdir().unwrap();
    let (here, moved) = (dir.path().join("here"), dir.path().join("moved"));
    let fingerprint = |dir: &Path| open(dir).state.fingerprint.unwrap();
    small_store(&here);
    let first = fingerprint(&here);
    assert_eq!(fingerprint(&here), first, "opened again");
    fs::rename(&here, &moved).unwrap();
    assert_eq!(fingerprint(&moved), first, "moved");
    assert_ne!(fingerprint(crashed(&moved).path()), first, "copied");
    // A file that was put in its place.
    let aside = dir.path().join("aside");
    fs::copy(moved.join("data.mdb"), &aside).unwrap();
    fs::rename(&aside, moved.join("data.mdb")).unwrap();
    assert_ne!(fingerprint(&moved), first, "restored");
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(open_error(&file).code(), "ERR_RAFT_DIR_UNUSABLE");
}

#[test]
fn a_newer_format_another_engine_and_a_strange_marker_are_told_apart_and_left_alone() {
    let cases = [
        ("balsa-store 3 lmdb\n", "ERR_RAFT_STORE_FORMAT", "version 3"),
        ("balsa-store 2 journal\n", "ERR_RAFT_STORE_FORMAT", "version 2"),
        ("balsa-store 2 hash\n", "ERR_RAFT_STORE_FORMAT", "engine hash, and this is lmdb and journal"),
        ("something else\n", "ERR_RAFT_DIR_UNUSABLE", "not of Balsa"),
        ("", "ERR_RAFT_DIR_UNUSABLE", "is empty"),
    ];
    for (marker, code, said) in cases {
        let dir = tempfile::tempdir().unwrap();
        small_store(dir.path());
        fs::write(dir.path().join("FORMAT"), marker).unwrap();
        let before = image(dir.path());
        let error = open_error(dir.path());
        assert_eq!(error.code(), code, "{marker}");
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(image(dir.path()), before);
    }
}

#[test]
fn a_creation_that_was_cut_off_is_done_again() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("FORMAT.new"), "bal").unwrap();
    fs::write(dir.path().join("data.mdb"), [7; 5000]).unwrap();
    fs::write(dir.path().join("lock.mdb"), [7; 100]).unwrap();
    let opened = open(dir.path());
    assert_eq!((opened.state.last, opened.state.boot_counter), (0, 1));
}

#[test]
fn a_second_open_in_this_process_names_it_and_harms_nothing() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(dir.path());
    let error = open_error(dir.path());
    assert_eq!(error.code(), "ERR_RAFT_DIR_LOCKED");
    assert!(error.to_string().contains(&format!("process {} ", std::process::id())), "{error}");
    let elsewhere = open(other.path());
    for opened in [&first, &elsewhere] {
        opened.put(&[Operation::Append { block: &block_of(1, 1, &[b"x"]) }]);
    }
    first.store.close();
    assert_eq!(open(dir.path()).state.last, 1);
}

/// Not a test: the other process of the next one.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn hold_a_store_until_the_input_ends() {
    let Some(dir) = std::env::var_os("BALSA_TEST_HOLD") else { return };
    let _opened = open(Path::new(&dir));
    println!("held");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "hold_a_store_until_the_input_ends", "--ignored", "--nocapture"])
        .env("BALSA_TEST_HOLD", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = holder.stdout.take().unwrap();
    let mut said = String::new();
    while !said.contains("held") {
        let mut chunk = [0; 64];
        let length = output.read(&mut chunk).unwrap();
        assert!(length > 0, "the holder ended: {said}");
        said.push_str(&String::from_utf8_lossy(&chunk[..length]));
    }
    let error = open_error(dir.path());
    assert_eq!(error.code(), "ERR_RAFT_DIR_LOCKED");
    assert!(error.to_string().contains(&format!("process {} ", holder.id())), "{error}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(!open(dir.path()).state.was_clean);
}

#[test]
fn a_file_cut_short_anywhere_is_found_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    let data = fs::read(dir.path().join("data.mdb")).unwrap();
    let mut refused = 0;
    let lengths = (0..80).map(|page| page * 4096).chain([1, 100, 4095, 4097, 8191, 12_000, 40_000, data.len() - 1]);
    for length in lengths.filter(|length| *length < data.len()) {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join("FORMAT"), copy.path().join("FORMAT")).unwrap();
        fs::write(copy.path().join("data.mdb"), &data[..length]).unwrap();
        let before = stored_image(copy.path());
        match common::open_with(copy.path(), &balsa_log::Options::default()) {
            // What was cut is beyond the last page: room that was reserved.
            Ok(opened) => assert_eq!(opened.entries(1, 7, 1 << 20).unwrap().len(), 6),
            Err(error) => {
                assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{length}: {error}");
                assert_eq!(stored_image(copy.path()), before);
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} lengths were refused");
}

#[test]
fn a_store_whose_data_file_is_gone_is_damaged_not_new() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    fs::remove_file(dir.path().join("data.mdb")).unwrap();
    let error = open_error(dir.path());
    assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT");
    assert!(!dir.path().join("data.mdb").exists());
}

/// Changes one bit wherever `pattern` stands: older copies of a page may still be in the file.
fn damage(dir: &Path, pattern: &[u8], offset: usize) {
    let path = dir.join("data.mdb");
    let mut data = fs::read(&path).unwrap();
    let places: Vec<_> = (0..data.len() - pattern.len()).filter(|at| data[*at..].starts_with(pattern)).collect();
    assert!(!places.is_empty(), "the pattern is not in the file");
    for at in places {
        data[at + offset] ^= 0x10;
    }
    fs::write(path, data).unwrap();
}

#[test]
fn a_damaged_entry_is_named_by_the_read_that_meets_it_and_only_by_that() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    damage(dir.path(), &[3; 3000], 1000);
    let opened = open(dir.path());
    let error = opened.entries(1, 7, 1 << 20).unwrap_err();
    assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT");
    assert!(matches!(error, Error::Damaged { index: Some(4), .. }), "{error:?}");
    assert_eq!(opened.entries(1, 3, 1 << 20).unwrap().len(), 2);
    assert_eq!(opened.entries(5, 7, 1 << 20).unwrap().len(), 2);
    assert!(!opened.store.poll().poisoned);
}

#[test]
fn damage_to_the_last_block_or_to_a_row_refuses_the_open_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    let incarnation = open(dir.path()).state.incarnation;
    for (pattern, offset) in [(vec![5; 3000], 2999), (incarnation.to_vec(), 0)] {
        let copy = crashed(dir.path());
        damage(copy.path(), &pattern, offset);
        let before = stored_image(copy.path());
        let error = open_error(copy.path());
        assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{error}");
        assert_eq!(stored_image(copy.path()), before);
    }
}

#[test]
fn a_row_under_a_key_that_no_row_has_is_damage_and_not_a_row_less() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.mode = Mode::Journal(JournalSize::default());
    let opened = common::open_with(dir.path(), &options).unwrap();
    let blocks = [
        common::sealed(1, 1, &[(KIND_CONFIGURATION, 7, b"voters")]),
        block_of(2, 1, &[b"one"]),
        block_of(3, 2, &[b"two"]),
    ];
    let appends = blocks.iter().map(|block| Operation::Append { block });
    opened.put(&appends.chain([Operation::Put { key: "joined", value: b"1" }]).collect::<Vec<_>>());
    opened.store.close();
    // Kind of the row, then its group; behind each key stands its value.
    let of_group = |kind: u8, rest: &[u8]| [&[kind, 0, 0, 0, 0, 0, 0, 0, 0], rest].concat();
    let keys = [
        (of_group(3, &1_u64.to_le_bytes()), 5),
        (of_group(4, &3_u64.to_be_bytes()), 5),
        (of_group(5, b"joined"), 5),
        (of_group(6, &3_u64.to_be_bytes()), 5),
        // The row of the journal: the length of its key, then the key.
        (vec![2, 0, 1, 1], 3),
    ];
    for (key, at) in keys {
        let copy = crashed(dir.path());
        // The rows stay in their order.
        damage(copy.path(), &key, at);
        let error = common::open_with(copy.path(), &options).err().unwrap();
        assert_eq!(error.code(), "ERR_RAFT_STORE_CORRUPT", "{key:?}: {error}");
        assert!(copy.path().join("journal-0001").exists());
    }
}

/// A store whose last group commit only appends entry 2, with commit index 0x77 in its block row, and that block.
fn store_with_commit(dir: &Path) -> (Opened, Vec<u8>) {
    let opened = open(dir);
    let voted_for = Some("s1");
    let last = block_of(2, 1, &[b"second"]);
    opened.put(&[
        Operation::HardState { term: 1, commit: 0, voted_for },
        Operation::Append { block: &block_of(1, 1, &[b"first"]) },
    ]);
    opened.put(&[Operation::Append { block: &last }, Operation::HardState { term: 1, commit: 0x77, voted_for }]);
    (opened, last)
}

#[test]
fn the_newest_commit_index_is_found_in_the_last_block_or_in_the_row_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (opened, _) = store_with_commit(dir.path());
    let after_crash = || open(crashed(dir.path()).path()).state;
    assert_eq!((after_crash().last, after_crash().hard_state.commit), (2, 0x77));
    opened.put(&[Operation::HardState { term: 1, commit: 0x66, voted_for: Some("s1") }]);
    assert_eq!(after_crash().hard_state.commit, 0x66);
    opened.put(&[Operation::Append { block: &block_of(3, 1, &[b"third"]) }]);
    assert_eq!((after_crash().last, after_crash().hard_state.commit), (3, 0x66), "an append carries what it finds");
    opened.store.close();
    assert_eq!(open(dir.path()).state.hard_state.commit, 0x66);
}

#[test]
fn damage_to_the_commit_index_of_the_last_block_refuses_the_open() {
    let dir = tempfile::tempdir().unwrap();
    let (_opened, mut row) = store_with_commit(dir.path());
    let block_bytes = row.len();
    row.extend_from_slice(&0x77_u64.to_le_bytes());
    let copy = crashed(dir.path());
    damage(copy.path(), &row, block_bytes + 1);
    let error = open_error(copy.path());
    assert!(matches!(error, Error::Corrupt { index: Some(2), .. }), "{error:?}");
}

/// A last block that is gone with its page, as a device that lost one write would leave it.
#[test]
fn a_log_that_ends_before_its_row_says_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    let mut key = vec![6];
    key.extend_from_slice(&[0; 8]);
    key.extend_from_slice(&5_u64.to_be_bytes());
    // The row of the last block turns into one of an unknown kind.
    damage(dir.path(), &key, 0);
    let error = open_error(dir.path());
    assert!(matches!(error, Error::Corrupt { index: Some(6), .. }), "{error:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_directory_in_memory_says_that_nothing_in_it_is_durable() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let opened = open(dir.path());
    assert_eq!(opened.state.durability, Durability::None);
    assert!(opened.state.warning.is_some());
}

#[test]
#[cfg(target_os = "linux")]
fn the_table_of_readers_has_its_blocks_before_it_is_written_through_a_map_whatever_became_of_it() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("lock.mdb");
    let losses: [fn(&Path); 3] = [
        |_new_store| {},
        |table| fs::remove_file(table).unwrap(),
        |table| fs::File::create(table).and_then(|file| file.set_len(65_664)).unwrap(),
    ];
    for lose in losses {
        lose(&table);
        let opened = open(dir.path());
        let found = fs::metadata(&table).unwrap();
        assert!(found.blocks() * 512 >= found.len(), "{} blocks for {} bytes", found.blocks(), found.len());
        opened.store.close();
    }
}

#[test]
fn damage_to_the_row_of_the_snapshot_refuses_the_open() {
    let dir = tempfile::tempdir().unwrap();
    small_store(dir.path());
    let opened = open(dir.path());
    opened.put(&[common::keep(4, 5, 1)]);
    opened.store.close();
    let copy = crashed(dir.path());
    damage(copy.path(), &[5; 16], 3);
    let before = stored_image(copy.path());
    assert!(open_error(copy.path()).to_string().contains("the checksum of a row is wrong"));
    assert_eq!(stored_image(copy.path()), before);
    assert_eq!(open(dir.path()).state.first, 4);
}
