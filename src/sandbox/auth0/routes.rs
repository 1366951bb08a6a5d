//! The endpoints: the session surface, a few user endpoints and `GET /clients`.

use http::Method;

use super::payload::{self, Id, Pairs, percent_decode};

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    GetSession,
    UpdateSession,
    DeleteSession,
    RevokeSession,
    ListUserSessions,
    DeleteUserSessions,
    RevokeAccess,
    ListRefreshTokens,
    GetRefreshToken,
    UpdateRefreshToken,
    DeleteRefreshToken,
    RevokeRefreshTokens,
    ListUserRefreshTokens,
    DeleteUserRefreshTokens,
    GetUser,
    UpdateUser,
    DeleteUser,
    ListClients,
}

/// An endpoint.
pub(super) struct Endpoint {
    pub(super) operation: Operation,
    pub(super) name: &'static str,
    method: Method,
    /// Below `/api/v2`, with `{}` for the id.
    path: &'static [&'static str],
    /// The caller needs any one of these: Auth0's rejection says "expected any of".
    pub(super) scopes: &'static [&'static str],
    pub(super) id: Id,
}

/// A request for an endpoint.
pub(super) struct Call {
    pub(super) endpoint: &'static Endpoint,
    pub(super) id: String,
}

/// The result of routing.
pub(super) enum Route {
    /// Not below `/api/v2`.
    Outside,
    /// Below `/api/v2`, but there is no such endpoint.
    Unknown,
    /// The path is not valid percent-encoded UTF-8.
    Malformed,
    /// To an endpoint.
    Known(Call),
}

macro_rules! endpoints {
    ($($operation:ident $name:literal $method:ident [$($part:literal),*] $id:ident [$($scope:literal),*];)*) => {
        &[$(Endpoint {
            operation: Operation::$operation,
            name: $name,
            method: Method::$method,
            path: &[$($part),*],
            scopes: &[$($scope),*],
            id: Id::$id,
        }),*]
    };
}

/// Revoking a session lists two scopes, but its documented rejection names `delete:sessions` only (Auth0's OpenAPI
/// document).
static ENDPOINTS: &[Endpoint] = endpoints! {
    GetSession "get_session" GET ["sessions", "{}"] Session ["read:sessions"];
    UpdateSession "update_session" PATCH ["sessions", "{}"] Session ["update:sessions"];
    DeleteSession "delete_session" DELETE ["sessions", "{}"] Session ["delete:sessions"];
    RevokeSession "revoke_session" POST ["sessions", "{}", "revoke"] Session ["delete:sessions"];
    ListUserSessions "list_user_sessions" GET ["users", "{}", "sessions"] User ["read:sessions"];
    DeleteUserSessions "delete_user_sessions" DELETE ["users", "{}", "sessions"] User ["delete:sessions"];
    RevokeAccess "revoke_access" POST ["users", "{}", "revoke-access"] User
        ["delete:sessions", "delete:refresh_tokens"];
    ListRefreshTokens "list_refresh_tokens" GET ["refresh-tokens"] None ["read:refresh_tokens"];
    GetRefreshToken "get_refresh_token" GET ["refresh-tokens", "{}"] RefreshToken ["read:refresh_tokens"];
    UpdateRefreshToken "update_refresh_token" PATCH ["refresh-tokens", "{}"] RefreshToken
        ["update:refresh_tokens"];
    DeleteRefreshToken "delete_refresh_token" DELETE ["refresh-tokens", "{}"] RefreshToken
        ["delete:refresh_tokens"];
    RevokeRefreshTokens "revoke_refresh_tokens" POST ["refresh-tokens", "revoke"] None ["delete:refresh_tokens"];
    ListUserRefreshTokens "list_user_refresh_tokens" GET ["users", "{}", "refresh-tokens"] User
        ["read:refresh_tokens"];
    DeleteUserRefreshTokens "delete_user_refresh_tokens" DELETE ["users", "{}", "refresh-tokens"] User
        ["delete:refresh_tokens"];
    GetUser "get_user" GET ["users", "{}"] User ["read:users"];
    UpdateUser "update_user" PATCH ["users", "{}"] User ["update:users"];
    DeleteUser "delete_user" DELETE ["users", "{}"] User ["delete:users"];
    ListClients "list_clients" GET ["clients"] None ["read:clients"];
};

/// Finds the endpoint of a request.
pub(super) fn find(method: &Method, path: &str) -> Route {
    // The server framework that Auth0 appears to use handles HEAD like GET.
    let method = if method == Method::HEAD { &Method::GET } else { method };
    let Some(segments) = segments(path) else {
        return if path.starts_with("/api/v2") { Route::Malformed } else { Route::Outside };
    };
    let Some(below) = below_api(&segments) else {
        return Route::Outside;
    };
    for endpoint in ENDPOINTS {
        if endpoint.method != *method {
            continue;
        }
        if let Some(id) = id_in(endpoint.path, below) {
            return Route::Known(Call { endpoint, id });
        }
    }
    Route::Unknown
}

/// Every scope that an endpoint requires.
pub(super) fn all_scopes() -> String {
    let mut scopes: Vec<&str> = ENDPOINTS.iter().flat_map(|endpoint| endpoint.scopes.iter().copied()).collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes.join(" ")
}

/// The pairs of a query string, or `None` if it is malformed.
pub(super) fn query(text: Option<&str>) -> Option<Pairs> {
    payload::pairs(text.unwrap_or_default())
}

fn below_api(segments: &[String]) -> Option<&[String]> {
    match segments {
        [api, version, below @ ..] if api == "api" && version == "v2" => Some(below),
        _ => None,
    }
}

/// The id if the path matches (empty if the endpoint has none). An empty id does not match.
fn id_in(pattern: &[&str], segments: &[String]) -> Option<String> {
    if pattern.len() != segments.len() {
        return None;
    }
    let mut id = String::new();
    for (part, segment) in pattern.iter().zip(segments) {
        match *part {
            "{}" if !segment.is_empty() => id.clone_from(segment),
            part if part == segment => {}
            _ => return None,
        }
    }
    Some(id)
}

/// Splits a path like a server that parses it by the WHATWG URL rules (Node's `URL`): `\` separates like `/`,
/// `.` and `..` are resolved, also as `%2e`, and what remains is decoded part by part.
fn segments(path: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut parts = path.strip_prefix(['/', '\\']).unwrap_or(path).split(['/', '\\']).peekable();
    while let Some(part) = parts.next() {
        let decoded = percent_decode(part, false)?;
        let dots = matches!(decoded.as_str(), "." | "..");
        if decoded == ".." {
            segments.pop();
        }
        // A dot segment at the end leaves a trailing slash behind.
        match (dots, parts.peek()) {
            (false, _) => segments.push(decoded),
            (true, None) => segments.push(String::new()),
            (true, Some(_)) => {}
        }
    }
    Some(segments)
}
