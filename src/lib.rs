//! The Node-API border of balsa-log. It translates and decides nothing: names are those of the engine with the prefix
//! `Native`, stores are handle numbers, errors are `CODE: message`. Building it writes its types,
//! `ts/native/binding.ts`.
//!
//! Border rules: one call per batch in, one wake per group commit out, reads into the caller's buffer, no promise and
//! no object per entry. Every export catches panics; every task catches its own.

mod registry;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use balsa_log::format::block;
use balsa_log::format::snapshot::Snapshot;
use balsa_log::{
    Durability, JournalSize, Loss, Mode, Options, ReadOutcome, Repaired, Seed, State, Store, Verification,
};
use napi::bindgen_prelude::{AsyncTask, Either, Float64ArraySlice, Function, Uint8Array, Uint8ArraySlice};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue};
use napi::{Env, Error, Result, Status, Task};
use napi_derive::napi;

/// A wake holds the environment alive while its store is open, as an open socket does; it goes with the store.
type WakeFunction = ThreadsafeFunction<(), UnknownReturnValue, (), Status, false, false, 0>;

/// One stretch of the log written in one term.
#[napi(object)]
pub struct NativeTermRun {
    /// Its first index.
    pub first: i64,
    /// Its term.
    pub term: i64,
}

/// One configuration entry of the log.
#[napi(object)]
pub struct NativeConfiguration {
    /// Its index.
    pub index: i64,
    /// Its payload, as the entry carries it.
    pub payload: Uint8Array,
}

/// On what the log stands.
#[napi(object)]
pub struct NativeSnapshot {
    /// 32 hex digits.
    pub id: String,
    /// The last entry that it covers.
    pub index: i64,
    /// The term of that entry.
    pub term: i64,
    /// The time of that entry, in milliseconds since 1970.
    pub time: i64,
    /// The entry from which its configuration came.
    pub configuration_index: i64,
    /// The payload of that configuration.
    pub configuration: Uint8Array,
}

/// One fact of the server.
#[napi(object)]
pub struct NativeFact {
    /// Its name.
    pub key: String,
    /// Its value.
    pub value: Uint8Array,
}

/// What the store held when it was opened.
#[napi(object)]
pub struct NativeState {
    /// Index of the first entry kept.
    pub first: i64,
    /// The term of the entry before it; 0 where there is none.
    pub prev_term: i64,
    /// Absent while the log was never compacted.
    pub snapshot: Option<NativeSnapshot>,
    /// Index of the last entry.
    pub last: i64,
    /// The current term.
    pub term: i64,
    /// A lower bound of the commit index.
    pub commit: i64,
    /// Whom this server voted for; absent: nobody.
    pub voted_for: Option<String>,
    /// Ascending.
    pub terms: Vec<NativeTermRun>,
    /// Ascending.
    pub configurations: Vec<NativeConfiguration>,
    /// In the order of their names.
    pub facts: Vec<NativeFact>,
    /// 32 hex digits.
    pub incarnation: String,
    /// Grows by one at each open.
    pub boot_counter: i64,
    /// Whether the last close was orderly.
    pub was_clean: bool,
    /// Whether a flush reaches a device.
    pub on_device: bool,
    /// What the operator should know about the filesystem.
    pub warning: Option<String>,
    /// By what the filesystem tells the data file from a copy of it.
    pub fingerprint: Option<String>,
}

/// Counters since open, and the durable bounds of the log.
#[napi(object)]
pub struct NativeStats {
    /// Index of the first entry.
    pub first: i64,
    /// Index of the last durable entry.
    pub last: i64,
    /// Group commits that carried tickets.
    pub group_commits: i64,
    /// Device flushes asked for, by them and by sweeps.
    pub flushes: i64,
    /// Calls of the wake callback.
    pub wakes: i64,
    /// Bytes of tickets made durable.
    pub bytes_written: i64,
    /// Bytes of the data file that hold something.
    pub used_bytes: i64,
    /// Their bound.
    pub capacity_bytes: i64,
    /// Bytes of tickets that are durable in the journal, and not in the data file yet.
    pub behind_bytes: i64,
}

