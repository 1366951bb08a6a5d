//! The tenant's users, sessions and refresh tokens, in memory.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Map, Value, json};

use super::token::CLIENT;

/// The audience of every refresh token.
pub(super) const AUDIENCE: &str = "https://orders.example.com/";
const DAY: Duration = Duration::from_secs(86_400);
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

/// The state of the tenant.
pub(super) struct Store {
    ids: Ids,
    sample_user: String,
    pub(super) users: BTreeMap<String, Map<String, Value>>,
    pub(super) sessions: Records,
    pub(super) refresh_tokens: Records,
}

/// A session or a refresh token.
pub(super) struct Record {
    pub(super) serial: u64,
    pub(super) user_id: String,
    /// The session of a refresh token.
    pub(super) session_id: Option<String>,
    created: SystemTime,
    updated: SystemTime,
    metadata: Option<Map<String, Value>>,
    gone_at: Option<Instant>,
}

/// Sessions or refresh tokens by id.
#[derive(Default)]
pub(super) struct Records(HashMap<String, Record>);

/// Which records a list shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    /// The serial number after which it begins.
    pub(super) after: u64,
    /// How many records it skips.
    pub(super) skip: usize,
    /// How many records it has at most.
    pub(super) take: usize,
}

/// Part of a list, the serial number after which the next part begins, and how many records there are in all parts.
pub(super) struct Page<'a> {
    pub(super) records: Vec<(&'a str, &'a Record)>,
    pub(super) next: Option<u64>,
    pub(super) total: usize,
}

impl Store {
    pub(super) fn new(seed: &[u8]) -> Self {
        let mut ids = Ids { key: hmac::Key::new(hmac::HMAC_SHA256, seed), made: 0 };
        let sample_user = format!("auth0|{}", ids.hexadecimal(12));
        let users = BTreeMap::from([(sample_user.clone(), user(&sample_user))]);
        let (sessions, refresh_tokens) = (Records::default(), Records::default());
        Self { ids, sample_user, users, sessions, refresh_tokens }
    }

    pub(super) fn sample_user(&self) -> &str {
        &self.sample_user
    }

    /// A session of the sample user, who logged in ten minutes ago, and its refresh token.
    pub(super) fn create_session(&mut self) -> String {
        let created = SystemTime::now() - Duration::from_secs(600);
        // 32 and 24 characters: session ids have 32 in every documented sample, refresh-token ids at most 30.
        let (id, token_id) = (self.ids.base64url(24), self.ids.base64url(18));
        let mut record = Record {
            serial: self.ids.made,
            user_id: self.sample_user.clone(),
            session_id: Some(id.clone()),
            created,
            updated: created,
            metadata: None,
            gone_at: None,
        };
        self.refresh_tokens.0.insert(token_id, record.clone_bare());
        record.session_id = None;
        record.metadata = Some(Map::from_iter([("channel".to_owned(), json!("web"))]));
        self.sessions.0.insert(id.clone(), record);
        id
    }
}

impl Records {
    pub(super) fn get(&self, id: &str, now: Instant) -> Option<&Record> {
        self.0.get(id).filter(|record| record.lives(now))
    }

    /// Replaces the metadata.
    pub(super) fn update(&mut self, id: &str, metadata: Option<Map<String, Value>>, now: Instant) -> Option<&Record> {
        let record = self.0.get_mut(id).filter(|record| record.lives(now))?;
        record.metadata = metadata;
        // Always later than before, even within the same millisecond or after the clock went back.
        record.updated = SystemTime::now().max(record.updated + Duration::from_millis(1));
        Some(record)
    }

    /// Ends one record at a given time.
    pub(super) fn end(&mut self, id: &str, at: Instant) {
        if let Some(record) = self.0.get_mut(id) {
            record.end(at);
        }
    }

    /// Ends all records that `which` selects, and removes those that have ended.
    pub(super) fn end_where(&mut self, now: Instant, at: Instant, which: impl Fn(&str, &Record) -> bool) {
        self.0.retain(|id, record| {
            if which(id, record) {
                record.end(at);
            }
            record.lives(now)
        });
    }

    /// The records at a position, oldest first.
    pub(super) fn page(&self, at: Position, now: Instant, which: impl Fn(&Record) -> bool) -> Page<'_> {
        let mut records: Vec<(&str, &Record)> = self
            .0
            .iter()
            .map(|(id, record)| (id.as_str(), record))
            .filter(|(_, record)| record.lives(now) && which(record))
            .collect();
        let total = records.len();
        records.retain(|(_, record)| record.serial > at.after);
        records.sort_unstable_by_key(|(_, record)| record.serial);
        records.drain(..at.skip.min(records.len()));
        let more = records.len() > at.take;
        records.truncate(at.take);
        let next = records.last().filter(|_| more).map(|(_, record)| record.serial);
        Page { records, next, total }
    }
}

