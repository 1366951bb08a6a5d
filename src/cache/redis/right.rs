//! The exclusive right of a session.

use super::entry;
use super::scripts::RIGHT;
use super::store::RedisStore;
use crate::coherence::exclusive::{RESERVED, RightReply, RightStep};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{FLOOR_KEPT, Millis, Token};
use crate::telemetry::StoreFailure;
use redis::Value;

impl RedisStore {
    pub(super) async fn try_right(
        &self,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreFailure> {
        let state = entry::state(&self.namespace, session);
        let (writer, tenant) = (entry::token(writer), entry::caller(&step.tenant()));
        let keys = [entry::right(&state), entry::newest(&state, &tenant)];
        let version = step.version().map(|version| format!("{version:020}")).unwrap_or_default();
        let [lifetime, reserved, kept] = [step.lifetime(), RESERVED, FLOOR_KEPT].map(|millis| millis.to_string());
        let arguments = [&writer, step.name(), &tenant, &lifetime, &reserved, &version, &kept];
        let is_read = matches!(step, RightStep::Saw { .. });
        let deadline = if is_read { self.read_deadline() } else { self.write_deadline() };
        let _permit = is_read.then(|| self.permits.try_acquire()).transpose().map_err(|_| StoreFailure::Busy)?;
        let (value, connection_id) = self.run(&RIGHT, &[&keys[0], &keys[1]], &arguments, deadline).await?;
        Ok((reply(&value).ok_or(StoreFailure::ProtocolError)?, connection_id))
    }
}

fn reply(value: &Value) -> Option<RightReply> {
    let Value::Array(parts) = value else { return None };
    let [Value::Int(held), Value::Int(left), Value::BulkString(newest)] = parts.as_slice() else { return None };
    let left = Millis::try_from(*left).ok()?;
    let newest = match newest.as_slice() {
        b"" => None,
        digits => Some(std::str::from_utf8(digits).ok()?.parse().ok()?),
    };
    match held {
        0 => Some(RightReply::NotHeld(left)),
        1 => Some(RightReply::Held { left, newest }),
        _ => None,
    }
}
