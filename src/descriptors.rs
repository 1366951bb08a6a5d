//! File descriptors: how many files and sockets the process may open, and a reserve that clients and providers never
//! use. So under any load the configuration can be reloaded, probes are answered and names resolved.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The size of the reserve; at most a quarter of the limit.
const RESERVED: u64 = 64;
/// The most idle connections to providers in each pool.
const MAX_IDLE: u64 = 512;

/// Raises the limit of open files to the hard limit: every client and every connection to a provider needs one. The
/// soft limit is often low, for the sake of programs that use `select`.
pub fn raise_limit() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // An error leaves the limit unchanged.
    let _ = setrlimit(Resource::Nofile, files);
}

/// The descriptors outside the reserve.
fn usable() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit - RESERVED.min(limit / 4)
}

/// The most client connections: at most `declared`, less twice `in_flight`, since each request in flight at a provider
/// may take a connection and leave another one idle. Clients always get half.
pub fn max_clients(declared: usize, in_flight: usize) -> usize {
    max_clients_of(usable(), declared, in_flight)
}

fn max_clients_of(usable: u64, declared: usize, in_flight: usize) -> usize {
    let providers = (in_flight as u64).saturating_mul(2).min(usable / 2);
    usize::try_from(usable - providers).map_or(declared, |most| declared.min(most))
}

/// The most idle connections in a pool.
pub fn max_idle_per_pool() -> usize {
    usize::try_from(MAX_IDLE.min(usable() / 8)).unwrap_or(usize::MAX)
}

/// Whether this descriptor belongs to the reserve: systems assign the lowest free number.
pub fn is_reserved(one: &impl AsRawFd) -> bool {
    u64::try_from(one.as_raw_fd()).is_ok_and(|number| number >= usable())
}

/// How long a probe counts that found more than half of the descriptors free: clients cannot open as many in this time.
const PLENTIFUL_FOR: Duration = Duration::from_millis(10);
/// When more than half of the descriptors were free last, in milliseconds after [`START`]; 0 if never.
static PLENTIFUL_AT: AtomicU64 = AtomicU64::new(0);
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Whether only the reserve is left. Each pass-through request asks, and a probe takes three system calls; so it is not
/// repeated a moment after most descriptors were free.
pub fn are_exhausted() -> bool {
    let now = u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    if is_fresh(PLENTIFUL_AT.load(Ordering::Relaxed), now) {
        return false;
    }
    match socket(AddressFamily::UNIX, SocketType::DGRAM, None) {
        Ok(probe) => {
            if u64::try_from(probe.as_raw_fd()).is_ok_and(|number| number < usable() / 2) {
                PLENTIFUL_AT.store(now, Ordering::Relaxed);
            }
            is_reserved(&probe)
        }
        Err(error) => is_shortage(&error.into()),
    }
}

fn is_fresh(plentiful_at: u64, now: u64) -> bool {
    plentiful_at > 0 && Duration::from_millis(now.saturating_sub(plentiful_at)) < PLENTIFUL_FOR
}

/// Whether an error means that descriptors are exhausted, in the process or the system.
pub fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_at_least_half_of_the_descriptors() {
        for (usable, declared, in_flight, most) in [
            (u64::MAX, 10_000, 500, 10_000),
            (1_048_512, 10_000, 500, 10_000),
            (10_000, 10_000, 500, 9_000),
            (960, 10_000, 500, 480),
            (960, 100, 500, 100),
            (960, 10_000, 10, 940),
        ] {
            assert_eq!(max_clients_of(usable, declared, in_flight), most, "{usable} {declared} {in_flight}");
        }
    }

    #[test]
    fn probe_is_repeated_soon() {
        for (plentiful_at, now, fresh) in
            [(0, 1, false), (0, 5, false), (1, 1, true), (1, 10, true), (1, 11, false), (9, 3, true)]
        {
            assert_eq!(is_fresh(plentiful_at, now), fresh, "{plentiful_at} {now}");
        }
    }

    #[test]
    fn reserved_descriptors_are_recognized_by_number() {
        assert!(!are_exhausted());
        assert!(!are_exhausted(), "without a probe");
        let probe = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
        assert!(!is_reserved(&probe));
        assert!(is_shortage(&io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
        assert!(!is_shortage(&io::ErrorKind::NotFound.into()));
    }
}
