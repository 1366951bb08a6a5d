//! The handover of listening sockets from a process to its successor, so that no connection is rejected during an
//! upgrade.
//!
//! The new process waits on a Unix socket. The old one connects to it, sends its listening sockets, and continues until
//! the new one confirms that it serves. The connection stays open until the old process ends, which the new one can
//! wait for.

use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use rustix::process::geteuid;
use std::fs::Permissions;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The most sockets of a handover.
const MAX_SOCKETS: usize = 64;
/// The longest list of their names, in bytes.
const MAX_NAMES: usize = 16 << 10;
/// The new process's confirmation.
const READY: &[u8] = b"serves\n";
/// Pause between attempts to reach the other process.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The sockets that this process received.
#[derive(Debug)]
pub struct Inherited {
    sockets: Vec<(String, OwnedFd)>,
    old: UnixStream,
}

impl Inherited {
    /// Takes the socket of this name, if it was received and not taken yet.
    pub fn take(&mut self, name: &str) -> Option<OwnedFd> {
        let at = self.sockets.iter().position(|(own, _)| own == name)?;
        Some(self.sockets.swap_remove(at).1)
    }

    /// Confirms to the old process that this one serves. Closes the sockets that were not taken.
    pub fn confirm(mut self) -> io::Result<Predecessor> {
        self.old.write_all(READY)?;
        Ok(Predecessor(self.old))
    }
}

/// The old process, which may still serve open requests.
#[derive(Debug)]
pub struct Predecessor(UnixStream);

impl Predecessor {
    /// Waits until it has ended. Blocks the thread.
    pub fn wait(mut self) {
        let _ = self.0.set_read_timeout(None);
        // It sends nothing more, so any result means that it has ended.
        let _ = self.0.read(&mut [0]);
    }
}

/// The new process.
#[derive(Debug)]
pub struct Successor(#[expect(dead_code, reason = "open for as long as this process lives")] UnixStream);

/// Waits for the old process and receives its sockets. Blocks the thread, for `within` at most.
pub fn receive(path: &Path, within: Duration) -> io::Result<Inherited> {
    let deadline = Instant::now() + within;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let received = std::fs::set_permissions(path, Permissions::from_mode(0o600)).and_then(|()| {
        listener.set_nonblocking(true)?;
        let old = retry_until(deadline, || listener.accept())?.0;
        take(old, deadline)
    });
    let _ = std::fs::remove_file(path);
    received
}

fn take(old: UnixStream, deadline: Instant) -> io::Result<Inherited> {
    check(&old)?;
    old.set_nonblocking(false)?;
    old.set_read_timeout(Some(remaining(deadline)?))?;
    let mut names = vec![0; MAX_NAMES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(&old, &mut [IoSliceMut::new(&mut names)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for one in control.drain() {
        if let RecvAncillaryMessage::ScmRights(came) = one {
            sockets.extend(came);
        }
    }
    let names = String::from_utf8_lossy(names.get(..message.bytes).unwrap_or_default()).into_owned();
    let names: Vec<&str> = names.lines().collect();
    if names.len() != sockets.len() || names.is_empty() {
        return Err(io::Error::new(ErrorKind::InvalidData, "the old process sent an invalid message"));
    }
    Ok(Inherited { sockets: names.into_iter().map(str::to_owned).zip(sockets).collect(), old })
}

/// Hands sockets over to the waiting process and waits until it serves. Blocks the thread, for `within` at most.
pub fn send(path: &Path, sockets: &[(String, BorrowedFd)], within: Duration) -> io::Result<Successor> {
    let deadline = Instant::now() + within;
    let mut new = retry_until(deadline, || UnixStream::connect(path))?;
    check(&new)?;
    let names: String = sockets.iter().map(|(name, _)| format!("{name}\n")).collect();
    let sockets: Vec<BorrowedFd> = sockets.iter().map(|(_, socket)| *socket).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if names.len() > MAX_NAMES || !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("at most {MAX_SOCKETS} listeners can be handed over"),
        ));
    }
    sendmsg(&new, &[IoSlice::new(names.as_bytes())], &mut control, SendFlags::empty())?;
    new.set_read_timeout(Some(remaining(deadline)?))?;
    let mut reply = [0; READY.len()];
    new.read_exact(&mut reply)?;
    if reply == READY { Ok(Successor(new)) } else { Err(ErrorKind::InvalidData.into()) }
}

/// Accepts only processes of the same user.
fn check(other: &UnixStream) -> io::Result<()> {
    if socket_peercred(other.as_fd())?.uid == geteuid() {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::PermissionDenied, "the other process runs as a different user"))
}

fn remaining(deadline: Instant) -> io::Result<Duration> {
    let remaining = deadline.saturating_duration_since(Instant::now());
    if remaining.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(remaining) }
}

/// Retries until the other process is there.
fn retry_until<T>(deadline: Instant, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                remaining(deadline)
                    .map_err(|_| io::Error::new(ErrorKind::TimedOut, "timed out waiting for the other process"))?;
                thread::sleep(RETRY_PAUSE);
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    const TIMEOUT: Duration = Duration::from_secs(30);

    #[test]
    fn sockets_are_handed_over_and_the_end_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let [one, other] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = other.local_addr().unwrap();
        let new = thread::spawn({
            let path = path.clone();
            move || {
                let mut inherited = receive(&path, TIMEOUT).unwrap();
                assert!(inherited.take("three").is_none());
                let other = TcpListener::from(inherited.take("two").unwrap());
                assert!(inherited.take("two").is_none());
                (other, inherited.confirm().unwrap())
            }
        });
        let sockets = [("one".to_owned(), one.as_fd()), ("two".to_owned(), other.as_fd())];
        let successor = send(&path, &sockets, TIMEOUT).unwrap();
        let (inherited, predecessor) = new.join().unwrap();
        drop(other);
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(inherited.accept().unwrap().1, client.local_addr().unwrap());
        let waiting = thread::spawn(move || predecessor.wait());
        assert!(!waiting.is_finished());
        drop(successor);
        waiting.join().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn handover_times_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade.sock");
        let soon = Duration::from_millis(50);
        assert_eq!(receive(&path, soon).unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(send(&path, &[], soon).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(!path.exists());
    }
}
