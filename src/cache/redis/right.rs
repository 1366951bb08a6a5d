//! The exclusive right of a session.

use super::entry;
use super::scripts::RIGHT;
use super::store::RedisStore;
use crate::coherence::exclusive::{RESERVED, RightReply, RightStep};
use crate::coherence::reading::ConnectionId;
use crate::coherence::{DEFAULT_TENANT, Millis, Token};
use crate::telemetry::StoreFailure;
use redis::Value;

impl RedisStore {
    pub(super) async fn try_right(
        &self,
        session: &[u8; 16],
        writer: Token,
        step: RightStep,
    ) -> Result<(RightReply, ConnectionId), StoreFailure> {
        let (name, tenant, lifetime) = match step {
            RightStep::Take { tenant, lifetime } => ("take", tenant, lifetime),
            RightStep::Renew { lifetime } => ("renew", DEFAULT_TENANT, lifetime),
            RightStep::GiveBack => ("give_back", DEFAULT_TENANT, 0),
            RightStep::End { tenant } => ("end", tenant, 0),
        };
        let key = entry::right(&entry::state(&self.namespace, session));
        let (writer, tenant) = (entry::token(writer), entry::caller(&tenant));
        let arguments = [writer.as_str(), name, &tenant, &lifetime.to_string(), &RESERVED.to_string()];
        let (value, connection_id) = self.run(&RIGHT, &[&key], &arguments, self.write_deadline()).await?;
        Ok((reply(&value).ok_or(StoreFailure::ProtocolError)?, connection_id))
    }
}

fn reply(value: &Value) -> Option<RightReply> {
    let Value::Array(parts) = value else { return None };
    let [Value::Int(held), Value::Int(left)] = parts.as_slice() else { return None };
    let left = Millis::try_from(*left).ok()?;
    match held {
        0 => Some(RightReply::NotHeld(left)),
        1 => Some(RightReply::Held(left)),
        _ => None,
    }
}
