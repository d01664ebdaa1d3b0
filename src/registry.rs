//! Open stores by handle number. Handles are unique in the process, so environments (worker threads) cannot meet each
//! other's stores; what an environment leaves open is closed by its cleanup hook.

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use balsa_log::Store;
use napi::{Env, Result};

use crate::defect;

/// What stands under a handle. It moves from `Opening` to `Open`, or goes.
enum Slot {
    /// `open` is under way.
    Opening,
    /// Tasks under way hold it too.
    Open(Arc<Store>),
}

/// Every store of the process. Invariant: each handle in it is in the `OWN_HANDLES` of one living environment.
static STORES: LazyLock<RwLock<HashMap<u32, Slot>>> = LazyLock::new(RwLock::default);
/// Rises only: a handle is never given twice.
static NEXT_HANDLE: AtomicU32 = AtomicU32::new(1);

thread_local! {
    /// The handles that this thread's environment made; `None` while its cleanup hook is not set.
    static OWN_HANDLES: RefCell<Option<Vec<u32>>> = const { RefCell::new(None) };
}

fn stores() -> RwLockReadGuard<'static, HashMap<u32, Slot>> {
    STORES.read().unwrap_or_else(PoisonError::into_inner)
}

fn stores_mut() -> RwLockWriteGuard<'static, HashMap<u32, Slot>> {
    STORES.write().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a handle, owned by the calling environment.
pub(crate) fn create(env: &Env) -> Result<u32> {
    let handle = NEXT_HANDLE.fetch_add(1, Ordering::Relaxed);
    if OWN_HANDLES.with_borrow(Option::is_none) {
        env.add_env_cleanup_hook((), |()| close_all_guarded())?;
        OWN_HANDLES.set(Some(Vec::new()));
    }
    OWN_HANDLES.with_borrow_mut(|handles| handles.get_or_insert_default().push(handle));
    stores_mut().insert(handle, Slot::Opening);
    Ok(handle)
}

/// Puts an opened store under its handle. If the environment ended meanwhile, the store is closed at once.
pub(crate) fn fill(handle: u32, store: Store) -> Result<()> {
    match stores_mut().get_mut(&handle) {
        Some(slot) => {
            *slot = Slot::Open(Arc::new(store));
            Ok(())
        }
        None => Err(defect("the environment ended while a store was opened")),
    }
}

/// The store of a handle, to hold across a task.
pub(crate) fn get(handle: u32) -> Result<Arc<Store>> {
    match stores().get(&handle) {
        Some(Slot::Open(store)) => Ok(Arc::clone(store)),
        Some(Slot::Opening) | None => Err(defect(format!("handle {handle} is not an open store"))),
    }
}

/// Calls `work` with the store of a handle. Hot path: once per batch.
pub(crate) fn with<T>(handle: u32, work: impl FnOnce(&Store) -> T) -> Result<T> {
    match stores().get(&handle) {
        Some(Slot::Open(store)) => Ok(work(store)),
        Some(Slot::Opening) | None => Err(defect(format!("handle {handle} is not an open store"))),
    }
}

/// Forgets a handle whose open failed.
pub(crate) fn forget_unopened(handle: u32) {
    let mut stores = stores_mut();
    if matches!(stores.get(&handle), Some(Slot::Opening)) {
        stores.remove(&handle);
    }
}

/// Forgets a handle. A store that is still open closes when its last task ends.
pub(crate) fn release(handle: u32) {
    OWN_HANDLES.with_borrow_mut(|handles| {
        if let Some(handles) = handles {
            handles.retain(|own| *own != handle);
        }
    });
    let removed = stores_mut().remove(&handle);
    drop(removed);
}

/// The cleanup hook: closes what the environment left open, and joins its writers. It runs at a natural exit and at the
/// end of a worker, terminated or not; never at `process.exit`, so durability does not rest on it.
fn close_all_guarded() {
    // A panic must not cross into Node; what it left open goes with the process.
    let _panicked = catch_unwind(close_all);
}

fn close_all() {
    for handle in OWN_HANDLES.take().unwrap_or_default() {
        let removed = stores_mut().remove(&handle);
        if let Some(Slot::Open(store)) = removed {
            store.close();
        }
    }
}
