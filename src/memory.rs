//! Memory that a large request leaves behind, given back to the system.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long the pieces of a request have to be dropped before what they leave is collected.
const PAUSE: Duration = Duration::from_millis(100);

static GIVE_BACK: OnceLock<fn()> = OnceLock::new();
static UNDER_WAY: AtomicBool = AtomicBool::new(false);

/// Sets how the allocator is told to give free memory back; the program does it when it starts.
pub fn give_back_with(trim: fn()) {
    // A second call is of a second runtime in the same process, which wants the same.
    let _ = GIVE_BACK.set(trim);
}

/// Has free memory given back in a moment. Many calls at once are one.
pub fn give_back() {
    let runtime = tokio::runtime::Handle::try_current();
    let (Some(&trim), Ok(runtime)) = (GIVE_BACK.get(), runtime) else {
        return;
    };
    if UNDER_WAY.swap(true, Ordering::AcqRel) {
        return;
    }
    runtime.spawn(async move {
        tokio::time::sleep(PAUSE).await;
        UNDER_WAY.store(false, Ordering::Release);
        tokio::task::spawn_blocking(trim);
    });
}