fn defect(message: impl Into<String>) -> Error {
    Error::new(Status::GenericFailure, format!("INVALID: {}", message.into()))
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn translate(error: balsa_log::Error) -> Error {
    Error::new(Status::GenericFailure, format!("{}: {error}", error.code()))
}

/// The part of a task that runs on a libuv thread, where nothing else catches a panic.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(defect("a native task panicked")))
}

fn whole(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| defect(format!("{value} does not fit into a number")))
}

fn position(value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| defect(format!("{value} is not an index")))
}

fn size(value: u32) -> Result<usize> {
    usize::try_from(value).map_err(|_| defect(format!("{value} does not fit into the address space")))
}

fn float(value: u64) -> f64 {
    let low = u32::try_from(value & 0xffff_ffff).unwrap_or_default();
    let high = u32::try_from(value >> 32).unwrap_or_default();
    f64::from(high).mul_add(4_294_967_296.0, f64::from(low))
}

/// Milliseconds on a clock that goes on while the machine is suspended; infinity where there is none. Never falls.
#[napi(catch_unwind)]
pub fn boot_now() -> f64 {
    balsa_log::boot_now().map_or(f64::INFINITY, |time| time.as_secs_f64() * 1000.0)
}

/// Makes a handle for a store that `open` fills.
#[napi(catch_unwind)]
pub fn create(env: &Env) -> Result<u32> {
    registry::create(env)
}

/// Opens a store.
pub struct OpenTask {
    handle: u32,
    dir: PathBuf,
    options: Options,
    wake: Option<WakeFunction>,
}

impl Task for OpenTask {
    type Output = State;
    type JsValue = NativeState;

    fn compute(&mut self) -> Result<State> {
        guarded(|| {
            let wake = self.wake.take().ok_or_else(|| defect("a store is opened once"))?;
            // The status is ignored on purpose: an environment that is closing needs no wake.
            let call = Box::new(move || {
                let _closing = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
            });
            let (store, state) = Store::open(&self.dir, &self.options, call).map_err(translate)?;
            registry::fill(self.handle, store)?;
            Ok(state)
        })
    }

    fn resolve(&mut self, _env: Env, state: State) -> Result<NativeState> {
        native_state(state)
    }

    fn finally(self, _env: Env) -> Result<()> {
        registry::forget_unopened(self.handle);
        Ok(())
    }
}

/// `map_bytes` 0: as the engine has it.
fn options_of(allow_remote: bool, map_bytes: i64, journal: bool) -> Result<Options> {
    let mut options = Options::default();
    options.allow_remote = allow_remote;
    options.map_bytes = map_size(map_bytes)?.unwrap_or(options.map_bytes);
    if journal {
        options.mode = Mode::Journal(JournalSize::default());
    }
    Ok(options)
}

/// 0: as the engine has it.
fn map_size(bytes: i64) -> Result<Option<usize>> {
    let size =
        usize::try_from(bytes).map_err(|_| defect(format!("{bytes} bytes do not fit into the address space")))?;
    Ok((size > 0).then_some(size))
}

/// Opens a store to be read.
pub struct LookTask {
    handle: u32,
    dir: PathBuf,
    options: Options,
}

impl Task for LookTask {
    type Output = Option<State>;
    type JsValue = Option<NativeState>;

    fn compute(&mut self) -> Result<Option<State>> {
        guarded(|| {
            let looked = Store::look(&self.dir, &self.options).map_err(translate)?;
            looked.map(|(store, state)| registry::fill(self.handle, store).map(|()| state)).transpose()
        })
    }

    fn resolve(&mut self, _env: Env, state: Option<State>) -> Result<Option<NativeState>> {
        state.map(native_state).transpose()
    }

