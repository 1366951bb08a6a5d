//! The exclusive right of a write: taken before the current state is read, and confirmed before the write is sent.

use super::service::{ClientRequest, NotServed, ProviderClient, Service};
use crate::cache::{MarkFailurePolicy, Right, RightError, RightTerms};
use crate::gateway::{CurrentState, DecodedRequest, OnUnreachable, RightNeed, RightUse, Upstream, WriteOutcome};
use crate::model::Rejection;
use crate::telemetry::RightResult;
use std::time::{Duration, Instant};

/// How long a write waits for its exclusive right.
pub const MAX_RIGHT_WAIT: Duration = Duration::from_secs(5);
/// How long the steps of the store may take between the right and the write.
const STORE_TIME: Duration = Duration::from_secs(5);

/// How often a state that is too old is read again, and the pause before the first time. Each next one is twice as long.
const MAX_REREADS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// The right of a write, if it has one.
#[derive(Debug, Default)]
pub(super) struct HeldRight {
    right: Option<Right>,
    /// Whether the write may go on if the store fails.
    optional: bool,
    /// The version of the state that the write is decided by.
    read: Option<u64>,
    /// How often that state was read again.
    rereads: u32,
}

impl<P: ProviderClient> Service<P> {
    /// Takes the right that a write needs. No write waits for it while it holds a slot or a mark.
    pub(super) async fn take_right<C: ClientRequest>(
        &self,
        client: &mut C,
        request: &DecodedRequest,
        need: RightNeed,
    ) -> Result<HeldRight, NotServed<C::Gone>> {
        let upstream = request.upstream();
        let hash = match (request.right_hash(), need) {
            (Some(hash), RightNeed::IfStoreWorks | RightNeed::Required) => hash,
            (None, RightNeed::Required) => return Err(Rejection::InternalError.into()),
            (_, RightNeed::None) | (None, RightNeed::IfStoreWorks) => return Ok(HeldRight::default()),
        };
        let optional = need == RightNeed::IfStoreWorks && !rejects_without_store(upstream);
        let (name, began) = ((upstream.scope, hash), Instant::now());
        let longest_write = (need == RightNeed::Required).then(|| self.gateway.longest_write());
        let terms = RightTerms { lifetime: lifetime(upstream), wait: MAX_RIGHT_WAIT, longest_write };
        let taken = self.sessions.exclusive(name, *request.tenant(), terms);
        let taken = client.attend(taken).await.map_err(NotServed::Gone)?;
        let result = match &taken {
            Ok(right) if right.has_waited() => RightResult::Waited,
            Ok(_) => RightResult::Taken,
            Err(RightError::Busy) => RightResult::Conflict,
            Err(RightError::OlderReplica) => RightResult::OlderReplica,
            Err(RightError::Unconfirmed | RightError::Unsettled(_)) => RightResult::Unavailable,
            Err(RightError::Lost | RightError::Outdated) => RightResult::Unavailable,
        };
        client.outcome().right = Some(RightUse { result, wait: began.elapsed() });
        match taken {
            Ok(right) => Ok(HeldRight { right: Some(right), optional, ..HeldRight::default() }),
            Err(RightError::Unconfirmed) if optional => Ok(HeldRight::default()),
            Err(error) => Err(rejection(error).into()),
        }
    }
}

impl HeldRight {
    /// Whether there is one.
    pub fn is_held(&self) -> bool {
        self.right.is_some()
    }

    /// Whether the write may be decided by a state: no newer one is known.
    pub fn decides_by(&mut self, current: &[CurrentState]) -> bool {
        self.read = current.iter().filter_map(|state| state.version).min();
        !self.is_outdated()
    }

    fn is_outdated(&self) -> bool {
        self.right.as_ref().is_some_and(|right| right.is_outdated(self.read))
    }

    /// The write is decided by no state.
    pub fn decides_by_none(&mut self) {
        self.read = None;
    }

    /// Waits before a state that is too old is read again: the replica of the provider that has shown it may lag.
    pub async fn wait_for_newer(&mut self) -> Result<(), Rejection> {
        if !self.is_outdated() {
            return Ok(());
        }
        if self.rereads == MAX_REREADS {
            return Err(Rejection::OutdatedState);
        }
        tokio::time::sleep(FIRST_PAUSE * (1 << self.rereads)).await;
        self.rereads += 1;
        match &mut self.right {
            Some(right) => right.extend().await.map_err(rejection),
            None => Ok(()),
        }
    }

    /// The second check, right before the first byte is sent: the right is still held, and more of it is left than the
    /// write may take. And no newer state is known by now: a reader may have been shown a change by a writer outside.
    pub async fn confirm(&mut self, upstream: &Upstream) -> Result<(), Rejection> {
        let Some(right) = &mut self.right else { return Ok(()) };
        match right.confirm(upstream.target.timeouts.guard(), self.read).await {
            Err(RightError::Unconfirmed) if self.optional => Ok(()),
            confirmed => confirmed.map_err(rejection),
        }
    }

    /// The write has ended. If its outcome is unknown, the right is left to expire.
    pub async fn settle(self, outcome: WriteOutcome) {
        match (self.right, outcome) {
            (Some(right), WriteOutcome::End(settled)) => right.give_back(settled.version).await,
            (Some(_) | None, WriteOutcome::KeepMark) | (None, WriteOutcome::End(_)) => {}
        }
    }
}

/// How long a right lasts that is not confirmed yet: longer than what precedes the write, which is to wait for a slot
/// and read the current state, and to wait for another slot and set the mark.
fn lifetime(upstream: &Upstream) -> Duration {
    upstream.slots.wait * 2 + upstream.target.timeouts.guard() + STORE_TIME
}

fn rejects_without_store(upstream: &Upstream) -> bool {
    MarkFailurePolicy::of(upstream).is_some_and(|policy| policy.on_unreachable == OnUnreachable::Reject)
}

fn rejection(error: RightError) -> Rejection {
    match error {
        RightError::Busy => Rejection::MetadataBusy,
        RightError::Unconfirmed | RightError::OlderReplica => Rejection::RightUnavailable(Duration::ZERO),
        RightError::Unsettled(left) => Rejection::RightUnavailable(left),
        RightError::Lost => Rejection::RightLost,
        RightError::Outdated => Rejection::OutdatedState,
    }
}
