//! A store under test, and what it holds: read as its callers would, entry by entry.

use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use balsa_log::{Error, Progress, READ_BYTES_MAX, ReadOutcome, State, Store};

use super::script::{Entry, Image, Way};

/// A look at the store at least so often, should a wake be missed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub struct Opened {
    pub store: Store,
    pub state: State,
    wakes: Receiver<()>,
}

impl Opened {
    pub fn open(dir: &Path, way: Way) -> Result<Self, Error> {
        let (sender, wakes) = channel();
        let wake = Box::new(move || {
            let _gone = sender.send(());
        });
        let (store, state) = Store::open(dir, &way.options(), wake)?;
        Ok(Self { store, state, wakes })
    }

    /// Waits for news, not for long.
    pub fn poll(&self) -> Progress {
        let _none = self.wakes.recv_timeout(LOOK_EVERY);
        self.store.poll()
    }

    /// What the store said when it was opened, with all its entries. `Err`: a read was refused.
    pub fn image(&self) -> Result<Image, Error> {
        let state = &self.state;
        Ok(Image {
            first: state.first,
            prev_term: state.prev_term,
            snapshot: state.snapshot.clone(),
            entries: self.entries(state.first, state.last + 1)?,
            hard_state: state.hard_state.clone(),
            facts: state.facts.iter().cloned().collect(),
        })
    }

    /// Every entry of `lo .. hi`.
    pub fn entries(&self, lo: u64, hi: u64) -> Result<Vec<Rc<Entry>>, Error> {
        let mut entries = Vec::new();
        let mut out = vec![0; 2 * READ_BYTES_MAX];
        while lo + (entries.len() as u64) < hi {
            let begin = lo + entries.len() as u64;
            let ReadOutcome::Filled(filled) = self.store.read_into(begin, hi, READ_BYTES_MAX, &mut out)? else {
                return Ok(entries);
            };
            if filled == 0 {
                return Ok(entries);
            }
            entries_of(&out[..filled], &mut entries);
        }
        Ok(entries)
    }

    /// What the state says of terms and configurations fits its entries.
    pub fn contradiction(&self, image: &Image) -> Option<String> {
        if self.state.last != image.last() {
            return Some(format!("it ends at {}, and entries up to {} were read", self.state.last, image.last()));
        }
        if self.state.terms != image.term_runs() {
            return Some(format!(
                "its terms are {:?}, and those of its entries {:?}",
                self.state.terms,
                image.term_runs()
            ));
        }
        (self.state.configurations != image.configurations())
            .then(|| "other configurations than its entries".to_owned())
    }
}

/// Reads blocks by the document, not by the code of the engine.
fn entries_of(bytes: &[u8], entries: &mut Vec<Rc<Entry>>) {
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let mut begin = 0;
    while begin < bytes.len() {
        let (count, records) = (u32_at(begin + 16), u32_at(begin + 20));
        for position in 0..count {
            let at = begin + u32_at(begin + 24 + records + 4 * position);
            let payload = bytes[at + 32..at + 32 + u32_at(at)].to_vec();
            entries.push(Rc::new(Entry {
                index: u64_at(at + 8),
                term: u64_at(at + 16),
                kind: bytes[at + 24],
                payload,
            }));
        }
        begin += 24 + records + 4 * count + 4;
    }
}
