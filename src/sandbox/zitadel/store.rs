//! The state of the instance: sessions, one user who can log in, and the mails that were sent.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use prost_types::Timestamp;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::call::Version;
use super::error::{ApiError, Code};
use super::messages::{Details, Factors, Session, UserAgent, UserFactor};

/// A session token is a compact JWE since release 4.14; this is its header.
const TOKEN_HEADER: &str = r#"{"alg":"A256GCMKW","enc":"A256GCM"}"#;

/// The state of the instance.
pub(super) struct Store {
    pub(super) random: Random,
    pub(super) instance_id: String,
    pub(super) org_id: String,
    pub(super) user: User,
    /// The claims of opaque access tokens, by token.
    pub(super) opaque: BTreeMap<String, Map<String, Value>>,
    pub(super) sessions: BTreeMap<String, Record>,
    pub(super) mails: Vec<Mail>,
    /// How many wrong passwords lock the user; unlimited if `None`.
    pub(super) password_attempts: Option<i32>,
}

/// A mail with a one-time code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The session that it is for.
    pub session_id: String,
    /// Its link: the template of the request, filled in.
    pub url: String,
    /// The code.
    pub code: String,
}

/// The user who can log in.
pub(super) struct User {
    pub(super) id: String,
    pub(super) login_name: String,
    pub(super) display_name: String,
    pub(super) failed_attempts: i32,
    pub(super) active: bool,
    pub(super) locked: bool,
}

/// The state of a session in the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Never created. It can have events nevertheless, since ZITADEL does not check.
    Unspecified,
    Active,
    Terminated,
}

/// A session.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) state: State,
    pub(super) creator: String,
    pub(super) created: SystemTime,
    pub(super) changed: SystemTime,
    pub(super) sequence: u64,
    pub(super) factors: Factors,
    pub(super) metadata: BTreeMap<String, Vec<u8>>,
    pub(super) agent: Option<UserAgent>,
    pub(super) expires: Option<SystemTime>,
    pub(super) token: Option<String>,
    pub(super) pending: Pending,
    /// Whether reads no longer find it, since its user was removed, deactivated or locked.
    pub(super) gone: bool,
}

/// Challenges without a check so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    pub(super) sms: Option<String>,
    pub(super) email: Option<String>,
    pub(super) web_auth_n: bool,
}

impl Store {
    pub(super) fn new(mut random: Random) -> Self {
        let user = User {
            id: random.id(),
            login_name: "ada@example.com".to_owned(),
            display_name: "Ada Lovelace".to_owned(),
            failed_attempts: 0,
            active: true,
            locked: false,
        };
        let (instance_id, org_id) = (random.id(), random.id());
        Self {
            instance_id,
            org_id,
            user,
            sessions: BTreeMap::new(),
            opaque: BTreeMap::new(),
            mails: Vec::new(),
            password_attempts: None,
            random,
        }
    }

    /// The session as reads find it.
    pub(super) fn visible(&self, id: &str) -> Option<&Record> {
        self.sessions.get(id).filter(|record| record.state == State::Active && !record.gone)
    }

    /// A session to write events to; a new one if the id is unknown.
    pub(super) fn writable(&self, id: &str, now: SystemTime) -> Record {
        let unknown = || Record::new(id, State::Unspecified, "", now);
        self.sessions.get(id).cloned().unwrap_or_else(unknown)
    }

    /// Gives the session a new token; the previous one becomes invalid.
    pub(super) fn renew_token(&mut self, record: &mut Record) -> String {
        let header = URL_SAFE_NO_PAD.encode(TOKEN_HEADER);
        let parts: Vec<String> = [64, 16, 120, 22].into_iter().map(|length| self.random.text(length)).collect();
        let token = format!("{header}.{}", parts.join("."));
        record.token = Some(token.clone());
        token
    }

    /// The factor of the user who can log in.
    pub(super) fn user_factor(&self, now: SystemTime) -> UserFactor {
        UserFactor {
            verified_at: Some(timestamp(now)),
            id: self.user.id.clone(),
            login_name: self.user.login_name.clone(),
            display_name: self.user.display_name.clone(),
            organization_id: self.org_id.clone(),
        }
    }

