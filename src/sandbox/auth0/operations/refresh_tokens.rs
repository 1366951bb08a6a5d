//! Refresh tokens.

use serde_json::{Map, Value};

use super::super::payload::{self, RequestPart};
use super::super::response::ApiResponse;
use super::super::store::{AUDIENCE, Record};
use super::super::token::CLIENT;
use super::job::Job;
use super::paging::{LIST, list};

const REFRESH_TOKEN_LIST: &[&str] = &["user_id", "client_id", "from", "take", "fields", "include_fields"];

impl Job<'_> {
    pub(super) fn list_refresh_tokens(&self) -> Result<ApiResponse, ApiResponse> {
        payload::only(RequestPart::Query, self.query.iter().map(|(name, _)| name), REFRESH_TOKEN_LIST)?;
        let position = self.position()?;
        let Some(user) = self.parameter("user_id") else {
            return Err(payload::fault(RequestPart::Query, "Missing required property: user_id", None));
        };
        let client_fits = self.parameter("client_id").is_none_or(|client| client == CLIENT);
        let store = self.tenant.0.store.lock();
        let tokens = &store.refresh_tokens;
        let page = tokens.page(position, self.now, |token| client_fits && token.user_id == user);
        Ok(list("refresh_tokens", page, None, Record::refresh_token))
    }

    pub(super) fn get_refresh_token(&self) -> Result<ApiResponse, ApiResponse> {
        let store = self.tenant.0.store.lock();
        let token = store.refresh_tokens.get(self.id, self.now).ok_or_else(no_refresh_token)?;
        Ok(ApiResponse::ok(token.refresh_token(self.id)))
    }

    pub(super) fn update_refresh_token(&self) -> Result<ApiResponse, ApiResponse> {
        let metadata = payload::metadata(self.object()?, "refresh_token_metadata", "refresh token")?;
        let mut store = self.tenant.0.store.lock();
        let token = store.refresh_tokens.update(self.id, metadata, self.now).ok_or_else(no_refresh_token)?;
        Ok(ApiResponse::ok(token.refresh_token(self.id)))
    }

    /// Never 404.
    pub(super) fn delete_refresh_token(&self) -> ApiResponse {
        self.tenant.0.store.lock().refresh_tokens.end(self.id, self.end());
        ApiResponse::accepted()
    }

    /// Ends the tokens with the given ids, or those of a user, perhaps only for one client and audience.
    pub(super) fn revoke_refresh_tokens(&self) -> Result<ApiResponse, ApiResponse> {
        let object = self.object()?;
        payload::only(RequestPart::Payload, object.keys(), &["ids", "user_id", "client_id", "audience"])?;
        let ids = ids(&object)?;
        let (user, client) = (payload::text(&object, "user_id")?, payload::text(&object, "client_id")?);
        let audience = payload::text(&object, "audience")?;
        // The combinations that the description of the body names.
        if !matches!(
            (ids.is_some(), user.is_some(), client.is_some(), audience.is_some()),
            (true, false, false, false) | (false, true, _, false) | (false, true, true, true)
        ) {
            let what = "No enum match: one of ids; user_id; user_id and client_id; user_id, client_id and audience";
            return Err(payload::fault(RequestPart::Payload, what, None));
        }
        let client_fits = client.is_none_or(|client| client == CLIENT) && audience.is_none_or(|one| one == AUDIENCE);
        let mut store = self.tenant.0.store.lock();
        store.refresh_tokens.end_where(self.now, self.end(), |id, token| {
            let listed = ids.as_ref().is_some_and(|ids| ids.contains(&id));
            listed || (client_fits && user == Some(token.user_id.as_str()))
        });
        Ok(ApiResponse::accepted())
    }

    pub(super) fn list_user_refresh_tokens(&self) -> Result<ApiResponse, ApiResponse> {
        payload::only(RequestPart::Query, self.query.iter().map(|(name, _)| name), LIST)?;
        self.check_flag("include_totals")?;
        let position = self.position()?;
        let store = self.user_store()?;
        let mut page = store.refresh_tokens.page(position, self.now, |token| token.user_id == self.id);
        // As recorded: a page names its last record as the cursor even if it is the last page.
        page.next = page.next.or_else(|| page.records.last().map(|(_, token)| token.serial));
        let total = self.total(&page);
        Ok(list("tokens", page, total, Record::refresh_token))
    }

    pub(super) fn delete_user_refresh_tokens(&self) -> Result<ApiResponse, ApiResponse> {
        let mut store = self.user_store()?;
        store.refresh_tokens.end_where(self.now, self.end(), |_, token| token.user_id == self.id);
        Ok(ApiResponse::accepted())
    }
}

/// The optional `ids` of a body, at most 100.
fn ids(object: &Map<String, Value>) -> Result<Option<Vec<&str>>, ApiResponse> {
    let list = match object.get("ids") {
        None => return Ok(None),
        Some(Value::Array(list)) => list,
        Some(other) => return Err(payload::wrong_member("array", other, "ids")),
    };
    if list.is_empty() || list.len() > 100 {
        let (size, bound) = if list.is_empty() { ("short", "minimum 1") } else { ("long", "maximum 100") };
        let what = format!("Array is too {size} ({}), {bound}", list.len());
        return Err(payload::fault(RequestPart::Payload, &what, Some(("ids", ""))));
    }
    let id = |item| Value::as_str(item).ok_or_else(|| payload::wrong_member("string", item, "ids"));
    list.iter().map(id).collect::<Result<_, _>>().map(Some)
}

fn no_refresh_token() -> ApiResponse {
    ApiResponse::not_found("The refresh token does not exist.", None)
}
