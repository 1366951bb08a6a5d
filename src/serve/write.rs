//! Writes: evaluated by the policy, sent under an invalidation mark, and settled before they are acknowledged.

use super::exclusive::HeldRight;
use super::observed_exchange::ObservedExchange;
use super::service::{ClientRequest, NotServed, ProviderClient, Served, ServedFrom, Service};
use crate::cache::{Mark, MarkFailurePolicy, Scope};
use crate::gateway::{
    Changes, CurrentResponse, CurrentState, DecodedRequest, Evaluated, Released, RightNeed, Upstream, Write,
    WriteDecision, WriteOutcome,
};
use crate::model::Rejection;
use crate::provider::{ExchangeRecord, Failure, Fetch, Slot, condition_in, without_deadline};
use crate::telemetry::RightResult;
use crate::wire::carrier::Carrier;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

/// What became of a write.
enum Sent {
    /// The response to it.
    Response(Released),
    /// It was not sent: a newer state is known than it was decided by. The right is still held.
    Outdated(Box<HeldRight>),
}

/// The current state of what a request changes; or a response that does not show it.
type Current = Result<Vec<CurrentState>, Released>;

impl<P: ProviderClient> Service<P> {
    /// Evaluates a write and carries it out.
    pub(super) async fn write<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        request: Box<DecodedRequest>,
    ) -> Result<Served, NotServed<C::Gone>> {
        let Evaluated { findings, result } = request.decide(None);
        client.outcome().findings = findings;
        let decision = result?;
        // Boxed, so that the future of any other write stays small.
        let mut right = match request.needs_right(&decision) {
            RightNeed::None => HeldRight::default(),
            need => Box::pin(self.take_right(client, &request, need)).await?,
        };
        let mut write = match decision {
            WriteDecision::Forward(write) => Ok(write),
            WriteDecision::NeedsCurrent => Box::pin(self.decide_with_current(client, &request, &mut right)).await?,
        };
        loop {
            let sent = match write {
                Ok(write) => self.send(client, write, right).await?,
                Err(response) => Sent::Response(response),
            };
            match sent {
                Sent::Response(response) => return Ok(Served { response, source: ServedFrom::Write }),
                Sent::Outdated(held) => right = *held,
            }
            write = Box::pin(self.decide_with_current(client, &request, &mut right)).await?;
        }
    }

    /// Sends a write that was decided, once it has a slot.
    async fn send<C: ClientRequest>(
        self: &Arc<Self>,
        client: &mut C,
        write: Write,
        right: HeldRight,
    ) -> Result<Sent, NotServed<C::Gone>> {
        if write.hides_fields()
            && let Some(name) = condition_in(client.headers())
        {
            return Err(Rejection::Header(name, "is not allowed by a grant that hides fields").into());
        }
        let backend = self.backend(write.upstream())?;
        let mut headers = backend.headers.governed(client.headers(), &client.origin(), write.carrier());
        if right.is_held() {
            // The provider would stop in the middle of the write, and other writes would have to wait until it must have
            // ended.
            without_deadline(&mut headers);
        }
        // Before the mark is set and anything is sent: a client that leaves now has changed nothing.
        let client_ip = client.client_ip();
        let slot = client.attend(backend.slots.take(client_ip)).await.map_err(NotServed::Gone)??;
        // In a task of its own: a write that was sent is settled even if the client leaves. Boxed, because tokio moves the
        // future of a task several times, also when it has ended.
        let (service, in_flight, record) = (self.clone(), self.metrics.begin_request(), client.kept_record());
        let task = tokio::spawn(Box::pin(async move {
            let response = service.carry_out(write, headers, (slot, right), record).await;
            drop(in_flight);
            response
        }));
        // Without a response the task has panicked.
        let response = task.await.unwrap_or(Err(Rejection::InternalError));
        let without = match &response {
            Err(Rejection::RightLost) => Some(RightResult::Expired),
            Err(Rejection::RightUnavailable(_)) => Some(RightResult::Unavailable),
            _ => None,
        };
        if let (Some(result), Some(right)) = (without, &mut client.outcome().right) {
            right.result = result;
        }
        Ok(response?)
    }

    /// Evaluates a write again with the current state. Gives the provider's response if there is none.
    async fn decide_with_current<C: ClientRequest>(
        &self,
        client: &mut C,
        request: &DecodedRequest,
        right: &mut HeldRight,
    ) -> Result<Result<Write, Released>, NotServed<C::Gone>> {
        // Without the client's conditions: the response would answer them, whatever the caller may see.
        let headers =
            self.backend(request.upstream())?.headers.read(client.headers(), &client.origin(), Carrier::Rest, false);
        let current = loop {
            let (client_ip, record) = (client.client_ip(), client.new_record());
            let read = async {
                right.wait_for_newer().await?;
                self.current(request, headers.clone(), client_ip, record).await
            };
            let response = match client.attend(read).await.map_err(NotServed::Gone)? {
                Ok(Ok(current)) if right.decides_by(&current) => break current,
                Ok(Ok(_)) => continue,
                Ok(Err(response)) => Ok(response),
                Err(rejection) => Err(rejection),
            };
            right.decides_by_none();
            // The findings of the first evaluation say that it lacked the metadata.
            return match (request.unevaluated(), response) {
                (Some(write), _) => Ok(Ok(write)),
                // The response is to the gateway's own read. Only REST callers can parse it.
                (None, Ok(response)) if request.carrier() == Carrier::Rest => Ok(Err(response)),
                (None, Ok(response)) => Err(response.rejection().into()),
                (None, Err(rejection)) => Err(rejection.into()),
            };
        };
        let Evaluated { findings, result } = request.decide(Some(&current));
        client.outcome().findings = findings;
        match result? {
            WriteDecision::Forward(write) => Ok(Ok(write)),
            WriteDecision::NeedsCurrent => Err(Rejection::UpstreamFailed.into()),
        }
    }

    /// Reads the current state of what a request changes, one after the other.
    async fn current(
        &self,
        request: &DecodedRequest,
        mut headers: HeaderMap,
        client_ip: Option<IpAddr>,
        record: ExchangeRecord,
    ) -> Result<Current, Rejection> {
        let (upstream, backend) = (request.upstream(), self.backend(request.upstream())?);
        headers.remove(CONTENT_TYPE);
        let mut all = Vec::new();
        for path in request.current_paths()? {
            // Given back before the next read, and before the write takes its own: no request waits for a slot while it
            // holds one.
            let _slot = backend.slots.take(client_ip).await?;
            record.restart();
            let _observed = ObservedExchange::fetch(&self.metrics, upstream, request.operation(), &record);
            let (headers, record) = (headers.clone(), record.clone());
            let fetch = Fetch { method: Method::GET, path, headers, body: None, http2: false, reads: true, record };
            let response = backend.provider.fetch(fetch).await.map_err(|failure| failure.rejection)?;
            match request.current_state(response)? {
                CurrentResponse::State(state) => all.push(state),
                CurrentResponse::None(response) => return Ok(Err(response)),
            }
        }
        Ok(Ok(all))
    }

    /// Sets the mark, sends the write, and settles it.
    async fn carry_out(
        &self,
        write: Write,
        headers: HeaderMap,
        (slot, mut right): (Slot, HeldRight),
        record: ExchangeRecord,
    ) -> Result<Sent, Rejection> {
        let mark = self.mark(&write).await?;
        let (upstream, backend) = (write.upstream(), self.backend(write.upstream())?);
        if let Err(rejection) = right.confirm(upstream).await {
            if let Some(mark) = mark {
                self.sessions.end(mark, WriteOutcome::UNCHANGED).await;
            }
            return match rejection {
                Rejection::OutdatedState => Ok(Sent::Outdated(Box::new(right))),
                rejection => Err(rejection),
            };
        }
        let (method, path, body) = write.request();
        let (path, http2) = (path.to_owned(), write.carrier().is_grpc());
        record.restart();
        let observed = ObservedExchange::fetch(&self.metrics, upstream, write.operation(), &record);
        let fetch = Fetch { method, path, headers, body, http2, reads: false, record: record.clone() };
        let response = backend.provider.fetch(fetch).await;
        drop(slot);
        let response = response.map(|response| response.decoded(write.carrier()));
        response.iter().for_each(|response| record.set_status(response.status()));
        drop(observed);
        let outcome = match &response {
            Ok(response) => write.settle(response),
            Err(Failure { sent: false, .. }) => WriteOutcome::UNCHANGED,
            Err(Failure { sent: true, .. }) => WriteOutcome::KeepMark,
        };
        let end = async {
            if let Some(mark) = mark {
                self.sessions.end(mark, outcome).await;
            }
        };
        tokio::join!(end, right.settle(outcome));
        for ended in response.as_ref().map_or(&[][..], |response| write.ended(response)) {
            self.sessions.end_right((upstream.scope, *ended), *write.tenant());
        }
        if response.as_ref().is_ok_and(|response| write.is_lockout(response)) {
            self.invalidate_all(upstream).await;
        }
        write.released(response.map_err(|failure| failure.rejection)?).map(Sent::Response)
    }

    /// Marks what a write changes. `None` if nothing that it changes can be cached.
    async fn mark(&self, write: &Write) -> Result<Option<Mark>, Rejection> {
        let upstream = write.upstream();
        let scope = match write.changes() {
            Changes::Nothing => None,
            Changes::Session(session) => Some(Scope::Session(upstream.scope, session)),
            Changes::AnySession => Some(Scope::Upstream(upstream.scope)),
        };
        let Some((scope, policy)) = scope.zip(MarkFailurePolicy::of(upstream)) else {
            return Ok(None);
        };
        let guard = upstream.target.timeouts.guard();
        match write.is_scope_checked() {
            true => self.sessions.begin(scope, guard, policy).await,
            false => self.sessions.begin_shared(scope, guard, policy).await,
        }
        .map(Some)
    }

    /// Makes all cached sessions of an upstream stale: a response says that sessions have ended, and it is unknown which.
    /// If the store is down, they stay at most for their TTL.
    pub async fn invalidate_all(&self, upstream: &Upstream) {
        let renewed = async { drop(self.sessions.renew(Scope::Upstream(upstream.scope)).await) };
        if MarkFailurePolicy::of(upstream).is_some() {
            self.lockouts.join(upstream.scope, renewed).await;
        }
    }
}
