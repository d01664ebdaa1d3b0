//! Rows of a compacted log that are intact, and do not fit together: an open refuses them, and says which rule is broken.

#![allow(clippy::unwrap_used, reason = "a test")]

use super::load::load;
use super::rows::{self, FORMAT_VERSION, LogRow, StoreRow};
use super::tree::Tree;
use crate::format::GROUP;
use crate::format::snapshot::Snapshot;
use crate::log::HardState;

/// What an open says of an empty log with these rows; the snapshot is that of an index.
fn opened(first: u64, last: u64, snapshot: Option<(u64, u64)>) -> String {
    let dir = tempfile::tempdir().unwrap();
    let (clean, boot_counter, uuid, incarnation) = (true, 1, [1; 16], [2; 16]);
    let store = StoreRow { version: FORMAT_VERSION, clean, boot_counter, uuid, incarnation };
    let tree = Tree::create(dir.path(), 1 << 20, &store).unwrap();
    let mut txn = tree.write_txn().unwrap();
    let key = rows::log_key(GROUP);
    let row = LogRow { first, last, hard_state: HardState::default() };
    tree.rows.put(&mut txn, &key, &row.encode(&key)).unwrap();
    if let Some((prev_term, index)) = snapshot {
        let key = rows::snapshot_key(GROUP);
        let configuration = b"c".as_slice();
        let snapshot = Snapshot { index, term: 3, time: 7, configuration_index: 1, id: [3; 16], configuration };
        tree.rows.put(&mut txn, &key, &rows::encode_snapshot(&key, prev_term, &snapshot)).unwrap();
    }
    txn.commit().unwrap();
    load(dir.path(), &tree).map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn what_says_how_a_compacted_log_begins_must_fit_together() {
    assert_eq!(opened(1, 0, None), "");
    assert_eq!(opened(8, 7, Some((3, 7))), "");
    let cases = [
        ("the row of the snapshot is missing", opened(8, 7, None)),
        ("entries missing between the snapshot and the log", opened(8, 7, Some((3, 6)))),
        ("the term before the log does not fit", opened(8, 7, Some((0, 7)))),
        ("the bounds of the log", opened(8, 6, Some((3, 7)))),
        ("the last entry is missing", opened(8, 9, Some((3, 9)))),
    ];
    for (words, said) in cases {
        assert!(said.contains(words), "{words}: {said}");
    }
}
