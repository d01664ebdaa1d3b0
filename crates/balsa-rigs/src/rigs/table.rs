//! What the rigs have found: a row for each of them, and each failure as it comes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::process::Verdict;

/// So many failures are printed in full.
const PRINTED_MAX: u64 = 20;

#[derive(Default, Clone)]
struct Row {
    name: String,
    tried: u64,
    recovered: u64,
    refused: u64,
    lost: u64,
    /// Neither right nor refused nor an earlier state.
    wrong: u64,
    signals: u64,
    /// Cases that were not as they must be.
    failures: u64,
    skipped: u64,
    why_skipped: String,
    /// It must lose something.
    is_control: bool,
}

/// What a rig expects of a case.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Everything is there.
    Right,
    /// Everything is there, or the store refuses.
    RightOrRefused,
    /// That, or what was acknowledged last is gone: a documented limit.
    RightOrRefusedOrLast,
    /// Whatever comes; over all cases something must be lost.
    Loss,
}

pub struct Table {
    rows: Mutex<Vec<Row>>,
    printed: Mutex<u64>,
}

impl Table {
    pub fn new() -> Self {
        Self { rows: Mutex::new(Vec::new()), printed: Mutex::new(0) }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows();
        if !rows.iter().any(|row| row.name == name) {
            rows.push(Row { name: name.to_owned(), ..Row::default() });
        }
        if let Some(row) = rows.iter_mut().find(|row| row.name == name) {
            change(row);
        }
    }

    /// Takes note of a case; answers whether it is as it must be.
    pub fn add(&self, name: &str, expected: Expected, verdict: &Verdict, case: impl FnOnce() -> String) -> bool {
        let is_good = match verdict {
            Verdict::Right(_) => true,
            Verdict::Refused(_) => expected != Expected::Right,
            Verdict::Lost(_) => matches!(expected, Expected::RightOrRefusedOrLast | Expected::Loss),
            Verdict::Wrong(_) | Verdict::Died(_) => expected == Expected::Loss,
        };
        self.change(name, |row| {
            row.tried += 1;
            row.is_control |= expected == Expected::Loss;
            match verdict {
                Verdict::Right(_) => row.recovered += 1,
                Verdict::Refused(_) => row.refused += 1,
                Verdict::Lost(_) => row.lost += 1,
                Verdict::Wrong(_) => row.wrong += 1,
                Verdict::Died(_) => row.signals += 1,
            }
            row.failures += u64::from(!is_good);
        });
        let mut printed = self.printed.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_good && *printed < PRINTED_MAX {
            *printed += 1;
            println!("FAIL {name}: {}\n     {verdict:?}", case());
        }
        is_good
    }

    pub fn skip(&self, name: &str, count: u64, why: &str) {
        println!("skipped {name}: {why}");
        self.change(name, |row| {
            row.skipped += count;
            row.why_skipped = why.to_owned();
        });
    }
}

impl Row {
    /// What is wrong with a rig as a whole.
    fn failure(&self) -> Option<String> {
        if self.is_control && self.tried > 0 && self.lost == 0 {
            return Some("without flushes nothing was lost: the rig proves nothing".to_owned());
        }
        (self.failures > 0).then(|| format!("{} cases are not as they must be", self.failures))
    }
}

impl Table {
    /// Prints the table; answers whether everything is as it must be.
    pub fn print(&self) -> bool {
        let rows = self.rows();
        let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max(3);
        println!(
            "\n{:width$} {:>7} {:>9} {:>7} {:>6} {:>6} {:>7} {:>7}",
            "rig", "tried", "recovered", "refused", "lost", "wrong", "signal", "skipped"
        );
        for row in rows.iter() {
            println!(
                "{:width$} {:>7} {:>9} {:>7} {:>6} {:>6} {:>7} {:>7}  {}",
                row.name,
                row.tried,
                row.recovered,
                row.refused,
                row.lost,
                row.wrong,
                row.signals,
                row.skipped,
                row.failure().map_or_else(|| row.why_skipped.clone(), |failure| format!("FAILED: {failure}"))
            );
        }
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        println!("{} cases, {} skipped", sum(|row| row.tried), sum(|row| row.skipped));
        let failed = rows.iter().filter(|row| row.failure().is_some()).count();
        println!("{}", if failed == 0 { "rigs: all ok".to_owned() } else { format!("rigs: FAILED: {failed}") });
        failed == 0
    }
}
