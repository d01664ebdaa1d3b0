//! The program that opens a directory behind whatever befell it, and says whether it is right. It is a process of its
//! own, so that a signal that ends it is seen. And the program that surveys one, for the same reason.

use std::path::Path;

use balsa_log::{Error, verify};

use super::child::unlike;
use super::held::Opened;
use super::script::{Image, Script, Way};

/// What a directory must hold.
pub struct Case<'a> {
    pub dir: &'a Path,
    pub script: &'a Script,
    /// Tickets that were acknowledged.
    pub acknowledged: u64,
    pub submitted: u64,
    /// The highest boot that was reported; the next one must be beyond it.
    pub boot: u64,
    /// In what way it is opened.
    pub way: Way,
}

enum Why {
    Refused(Error),
    Lost(String),
    Wrong(String),
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

/// One line: `ok <tickets>`, `refused <code> <message>`, `lost <what>` or `wrong <what>`.
pub fn judge(case: &Case<'_>) -> String {
    // SAFETY: alarm touches nothing of this program; the signal ends it.
    unsafe { libc::alarm(60) };
    match found(case) {
        Ok(tickets) => format!("ok {tickets}"),
        Err(Why::Refused(error)) => format!("refused {} {error}", error.code()).replace('\n', " "),
        Err(Why::Lost(what)) => format!("lost {what}"),
        Err(Why::Wrong(what)) => format!("wrong {what}").replace('\n', " "),
    }
}

/// One line: `whole`, `flawed <count> <the first flaw>`, or `refused <code> <message>`.
pub fn survey(dir: &Path, way: Way) -> String {
    // SAFETY: alarm touches nothing of this program; the signal ends it.
    unsafe { libc::alarm(60) };
    let said = match verify(dir, &way.options()) {
        Ok(Some(found)) => found.findings.first().map_or_else(
            || "whole".to_owned(),
            |first| format!("flawed {} {}: {}", found.findings.len(), first.file.display(), first.detail),
        ),
        Ok(None) => "refused none there is no store".to_owned(),
        Err(error) => format!("refused {} {error}", error.code()),
    };
    said.replace('\n', " ")
}

fn found(case: &Case<'_>) -> Result<u64, Why> {
    let Case { dir, script, acknowledged, submitted, boot, way } = *case;
    let opened = Opened::open(dir, way)?;
    let mut image = opened.image()?;
    if let Some(what) = opened.contradiction(&image) {
        return Err(Why::Wrong(what));
    }
    let Some(tickets) = script.find(&image, acknowledged, submitted) else {
        let what = unlike(script, &image, acknowledged, submitted);
        let is_older = script.find(&image, 0, acknowledged).is_some();
        return Err(if is_older { Why::Lost(what) } else { Why::Wrong(what) });
    };
    if opened.state.boot_counter <= boot {
        return Err(Why::Wrong(format!("boot {} comes behind boot {boot}", opened.state.boot_counter)));
    }
    goes_on(&opened, &mut image)?;
    drop(opened);
    let again = Opened::open(dir, way)?;
    if again.image()? != image || !again.state.was_clean {
        return Err(Why::Wrong("it does not hold what was written behind the judgement".to_owned()));
    }
    Ok(tickets)
}

/// The store takes another entry.
fn goes_on(opened: &Opened, image: &mut Image) -> Result<(), Why> {
    let number = opened.store.submit(&image.append_one())?;
    loop {
        let progress = opened.poll();
        if progress.durable >= number {
            return Ok(());
        }
        if progress.poisoned {
            return Err(Why::Wrong(format!("it does not go on: {:?}", opened.store.fault())));
        }
    }
}
