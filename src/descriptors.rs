//! Descriptors: how many files and sockets the process may have open, and which of them are kept back. Clients and
//! providers never get the last ones, so that whatever their number is, the configuration can be read again, probes are
//! answered and names looked up.

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsRawFd;

/// How many are kept back; a quarter where there are few.
const RESERVED: u64 = 64;
/// How many unused connections to providers are kept in each pool, where there are descriptors enough.
const MAX_IDLE: u64 = 512;

/// Lets the process have as many as the system allows it: each client is one, and each connection to a provider.
/// Systems start with few for the sake of programs that count in bits.
pub fn raise_limit() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // An error leaves it as it was.
    let _ = setrlimit(Resource::Nofile, files);
}

/// How many the process may have without those that are kept back.
fn usable() -> u64 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    limit - RESERVED.min(limit / 4)
}

/// How many clients may be connected at once, of those that are declared, where so many requests may be in flight at
/// providers: each of these may take a connection, and leave it unused for a while. In any case clients have half.
pub fn max_clients(declared: usize, in_flight: usize) -> usize {
    max_clients_of(usable(), declared, in_flight)
}

fn max_clients_of(usable: u64, declared: usize, in_flight: usize) -> usize {
    let providers = (in_flight as u64).saturating_mul(2).min(usable / 2);
    usize::try_from(usable - providers).map_or(declared, |most| declared.min(most))
}

/// How many unused connections to providers a pool keeps.
pub fn max_idle_per_pool() -> usize {
    usize::try_from(MAX_IDLE.min(usable() / 8)).unwrap_or(usize::MAX)
}

/// Whether this is one of those that are kept back: systems give out the lowest number that is free.
pub fn is_reserved(one: &impl AsRawFd) -> bool {
    u64::try_from(one.as_raw_fd()).is_ok_and(|number| number >= usable())
}

/// Whether all but those that are kept back are in use.
pub fn are_exhausted() -> bool {
    match socket(AddressFamily::UNIX, SocketType::DGRAM, None) {
        Ok(probe) => is_reserved(&probe),
        Err(error) => is_shortage(&error.into()),
    }
}

/// Whether an error says that there are no more of them, in the process or in the system.
pub fn is_shortage(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_providers_leave_and_half_in_any_case() {
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
    fn the_last_ones_are_known_by_their_number() {
        assert!(!are_exhausted());
        let probe = socket(AddressFamily::UNIX, SocketType::DGRAM, None).unwrap();
        assert!(!is_reserved(&probe));
        assert!(is_shortage(&io::Error::from_raw_os_error(Errno::MFILE.raw_os_error())));
        assert!(!is_shortage(&io::ErrorKind::NotFound.into()));
    }
}
