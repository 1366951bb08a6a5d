//! Why a request ends without a response of its provider.

use crate::serve;
use pingora::Error;

/// Why a request ends without a response of its provider: it is rejected, or its client cannot be sent a response.
pub(super) type NotServed = serve::NotServed<Box<Error>>;

impl From<Box<Error>> for NotServed {
    fn from(error: Box<Error>) -> NotServed {
        NotServed::Gone(error)
    }
}
