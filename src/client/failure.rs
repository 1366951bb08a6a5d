//! Classifies failures, in particular whether the server may have processed the request.

use super::ExchangeError;
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
/// gateway has no sockets left.
pub fn is_address_failure(error: Cause) -> bool {
    let other = |cause: Cause| {
        let version = match cause.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::AlertReceived(alert)) => *alert == AlertDescription::NoApplicationProtocol,
            Some(error) => *error == rustls::Error::NoApplicationProtocol,
            None => false,
        };
        let local = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        version || local.is_some_and(|code| LOCAL.iter().any(|errno| errno.raw_os_error() == code))
    };
    let mut next = Some(error);
    while let Some(cause) = next {
        if other(cause) {
            return false;
        }
        // An I/O error does not expose its inner error as its source.
        next = match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    true
}

/// Socket errors that do not depend on the address.
const LOCAL: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];

/// An error and its sources.
fn causes<'e>(error: Option<Cause<'e>>) -> impl Iterator<Item = Cause<'e>> {
    successors(error, |cause: &Cause<'e>| {
        let cause: Cause<'e> = *cause;
        cause.source()
    })
}

/// Classifies an error of an HTTP/1.1 request.
pub(super) fn classify(error: &hyper_util::client::legacy::Error) -> ExchangeError {
    let causes: Vec<Cause> = causes(error.source()).collect();
    let reason = causes.iter().map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let closed = |cause: &Cause| {
        cause.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_incomplete_message() || e.is_canceled())
    };
    if error.is_connect() || causes.iter().any(|cause| is_certificate_rejection(*cause)) {
        ExchangeError::Connect(reason)
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
