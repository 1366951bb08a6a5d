//! Classifies failures, in particular whether the server may have processed the request.

use super::tunnel_error::TunnelError;
use super::{ConnectError, ExchangeError};
use h2::Reason;
use rustix::io::Errno;
use rustls::AlertDescription;
use std::error::Error;
use std::io;
use std::iter::successors;

type Cause<'a> = &'a (dyn Error + 'static);

/// Whether an HTTP/2 server says that it has not processed a request: REFUSED_STREAM, or a GOAWAY whose last stream
/// precedes this one. The library reports that error only for streams that were not processed.
pub fn was_refused(cause: Cause) -> bool {
    let refused = |error: &h2::Error| {
        error.is_remote() && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
    };
    cause.downcast_ref::<h2::Error>().is_some_and(refused)
}

/// Whether a connection failure is due to the address: not if the server only lacks the HTTP version, nor if the
/// gateway has no sockets left. If the address is that of a forward proxy, failures behind it do not count.
pub fn is_address_failure(error: Cause, through_proxy: bool) -> bool {
    let is_behind = match tunnel_error(error) {
        Some(error) => !error.is_of_address(),
        None => through_proxy,
    };
    if is_behind {
        return false;
    }
    let other = |cause: Cause| {
        let version = match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::AlertReceived(alert)) => *alert == AlertDescription::NoApplicationProtocol,
            Some(error) => *error == rustls::Error::NoApplicationProtocol,
            None => false,
        };
        let local = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        version || local.is_some_and(|code| LOCAL.iter().any(|errno| errno.raw_os_error() == code))
    };
    !inner_errors(error).any(other)
}

/// Whether a forward proxy says that it opens no tunnel, so that its other addresses need not be tried.
pub fn is_final(error: Cause) -> bool {
    tunnel_error(error).is_some_and(TunnelError::is_final)
}

fn tunnel_error(error: Cause<'_>) -> Option<&TunnelError> {
    inner_errors(error).find_map(|cause| cause.downcast_ref())
}

/// The text of an error with its causes.
pub fn described(error: Cause) -> String {
    causes(Some(error)).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error, its sources, and those within I/O errors, which do not expose them as their sources.
fn inner_errors<'e>(error: Cause<'e>) -> impl Iterator<Item = Cause<'e>> {
    successors(Some(error), |cause: &Cause<'e>| {
        let cause: Cause<'e> = *cause;
        match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        }
    })
}

/// Classifies a failed attempt to connect, with or without TLS.
pub(super) fn connect_error(error: Cause) -> ConnectError {
    let reason = described(error);
    if tunnel_error(error).is_some() {
        return ConnectError::Unreachable(reason);
    }
    // The server's end of the connection can be seen in a handshake only: nothing is read before.
    let ended = |cause: Cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof)
    };
    if inner_errors(error).any(|cause| cause.is::<rustls::Error>() || ended(cause)) {
        ConnectError::Tls(reason)
    } else {
        ConnectError::Unreachable(reason)
    }
}

/// Classifies a failed HTTP/2 handshake. With TLS 1.3 the server's alert arrives in it.
pub(super) fn greeting_error(error: &h2::Error) -> ConnectError {
    // Of an I/O error h2 keeps the kind and the text. Errors of TLS have this kind, those of sockets never.
    match error.get_io().map(io::Error::kind) {
        Some(io::ErrorKind::InvalidData) => ConnectError::Tls(error.to_string()),
        Some(_) | None => ConnectError::Unreachable(error.to_string()),
    }
}

/// Socket errors that do not depend on the address.
const LOCAL: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// An error and its sources.
pub(super) fn causes<'e>(error: Option<Cause<'e>>) -> impl Iterator<Item = Cause<'e>> {
    successors(error, |cause: &Cause<'e>| {
        let cause: Cause<'e> = *cause;
        cause.source()
    })
}

/// Classifies an error of an HTTP/1.1 request.
pub(super) fn classify(error: &hyper_util::client::legacy::Error) -> ExchangeError {
    if let Some(source) = error.source().filter(|_| error.is_connect()) {
        return connect_error(source).into();
    }
    let causes: Vec<Cause> = causes(error.source()).collect();
    let reason = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let closed = |cause: &Cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_incomplete_message() || e.is_canceled())
    };
    if causes.iter().any(|cause| is_certificate_rejection(*cause)) {
        ConnectError::Tls(reason).into()
    } else if causes.iter().any(closed) {
        ExchangeError::Closed
    } else {
        ExchangeError::Broken(reason)
    }
}

/// Whether the server rejected the gateway's certificate. With TLS 1.3 that arrives after the first request was sent,
/// which the server never read: its handshake did not complete.
fn is_certificate_rejection(cause: Cause) -> bool {
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let alert = match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => alert,
        _ => return false,
    };
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::HandshakeFailure
            | AlertDescription::DecryptError
    )
}
