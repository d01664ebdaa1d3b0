//! The time since some moment before this process began, on a clock that goes on while the machine is suspended: by it
//! a leader counts its lease. Not the date, which somebody sets, and not the clock of timers, which sleeps along.

use std::time::Duration;

/// What that clock shows; `None` on a system of which it is not known that it has one. Never falls.
#[must_use]
pub fn boot_now() -> Option<Duration> {
    read()
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn read() -> Option<Duration> {
    duration(rustix::time::clock_gettime(rustix::time::ClockId::Boottime))
}

/// There it counts sleep: it is `mach_continuous_time`.
#[cfg(target_vendor = "apple")]
fn read() -> Option<Duration> {
    duration(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic))
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn duration(time: rustix::time::Timespec) -> Option<Duration> {
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

/// There `Instant` is the performance counter, which counts sleep.
#[cfg(windows)]
fn read() -> Option<Duration> {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    Some(BEGAN.get_or_init(std::time::Instant::now).elapsed())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows)))]
fn read() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::boot_now;
    use std::time::{Duration, Instant};

    #[test]
    fn it_goes_at_least_as_fast_as_the_clock_of_timers() {
        let (begin, began) = (Instant::now(), boot_now());
        while begin.elapsed() < Duration::from_millis(5) {}
        let monotonic = begin.elapsed();
        let passed = boot_now().zip(began).map(|(now, before)| now - before);
        assert!(
            passed.is_some_and(|passed| passed >= monotonic - Duration::from_millis(1)),
            "{passed:?} {monotonic:?}"
        );
    }
}
