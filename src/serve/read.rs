//! Reads: from the cache, or from the provider.

use super::clock;
use super::directives::Directives;
use super::observed_exchange::ObservedExchange;
use super::service::{ClientRequest, NotServed, ProviderClient, Served, ServedFrom, Service};
use crate::cache::{FetchedResponse, ReadOptions, ReadResult};
use crate::coherence::Micros;
use crate::coherence::reading::ForwardReason;
use crate::gateway::{Cacheability, Owned, ProviderResponse, Read};
use crate::model::Rejection;
use crate::provider::{ExchangeRecord, Failure, Fetch};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use std::net::IpAddr;
use std::sync::Arc;

/// The fetch of a read, with all that it needs after its client has left.
struct DetachedFetch<P> {
    service: Arc<Service<P>>,
    read: Arc<Read>,
    headers: HeaderMap,
    client_ip: Option<IpAddr>,
    record: ExchangeRecord,
}

impl<P: ProviderClient> DetachedFetch<P> {
    async fn fetch(self, floor: Option<u64>) -> FetchedResponse {
        let DetachedFetch { service, read, headers, client_ip, record } = self;
        let caller = read.caller();
        let none = |rejection, storable, failed| {
            let response = Err(rejection);
            FetchedResponse { response, status: None, storable, failed, caller }
        };
        let backend = match service.backend(read.upstream()) {
            Ok(backend) => backend,
            Err(rejection) => return none(rejection, Cacheability::Unrelated, true),
        };
        let slot = match backend.slots.take(client_ip).await {
            Ok(slot) => slot,
            Err(rejection) => return none(rejection.clone(), Cacheability::Unrelated, rejection.is_failure()),
        };
        let began = clock::millis();
        let observed = ObservedExchange::fetch(&service.metrics, read.upstream(), read.operation(), &record);
        let (method, path, body) = read.request();
        let (path, http2) = (path.to_owned(), read.carrier().is_grpc());
        let fetch = Fetch { method, path, headers, body, http2, reads: true, record: record.clone() };
        let response = backend.provider.fetch(fetch).await;
        let response = response.map(|response| response.decoded(read.carrier()));
        let status = response.as_ref().ok().map(|response| response.status());
        status.into_iter().for_each(|status| record.set_status(status));
        drop((observed, slot));
        match response {
            Ok(response) => {
                if let Some((session, version)) = read.shown_version(&response) {
                    service.sessions.saw((read.upstream().scope, session), *read.tenant(), version).await;
                }
                let storable = read.cacheability(&response, floor, began);
                let failed = response.status().is_server_error();
                FetchedResponse { response: Ok(Arc::new(response.into())), status, storable, failed, caller }
            }
            Err(Failure { rejection, status, .. }) => {
                let failed = status.is_none_or(|status| status.is_server_error());
                none(rejection, read.cacheability_unread(status), failed)
            }
        }
    }
}