    fn finally(self, _env: Env) -> Result<()> {
        registry::forget_unopened(self.handle);
        Ok(())
    }
}

/// Opens the store in `dir` to be read, with the checks of `open` and under its lock; null where there is none. Nothing
/// is changed. `read`, `stats` and `close` are those of an open store; a ticket is refused.
#[napi(catch_unwind, ts_return_type = "Promise<NativeState | null>")]
pub fn look(
    handle: u32,
    dir: String,
    allow_remote: bool,
    map_bytes: i64,
    journal: bool,
) -> Result<AsyncTask<LookTask>> {
    let options = options_of(allow_remote, map_bytes, journal)?;
    Ok(AsyncTask::new(LookTask { handle, dir: PathBuf::from(dir), options }))
}

/// One thing that is damaged.
#[napi(object)]
pub struct NativeFinding {
    /// Its path.
    pub file: String,
    /// The broken rule.
    pub detail: String,
    /// What is lost: `nothing`, `log` or `state`.
    pub loss: String,
    /// The first entry that is lost; absent: none.
    pub first: Option<i64>,
    /// The last one; absent: nobody knows.
    pub last: Option<i64>,
}

/// What a verification has found; what is damaged is absent.
#[napi(object)]
pub struct NativeVerification {
    /// A bounded list.
    pub findings: Vec<NativeFinding>,
    /// How many more there were.
    pub left_off: i64,
    /// The first entry of the log.
    pub first: Option<i64>,
    /// The last one.
    pub last: Option<i64>,
    /// Bytes of rows that are intact.
    pub bytes: i64,
    /// The payload of the newest configuration.
    pub configuration: Option<Uint8Array>,
    /// Of the snapshot on which the log stands: 32 hex digits.
    pub snapshot_id: Option<String>,
    /// Whose folder it is.
    pub server_id: Option<String>,
}

/// Verifies a store.
pub struct VerifyTask {
    dir: PathBuf,
    options: Options,
}

impl Task for VerifyTask {
    type Output = Option<Verification>;
    type JsValue = Option<NativeVerification>;

    fn compute(&mut self) -> Result<Option<Verification>> {
        guarded(|| balsa_log::verify(&self.dir, &self.options).map_err(translate))
    }

    fn resolve(&mut self, _env: Env, found: Option<Verification>) -> Result<Option<NativeVerification>> {
        found.map(native_verification).transpose()
    }
}

/// Holds every page, row and batch of the store in `dir` against its checksums, under its lock; null where there is
/// none. Nothing is changed. Damage is in the answer; an error is whatever else refuses an open.
#[napi(catch_unwind, ts_return_type = "Promise<NativeVerification | null>")]
pub fn verify_store(dir: String, allow_remote: bool, map_bytes: i64, journal: bool) -> Result<AsyncTask<VerifyTask>> {
    let options = options_of(allow_remote, map_bytes, journal)?;
    Ok(AsyncTask::new(VerifyTask { dir: PathBuf::from(dir), options }))
}

fn native_verification(found: Verification) -> Result<NativeVerification> {
    let finding = |finding: balsa_log::Finding| {
        let (first, last) = finding.entries.map_or((None, None), |(first, last)| (Some(first), last));
        let loss = match finding.loss {
            Loss::Nothing => "nothing",
            Loss::Log => "log",
            Loss::State => "state",
        };
        Ok(NativeFinding {
            file: finding.file.to_string_lossy().into_owned(),
            detail: finding.detail,
            loss: loss.to_owned(),
            first: first.map(whole).transpose()?,
            last: last.map(whole).transpose()?,
        })
    };
    Ok(NativeVerification {
        findings: found.findings.into_iter().map(finding).collect::<Result<_>>()?,
        left_off: whole(found.left_off)?,
        first: found.first.map(whole).transpose()?,
        last: found.last.map(whole).transpose()?,
        bytes: whole(found.bytes)?,
        configuration: found.configuration.map(Uint8Array::new),
        snapshot_id: found.snapshot_id.map(|id| hex(&id)),
        server_id: found.server_id,
    })
}

