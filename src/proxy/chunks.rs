//! Responses of HTTP/2 for clients of HTTP/1.0. Where such a response does not say how long it is, Pingora frames it in
//! chunks, which these clients do not read, and does so behind all filters but those of modules.

use async_trait::async_trait;
use http::Version;
use http::header::TRANSFER_ENCODING;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};
use std::any::Any;

/// Makes the module of each request.
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Chunks { are_read: true })
    }
}

/// Whether the client of a request reads chunks.
struct Chunks {
    are_read: bool,
}

#[async_trait]
impl HttpModule for Chunks {
    async fn request_header_filter(&mut self, request: &mut RequestHeader) -> Result<()> {
        self.are_read = request.version >= Version::HTTP_11;
        Ok(())
    }

    async fn response_header_filter(&mut self, response: &mut ResponseHeader, _: bool) -> Result<()> {
        if !self.are_read {
            // The body ends with the connection: see `pass_through::frame`.
            response.remove_header(&TRANSFER_ENCODING);
        }
        Ok(())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
