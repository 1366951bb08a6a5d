//! ListSessions: conditions, order and pages.

use std::cmp::Ordering;

use prost_types::Timestamp;

use super::authority::Caller;
use super::error::ApiError;
use super::job::Job;
use super::messages::{ListDetails, ListSessionsRequest, ListSessionsResponse, Query};
use super::operations::may_read;
use super::store::{Record, State, timestamp};

/// The most sessions on one page, and the default.
const MOST: usize = 1_000;
const USUAL: usize = 100;

/// Lists the sessions that the caller may read and that fulfil all conditions.
pub(super) fn list_sessions(job: &Job<'_>, request: ListSessionsRequest) -> Result<ListSessionsResponse, ApiError> {
    let store = job.instance.store();
    let page = request.query.unwrap_or_default();
    let conditions: Vec<&Query> = request.queries.iter().filter_map(|query| query.query.as_ref()).collect();
    let mut found: Vec<&Record> = store
        .sessions
        .values()
        .filter(|record| record.state == State::Active && !record.gone && may_read(&job.caller, record).is_ok())
        .filter(|record| conditions.iter().all(|condition| holds(condition, record, &job.caller)))
        .collect();
    found.sort_by_key(|record| record.created);
    if !page.asc {
        found.reverse();
    }
    let limit = match usize::try_from(page.limit).unwrap_or(MOST) {
        0 => USUAL,
        limit => limit.min(MOST),
    };
    let details =
        ListDetails { total_result: found.len() as u64, processed_sequence: 0, timestamp: Some(timestamp(job.now)) };
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let sessions = found.into_iter().skip(offset).take(limit).map(|record| record.session(job.version)).collect();
    Ok(ListSessionsResponse { details: Some(details), sessions })
}

fn holds(condition: &Query, record: &Record, caller: &Caller) -> bool {
    match condition {
        Query::Ids(query) => query.ids.contains(&record.id),
        Query::UserId(query) => record.user_id() == Some(query.id.as_str()),
        Query::CreationDate(query) => {
            compare(query.method, Some(timestamp(record.created)), query.creation_date.as_ref())
        }
        // Without an id: the caller's own.
        Query::Creator(query) => record.creator == *query.id.as_ref().unwrap_or(&caller.user_id),
        Query::UserAgent(query) => {
            let fingerprint = record.agent.as_ref().and_then(|agent| agent.fingerprint_id.as_ref());
            fingerprint == query.fingerprint_id.as_ref()
        }
        Query::ExpirationDate(query) => {
            compare(query.method, record.expires.map(timestamp), query.expiration_date.as_ref())
        }
    }
}

/// `zitadel.v1.TimestampQueryMethod`.
fn compare(method: i32, own: Option<Timestamp>, other: Option<&Timestamp>) -> bool {
    let Some((own, other)) = own.zip(other) else {
        return false;
    };
    let order = (own.seconds, own.nanos).cmp(&(other.seconds, other.nanos));
    match method {
        1 => order == Ordering::Greater,
        2 => order != Ordering::Less,
        3 => order == Ordering::Less,
        4 => order != Ordering::Greater,
        _ => order == Ordering::Equal,
    }
}