    /// The details in the response to a change.
    pub(super) fn details(&self, record: &Record) -> Option<Details> {
        Some(Details {
            sequence: record.sequence,
            change_date: Some(timestamp(record.changed)),
            resource_owner: self.instance_id.clone(),
            creation_date: None,
        })
    }

    /// Deactivates the user and hides the user's sessions.
    pub(super) fn forget_user(&mut self) {
        self.user.active = false;
        self.hide_sessions();
    }

    /// Locks the user and hides the user's sessions.
    pub(super) fn lock_user(&mut self) {
        self.user.locked = true;
        self.hide_sessions();
    }

    /// Hides the user's sessions from reads. Their events stay.
    fn hide_sessions(&mut self) {
        let id = self.user.id.clone();
        for record in self.sessions.values_mut() {
            record.gone |= record.user_id() == Some(id.as_str());
        }
    }
}

impl Record {
    pub(super) fn new(id: &str, state: State, creator: &str, now: SystemTime) -> Self {
        Self {
            id: id.to_owned(),
            state,
            creator: creator.to_owned(),
            created: now,
            changed: now,
            sequence: 0,
            factors: Factors::default(),
            metadata: BTreeMap::new(),
            agent: None,
            expires: None,
            token: None,
            pending: Pending::default(),
            gone: false,
        }
    }

    /// The user that was checked.
    pub(super) fn user_id(&self) -> Option<&str> {
        self.factors.user.as_ref().map(|user| user.id.as_str())
    }

    pub(super) fn expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Whether this is the session's current token.
    pub(super) fn has_token(&self, token: &str) -> bool {
        self.token.as_deref() == Some(token)
    }

    /// Rejects a step that needs to know the user.
    pub(super) fn need_user(&self, id: &str) -> Result<(), ApiError> {
        if self.user_id().is_some() {
            return Ok(());
        }
        Err(ApiError::new(Code::FailedPrecondition, id, "User ID missing"))
    }

    /// The session as this version of the API shows it.
    pub(super) fn session(&self, version: Version) -> Session {
        let mut factors = self.factors.clone();
        let any = factors != Factors::default();
        if version == Version::V2Beta {
            factors.recovery_code = None;
        }
        Session {
            id: self.id.clone(),
            creation_date: Some(timestamp(self.created)),
            change_date: Some(timestamp(self.changed)),
            sequence: self.sequence,
            factors: any.then_some(factors),
            metadata: self.metadata.clone(),
            user_agent: self.agent.clone(),
            expiration_date: self.expires.map(timestamp),
        }
    }
}

/// Derives ids and secrets from a seed.
pub(super) struct Random {
    seed: [u8; 32],
    count: u64,
}

impl Random {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self { seed, count: 0 }
    }

    /// An id as ZITADEL makes them: 18 digits, growing.
    pub(super) fn id(&mut self) -> String {
        let [low, ..] = self.bytes();
        (312_000_000_000_000_000 + self.count * 65_537 + u64::from(low)).to_string()
    }

    /// A one-time code of digits.
    pub(super) fn code(&mut self) -> String {
        let number =
            self.bytes().into_iter().fold(0_u64, |number, byte| (number * 256 + u64::from(byte)) % 100_000_000);
        format!("{number:08}")
    }

    /// A secret of letters that need no escaping.
    pub(super) fn text(&mut self, length: usize) -> String {
        let mut text = String::new();
        while text.len() < length {
            text.push_str(&URL_SAFE_NO_PAD.encode(self.bytes()));
        }
        text.truncate(length);
        text
    }

    fn bytes(&mut self) -> [u8; 32] {
        self.count += 1;
        let mut input = self.seed.to_vec();
        input.extend(self.count.to_be_bytes());
        digest(&SHA256, &input).as_ref().try_into().unwrap_or_default()
    }
}

/// A time on the wire, in whole microseconds as the database has them.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from(UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_micros() * 1_000))
}