impl<P: ProviderClient> Service<P> {
    /// Serves a read: from the cache, or from the provider.
    pub(super) async fn read<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        read: Read,
    ) -> Result<Served, NotServed<C::Gone>> {
        let read = Arc::new(read);
        let Some(key) = read.key().copied() else {
            let response = self.fetch_alone(client, &read).await?.response?;
            let response = self.listed(&read, read.owned(response)?).await?;
            let response = read.released(response)?;
            return Ok(Served { response, source: ServedFrom::Uncached });
        };
        let own = read.caller();
        let mut options = read_options(&read, client.headers());
        let fresh = options.fresh;
        loop {
            // Built only for a read that fetches: most reads are hits.
            let fetch = |floor: Option<u64>| self.detached(client, &read).fetch(floor);
            let (response, source) = match self.sessions.read(key, options, fetch).await {
                ReadResult::Hit { response, age, left } => {
                    // The request did not wait for a fetch that only renews the response. It did for one that failed.
                    client.record().take_if(|record| !record.is_over());
                    (response, ServedFrom::Hit { age, left: (!read.is_masked()).then_some(left) })
                }
                ReadResult::Deleted if read.is_shared() => return Err(read.deleted().into()),
                ReadResult::Deleted => self.unverified_deleted(client, &read).await?,
                ReadResult::Miss(fetched, why) => {
                    // The retry below set `fresh`, not the client: report `fwd=miss`.
                    let retried = why == ForwardReason::Requested && options.fresh != fresh;
                    let why = if retried { ForwardReason::Missing } else { why };
                    let stored = matches!(fetched.storable, Cacheability::Store { .. }) && !options.no_store;
                    (fetched.response?, ServedFrom::Miss { why, stored })
                }
                // This response may be specific to the other caller: fetch again.
                ReadResult::Coalesced(FetchedResponse { response: Ok(response), status, caller, .. })
                    if caller != own && !may_be_shared(status.unwrap_or_else(|| read.status(&response))) =>
                {
                    options.fresh = true;
                    continue;
                }
                ReadResult::Bypass(began) => self.bypass(client, &read, (options, began)).await?,
                // The joined fetch was rejected for its own client's limit: fetch for this client.
                ReadResult::Coalesced(FetchedResponse { response: Err(Rejection::SourceBusy), .. }) => {
                    self.bypass(client, &read, (options, None)).await?
                }
                ReadResult::Coalesced(FetchedResponse { response, caller, .. }) if caller == own => {
                    (without_cookies(response?), ServedFrom::Coalesced)
                }
                ReadResult::Coalesced(fetched) => (Arc::new(fetched.response?.cacheable_copy()), ServedFrom::Coalesced),
            };
            return Ok(Served { response: read.released(read.owned(response)?)?, source });
        }
    }

    /// A read of a deleted session by an unverified caller: asks the provider, so as not to reveal that the session
    /// existed.
    async fn unverified_deleted<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        read: &Arc<Read>,
    ) -> Result<(Arc<ProviderResponse>, ServedFrom), NotServed<C::Gone>> {
        let FetchedResponse { response, status, .. } = self.fetch_alone(client, read).await?;
        let response = response?;
        if status == Some(StatusCode::OK) { Err(read.deleted().into()) } else { Ok((response, ServedFrom::Bypass)) }
    }

    fn detached<C: ClientRequest>(self: &Arc<Self>, client: &mut C, read: &Arc<Read>) -> DetachedFetch<P> {
        let shared = read.key().is_some();
        let headers = self
            .backend(read.upstream())
            .map(|backend| backend.headers.read(client.headers(), &client.origin(), read.carrier(), shared));
        DetachedFetch {
            headers: headers.unwrap_or_default(),
            client_ip: client.client_ip(),
            record: client.new_record(),
            service: self.clone(),
            read: read.clone(),
        }
    }

    /// A fetch whose response is not stored. It ends when its client leaves.
    async fn fetch_alone<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        read: &Arc<Read>,
    ) -> Result<FetchedResponse, NotServed<C::Gone>> {
        let fetch = self.detached(client, read).fetch(None);
        // Boxed, so that the future of a cache hit stays small.
        client.attend(Box::pin(fetch)).await.map_err(NotServed::Gone)
    }

    /// A read that bypasses the cache. Its fetch did not begin before `began`.
    async fn bypass<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        read: &Arc<Read>,
        (options, began): (ReadOptions, Option<Micros>),
    ) -> Result<(Arc<ProviderResponse>, ServedFrom), NotServed<C::Gone>> {
        let fetched = self.fetch_alone(client, read).await?;
        if let Some(key) = read.key() {
            self.sessions.bypassed(key, options, began, &fetched).await;
        }
        Ok((fetched.response?, ServedFrom::Bypass))
    }

    /// The response to a read. From a list of sessions, those are taken out that were deleted through the gateway.
    /// What is not the caller's is out already, so that its totals are corrected even if all of that was deleted.
    async fn listed(&self, read: &Read, response: Owned) -> Result<Owned, Rejection> {
        let Some(listing) = read.listing(&self.gateway, &response)? else {
            return Ok(response);
        };
        // Looked up after the fetch: what was deleted before this read began is known by now.
        let deleted = self.sessions.deleted(read.upstream().scope, read.tenant(), &listing.sessions()).await;
        Ok(listing.without(&deleted, response))
    }
}

/// How a read uses the cache: by its upstream, and by what its client asks of caches.
fn read_options(read: &Read, headers: &HeaderMap) -> ReadOptions {
    let mut windows = read.windows();
    let directives = Directives::of(headers);
    windows.limits = directives.limits;
    // A background refresh only serves to store, which `no-store` forbids.
    windows.revalidate = if directives.no_store { 0 } else { windows.revalidate };
    let (caller, tenant) = (read.caller(), *read.tenant());
    let Directives { no_cache: fresh, no_store, .. } = directives;
    ReadOptions { fresh, no_store, caller, tenant, kept: read.retention(), windows }
}

/// A response without its cookies, which are for the client whose request fetched it.
fn without_cookies(response: Arc<ProviderResponse>) -> Arc<ProviderResponse> {
    if !response.headers.contains_key(SET_COOKIE) {
        return response;
    }
    let mut own = ProviderResponse::clone(&response);
    own.headers.remove(SET_COOKIE);
    Arc::new(own)
}

/// Whether other callers may be shown a response with this status. A 404 may be about the caller.
fn may_be_shared(status: StatusCode) -> bool {
    status == StatusCode::OK || status.is_server_error()
}
