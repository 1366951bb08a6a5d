//! HTTP/2 responses for HTTP/1.0 clients. Pingora sends a response of unknown length in chunks, which these clients
//! cannot read. It does so after all filters except those of modules, so this is a module.

use async_trait::async_trait;
use http::Version;
use http::header::TRANSFER_ENCODING;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::{HttpModule, HttpModuleBuilder, Module};
use std::any::Any;

/// Builds the module for each request.
pub(super) struct Builder;

impl HttpModuleBuilder for Builder {
    fn init(&self) -> Module {
        Box::new(Chunks { are_read: true })
    }
}

/// The module of one request.
struct Chunks {
    /// Whether the client can read chunks.
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
            // The body ends with the connection: see `upstream_response::frame`.
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
