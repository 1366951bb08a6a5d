//! Why a request ends without a response of its provider.

use crate::serve;
use pingora::Error;

/// Why a request ends without a response of its provider: it is rejected, or its client cannot be sent a response.
pub(super) type Stop = serve::Stop<Box<Error>>;

impl From<Box<Error>> for Stop {
    fn from(error: Box<Error>) -> Stop {
        Stop::Gone(error)
    }
}
