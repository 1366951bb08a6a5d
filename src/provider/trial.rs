//! Requests that show whether a provider can be reached, for `sessiongate check --online`.

use super::{ExchangeRecord, Fetch, Provider, connect_options};
use crate::client::{ConnectionTrial, ExchangeError, PRODUCT};
use http::header::{ACCEPT, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

impl Provider {
    /// A connection to the provider, as its requests make one.
    pub fn connection_trial(&self) -> Result<ConnectionTrial, String> {
        let request = self.request(&self.trial()).map_err(|error| error.to_string())?;
        let options = connect_options(&self.upstream.target, self.addresses(), self.tunnel.clone(), None);
        ConnectionTrial::new(request.uri().clone(), &options).map_err(|error| error.to_string())
    }

    /// Sends a `GET` of the base path, without a credential, and returns the status of the response. Its body is not
    /// read.
    pub async fn try_request(&self) -> Result<StatusCode, ExchangeError> {
        let request = self.request(&self.trial())?;
        let response = self.client.open(request, self.upstream.target.timeouts.first_byte).await?;
        Ok(response.status)
    }

    /// The path of the request.
    pub fn trial_path(&self) -> String {
        format!("{}/", self.upstream.target.base_path)
    }

    fn trial(&self) -> Fetch {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(PRODUCT));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        let (method, path, record) = (Method::GET, self.trial_path(), ExchangeRecord::default());
        Fetch { method, path, headers, body: None, http2: false, reads: true, record }
    }
}