fn native_state(state: State) -> Result<NativeState> {
    let term_run = |run: &balsa_log::TermRun| Ok(NativeTermRun { first: whole(run.first)?, term: whole(run.term)? });
    let configuration =
        |(index, payload)| Ok(NativeConfiguration { index: whole(index)?, payload: Uint8Array::new(payload) });
    Ok(NativeState {
        first: whole(state.first)?,
        prev_term: whole(state.prev_term)?,
        snapshot: state.snapshot.map(native_snapshot).transpose()?,
        last: whole(state.last)?,
        term: whole(state.hard_state.term)?,
        commit: whole(state.hard_state.commit)?,
        voted_for: state.hard_state.voted_for,
        terms: state.terms.iter().map(term_run).collect::<Result<_>>()?,
        configurations: state.configurations.into_iter().map(configuration).collect::<Result<_>>()?,
        facts: state.facts.into_iter().map(|(key, value)| NativeFact { key, value: Uint8Array::new(value) }).collect(),
        incarnation: hex(&state.incarnation),
        boot_counter: whole(state.boot_counter)?,
        was_clean: state.was_clean,
        on_device: state.durability == Durability::Device,
        warning: state.warning.map(ToOwned::to_owned),
        fingerprint: state.fingerprint,
    })
}

fn native_snapshot(snapshot: Snapshot<Vec<u8>>) -> Result<NativeSnapshot> {
    Ok(NativeSnapshot {
        id: hex(&snapshot.id),
        index: whole(snapshot.index)?,
        term: whole(snapshot.term)?,
        time: whole(snapshot.time)?,
        configuration_index: whole(snapshot.configuration_index)?,
        configuration: Uint8Array::new(snapshot.configuration),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a store takes over from the one in whose place it is made.
#[napi(object)]
pub struct NativeSeed {
    /// 16 bytes.
    pub incarnation: Uint8Array,
    /// That of its last boot.
    pub boot_counter: i64,
    /// Stands behind the engine in `FORMAT`.
    pub mark: String,
}

/// Opens or creates the store in `dir`; `mapBytes` bounds its data file, 0 for the default; `journal`: with a journal in
/// front of it; `seed`: only creates it, so. `onWake` is called, at most once until the next `poll`, when `poll` has
/// news. An open store keeps the event loop alive, as an open socket does.
#[napi(catch_unwind, ts_return_type = "Promise<NativeState>")]
#[allow(clippy::needless_pass_by_value, reason = "napi hands functions over by value")]
pub fn open(
    handle: u32,
    dir: String,
    allow_remote: bool,
    map_bytes: i64,
    journal: bool,
    on_wake: Function<'_, (), UnknownReturnValue>,
    seed: Option<NativeSeed>,
) -> Result<AsyncTask<OpenTask>> {
    let wake = on_wake.build_threadsafe_function::<()>().build()?;
    let dir = PathBuf::from(dir);
    let mut options = options_of(allow_remote, map_bytes, journal)?;
    options.seed = seed.map(seed_of).transpose()?;
    Ok(AsyncTask::new(OpenTask { handle, dir, options, wake: Some(wake) }))
}

fn seed_of(seed: NativeSeed) -> Result<Seed> {
    let incarnation = seed.incarnation.as_ref().try_into().map_err(|_| defect("an incarnation has 16 bytes"))?;
    Ok(Seed { incarnation, boot_counter: position(seed.boot_counter)?, mark: seed.mark })
}

/// Seals the block that stands in `arena` at `offset`; returns its length.
#[napi(catch_unwind)]
pub fn seal(mut arena: Uint8ArraySlice<'_>, offset: u32) -> Result<u32> {
    // SAFETY: the caller owns the arena, and this synchronous call is the only one that touches it: no other native
    // code keeps a view of an arena (submit copies), and JavaScript runs on this thread.
    let arena = unsafe { arena.as_mut() };
    let length = block::seal(arena, size(offset)?).map_err(|damage| defect(damage.detail))?;
    u32::try_from(length).map_err(|_| defect("a block is longer than 4 GiB"))
}

/// Whether a sealed block is intact.
#[napi(catch_unwind)]
pub fn verify(block: &[u8]) -> bool {
    block::check(block, block::Depth::Records).is_ok()
}

/// Queues the ticket in the first `length` bytes of `packed`, which are copied; returns its number.
#[napi(catch_unwind)]
pub fn submit(handle: u32, packed: &[u8], length: u32) -> Result<i64> {
    let ticket = packed.get(..size(length)?).ok_or_else(|| defect("a ticket is longer than its arena"))?;
    let number = registry::with(handle, |store| store.submit(ticket))?.map_err(translate)?;
    whole(number)
}

/// Writes durable ticket, credit, poisoned, stalled and full (0 or 1) into `out`.
#[napi(catch_unwind)]
pub fn poll(handle: u32, mut out: Float64ArraySlice<'_>) -> Result<()> {
    let progress = registry::with(handle, Store::poll)?;
    let fields = [
        float(progress.durable),
        float(progress.credit),
        f64::from(u8::from(progress.poisoned)),
        f64::from(u8::from(progress.stalled)),
        f64::from(u8::from(progress.full)),
    ];
    // SAFETY: the caller owns the array, this synchronous call is the only one that touches it, and no view of it is
    // kept.
    let out = unsafe { out.as_mut() };
    out.get_mut(..fields.len()).ok_or_else(|| defect("poll needs room for 5 numbers"))?.copy_from_slice(&fields);
    Ok(())
}

/// `CODE: message` of what poisoned the store; null while it is sound.
#[napi(catch_unwind)]
pub fn fault(handle: u32) -> Result<Option<String>> {
    let fault = registry::with(handle, Store::fault)?;
    Ok(fault.map(|(code, message)| format!("{code}: {message}")))
}

/// A damaged block of the log, as a read has met it.
#[napi(object)]
pub struct NativeDamage {
    /// The first entry that it held, of those that are kept.
    pub first: i64,
    /// The last one.
    pub last: i64,
    /// `CODE: message`, as an error has it.
    pub message: String,
}

/// What a read came to.
pub enum ReadResult {
    /// Bytes filled, or minus those that the first entry needs.
    Bytes(i64),
    /// A block that can be asked of another server.
    Damaged(NativeDamage),
}

/// Reads entries on a libuv thread.
pub struct ReadTask {
    store: Arc<Store>,
    lo: u64,
    hi: u64,
    bytes_max: usize,
    out: Uint8Array,
}

impl Task for ReadTask {
    type Output = ReadResult;
    type JsValue = Either<i64, NativeDamage>;

    fn compute(&mut self) -> Result<ReadResult> {
        guarded(|| {
            // SAFETY: the task holds a reference to the buffer, so it outlives the task, and the caller, who made it
            // for this read, neither reads nor writes it before the promise settles.
            let out = unsafe { self.out.as_mut() };
            let outcome = match self.store.read_into(self.lo, self.hi, self.bytes_max, out) {
                Err(error @ balsa_log::Error::Damaged { first, last, .. }) => return damaged(first, last, &error),
                outcome => outcome.map_err(translate)?,
            };
            let number = |bytes: usize| i64::try_from(bytes).map_err(|_| defect("a length does not fit into a number"));
            let bytes = match outcome {
                ReadOutcome::Filled(bytes) => number(bytes)?,
                ReadOutcome::TooSmall(bytes) => -number(bytes)?,
            };
            Ok(ReadResult::Bytes(bytes))
        })
    }

    fn resolve(&mut self, _env: Env, result: ReadResult) -> Result<Either<i64, NativeDamage>> {
        Ok(match result {
            ReadResult::Bytes(bytes) => Either::A(bytes),
            ReadResult::Damaged(damage) => Either::B(damage),
        })
    }
}

fn damaged(first: u64, last: u64, error: &balsa_log::Error) -> Result<ReadResult> {
    let message = format!("{}: {error}", error.code());
    Ok(ReadResult::Damaged(NativeDamage { first: whole(first)?, last: whole(last)?, message }))
}

/// Replaces a damaged block on a libuv thread.
pub struct RepairTask {
    store: Arc<Store>,
    first: u64,
    last: u64,
    blocks: Vec<u8>,
}

impl Task for RepairTask {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> Result<bool> {
        guarded(|| {
            let repaired = self.store.repair(self.first, self.last, &self.blocks).map_err(translate)?;
            Ok(repaired == Repaired::Replaced)
        })
    }

    fn resolve(&mut self, _env: Env, is_replaced: bool) -> Result<bool> {
        Ok(is_replaced)
    }
}

/// Puts sealed blocks, back to back, which are copied, in the place of the damaged block of the entries `first` to
/// `last`. Resolves when that is durable; to false where there is no such block any more, and nothing was changed.
#[napi(catch_unwind, ts_return_type = "Promise<boolean>")]
pub fn repair(handle: u32, first: i64, last: i64, blocks: &[u8]) -> Result<AsyncTask<RepairTask>> {
    let store = registry::get(handle)?;
    Ok(AsyncTask::new(RepairTask { store, first: position(first)?, last: position(last)?, blocks: blocks.to_vec() }))
}

/// Reads entries lo .. hi-1 into `out`, which the caller leaves alone until the promise settles. Resolves to the bytes
/// filled, or to minus the bytes that the first entry needs. 0: the log has no entry `lo`. A damaged block of which is
/// known what it held is told, not thrown.
#[napi(catch_unwind, ts_return_type = "Promise<number | NativeDamage>")]
pub fn read(handle: u32, lo: i64, hi: i64, bytes_max: u32, out: Uint8Array) -> Result<AsyncTask<ReadTask>> {
    let store = registry::get(handle)?;
    Ok(AsyncTask::new(ReadTask { store, lo: position(lo)?, hi: position(hi)?, bytes_max: size(bytes_max)?, out }))
}

/// Counters.
#[napi(catch_unwind)]
pub fn stats(handle: u32) -> Result<NativeStats> {
    let stats = registry::with(handle, Store::stats)?;
    Ok(NativeStats {
        first: whole(stats.first)?,
        last: whole(stats.last)?,
        group_commits: whole(stats.group_commits)?,
        flushes: whole(stats.flushes)?,
        wakes: whole(stats.wakes)?,
        bytes_written: whole(stats.bytes_written)?,
        used_bytes: whole(stats.used_bytes)?,
        capacity_bytes: whole(stats.capacity_bytes)?,
        behind_bytes: whole(stats.behind_bytes)?,
    })
}

/// Closes a store.
pub struct CloseTask {
    store: Arc<Store>,
}

impl Task for CloseTask {
    type Output = ();
    type JsValue = ();

    fn compute(&mut self) -> Result<()> {
        guarded(|| {
            self.store.close();
            Ok(())
        })
    }

    fn resolve(&mut self, _env: Env, (): ()) -> Result<()> {
        Ok(())
    }
}

/// Waits until everything submitted is durable, or the store is poisoned, then releases the directory. `stats` and
/// `fault` answer until `release`.
#[napi(catch_unwind, ts_return_type = "Promise<void>")]
pub fn close(handle: u32) -> Result<AsyncTask<CloseTask>> {
    Ok(AsyncTask::new(CloseTask { store: registry::get(handle)? }))
}

/// Forgets a closed store. Its handle is not used again.
#[napi(catch_unwind)]
pub fn release(handle: u32) {
    registry::release(handle);
}