impl Record {
    /// Sets the end; the earliest one counts.
    fn end(&mut self, at: Instant) {
        self.gone_at = Some(self.gone_at.map_or(at, |set| set.min(at)));
    }

    fn lives(&self, now: Instant) -> bool {
        self.gone_at.is_none_or(|gone_at| now < gone_at)
    }

    /// A copy without metadata.
    fn clone_bare(&self) -> Self {
        Self { user_id: self.user_id.clone(), session_id: self.session_id.clone(), metadata: None, ..*self }
    }

    /// The session object (Auth0's OpenAPI document). The metadata key is absent when unset, as in the recorded
    /// responses.
    pub(super) fn session(&self, id: &str) -> Value {
        let (created, seen) = (timestamp(self.created), timestamp(self.created + Duration::from_secs(420)));
        let mut session = json!({
            "id": id,
            "user_id": self.user_id,
            "created_at": created,
            "updated_at": timestamp(self.updated),
            "authenticated_at": created,
            "idle_expires_at": timestamp(self.created + 3 * DAY),
            "expires_at": timestamp(self.created + 7 * DAY),
            "last_interacted_at": seen,
            "device": device(),
            "clients": [{"client_id": CLIENT}],
            "authentication": {"methods": [
                {"name": "pwd", "timestamp": created},
                {"name": "mfa", "timestamp": created, "type": "otp"},
            ]},
            "cookie": {"mode": "persistent"},
        });
        self.add_metadata(&mut session, "session_metadata");
        session
    }

    /// The refresh-token object (Auth0's OpenAPI document).
    pub(super) fn refresh_token(&self, id: &str) -> Value {
        let created = timestamp(self.created);
        let mut token = json!({
            "id": id,
            "user_id": self.user_id,
            "created_at": created,
            "idle_expires_at": timestamp(self.created + 15 * DAY),
            "expires_at": timestamp(self.created + 30 * DAY),
            "last_exchanged_at": created,
            "device": device(),
            "client_id": CLIENT,
            "session_id": self.session_id,
            "rotating": true,
            "resource_servers": [{"audience": AUDIENCE, "scopes": "openid offline_access"}],
        });
        self.add_metadata(&mut token, "refresh_token_metadata");
        token
    }

    fn add_metadata(&self, object: &mut Value, name: &str) {
        if let (Some(metadata), Value::Object(object)) = (&self.metadata, object) {
            object.insert(name.to_owned(), Value::Object(metadata.clone()));
        }
    }
}

fn device() -> Value {
    json!({
        "initial_user_agent": BROWSER,
        "initial_ip": "203.0.113.7",
        "initial_asn": "64496",
        "last_user_agent": BROWSER,
        "last_ip": "203.0.113.41",
        "last_asn": "64496",
    })
}

fn user(id: &str) -> Map<String, Value> {
    let bare_id = id.split_once('|').map_or(id, |(_, bare_id)| bare_id);
    let joined = timestamp(SystemTime::now() - 400 * DAY);
    [
        ("user_id", json!(id)),
        ("email", json!("ada@example.com")),
        ("email_verified", json!(true)),
        ("name", json!("Ada Example")),
        ("nickname", json!("ada")),
        ("created_at", json!(joined)),
        ("updated_at", json!(joined)),
        ("user_metadata", json!({"language": "en"})),
        (
            "identities",
            json!([{
                "connection": "Username-Password-Authentication",
                "provider": "auth0",
                "user_id": bare_id,
                "isSocial": false,
            }]),
        ),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

/// Derives ids from the seed.
struct Ids {
    key: hmac::Key,
    made: u64,
}

impl Ids {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.made += 1;
        let tag = hmac::sign(&self.key, &self.made.to_be_bytes());
        tag.as_ref().iter().copied().take(count).collect()
    }

    fn base64url(&mut self, count: usize) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes(count))
    }

    fn hexadecimal(&mut self, count: usize) -> String {
        self.bytes(count).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A time as Auth0 writes it: `2024-05-01T13:00:30.380Z`.
pub(super) fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let millisecond = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March here, so that the leap day is the
/// last of its year; 719,468 days lie between 0000-03-01 and 1970-01-01.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
