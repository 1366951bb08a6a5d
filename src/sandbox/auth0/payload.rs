//! Reading and checking what a request brings: ids, queries and bodies, rejected with the texts of the z-schema
//! validator, which Auth0 uses (recorded errors of the API).

use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Map, Value};

use super::response::ApiResponse;

/// The largest body that the tenant reads: the default limit of the server framework that Auth0 appears to use.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// Decoded key-value pairs.
pub(super) type Pairs = Vec<(String, String)>;

/// Limits of `session_metadata` and `refresh_token_metadata` (Auth0's page "Session metadata").
const MAX_PROPERTIES: usize = 25;
const MAX_CHARACTERS: usize = 255;

/// What the `{id}` of a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {
    None,
    Session,
    RefreshToken,
    User,
}

/// The part of a request that is invalid.
#[derive(Debug, Clone, Copy)]
pub(super) enum RequestPart {
    Path,
    Query,
    Payload,
}

/// The rejection of a request: `what` is the validator's message, `on` the property and its description in the schema.
/// Faults of the outermost object name no property.
pub(super) fn fault(part: RequestPart, what: &str, on: Option<(&str, &str)>) -> ApiResponse {
    let (start, code) = match part {
        RequestPart::Path => ("Path", "invalid_uri"),
        RequestPart::Query => ("Query", "invalid_query_string"),
        RequestPart::Payload => ("Payload", "invalid_body"),
    };
    let on = on.map(|(name, description)| match description {
        "" => format!(" on property {name}."),
        _ => format!(" on property {name} ({description})."),
    });
    let message = format!("{start} validation error: '{what}'{}", on.unwrap_or_default());
    ApiResponse::bad_request(&message, Some(code))
}

/// Checks an id from a path. Lengths and the format of session ids are declared (Auth0's page "Session metadata");
/// which characters that format has is what the documented samples show.
pub(super) fn check_id(kind: Id, id: &str) -> Result<(), ApiResponse> {
    let (format, max, description) = match kind {
        Id::None => return Ok(()),
        Id::User => return check_user_id(id),
        Id::Session => ("session-id", 50, "ID of the session."),
        Id::RefreshToken => ("refresh-token-id", 30, "The ID of the refresh token."),
    };
    if id.len() <= max && is_word(id) {
        return Ok(());
    }
    let what = format!("Object didn't pass validation for format {format}: {id}");
    Err(fault(RequestPart::Path, &what, Some(("id", description))))
}

fn check_user_id(id: &str) -> Result<(), ApiResponse> {
    let on = Some(("id", "ID of the user."));
    if units(id) > 300 {
        let what = format!("String is too long ({} chars), maximum 300", units(id));
        return Err(fault(RequestPart::Path, &what, on));
    }
    // Auth0's pattern for it is `^.+\|.+$`.
    match id.split_once('|') {
        Some((connection, user)) if !connection.is_empty() && !user.is_empty() => Ok(()),
        _ => Err(fault(RequestPart::Path, &format!("String does not match pattern ^.+\\|.+$: {id}"), on)),
    }
}

/// Rejects parameters or members that are not in `known`.
pub(super) fn only<'a>(
    part: RequestPart,
    names: impl Iterator<Item = &'a String>,
    known: &[&str],
) -> Result<(), ApiResponse> {
    let unknown: Vec<&str> = names.map(String::as_str).filter(|name| !known.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(fault(part, &format!("Additional properties not allowed: {}", unknown.join(",")), None))
}

/// Reads a body as an object: JSON, or a form, which Auth0 declares for all its body endpoints (Auth0's OpenAPI
/// document).
pub(super) fn object(parts: &Parts, body: &[u8]) -> Result<Map<String, Value>, ApiResponse> {
    let content_type = parts.headers.get(CONTENT_TYPE).map(|value| value.as_bytes().to_ascii_lowercase());
    let media_type = content_type.as_deref().and_then(|value| value.split(|byte| *byte == b';').next());
    let value = match media_type.map(<[u8]>::trim_ascii) {
        Some(b"application/x-www-form-urlencoded") => form(body),
        None | Some(b"application/json") => serde_json::from_slice(body).ok(),
        Some(_) => return Err(ApiResponse::unsupported_media_type()),
    };
    match value {
        Some(Value::Object(object)) => Ok(object),
        Some(other) => Err(fault(RequestPart::Payload, &wrong_type("object", &other), None)),
        None => Err(ApiResponse::bad_request("Invalid request payload JSON format", None)),
    }
}

/// Checks an update whose only member is the metadata object; `None` clears it, as `null` and `{}` do (Auth0's page
/// "Session metadata").
pub(super) fn metadata(
    mut object: Map<String, Value>,
    name: &str,
    owner: &str,
) -> Result<Option<Map<String, Value>>, ApiResponse> {
    only(RequestPart::Payload, object.keys(), &[name])?;
    let metadata = match object.remove(name) {
        None => return Err(fault(RequestPart::Payload, "Too few properties defined (0), minimum 1", None)),
        Some(Value::Null) => return Ok(None),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => {
            let description = description(owner);
            return Err(fault(RequestPart::Payload, &wrong_type("object,null", &other), Some((name, &description))));
        }
    };
    let description = description(owner);
    if metadata.len() > MAX_PROPERTIES {
        let what = format!("Too many properties defined ({}), maximum {MAX_PROPERTIES}", metadata.len());
        return Err(fault(RequestPart::Payload, &what, Some((name, &description))));
    }
    for (key, value) in &metadata {
        check_pair(name, &description, key, value)?;
    }
    Ok(Some(metadata).filter(|metadata| !metadata.is_empty()))
}

fn description(owner: &str) -> String {
    format!(
        "Metadata associated with the {owner}, in the form of an object with string values (max 255 chars). Maximum \
         of 25 metadata properties allowed."
    )
}

fn check_pair(name: &str, description: &str, key: &str, value: &Value) -> Result<(), ApiResponse> {
    if !is_word(key) {
        let what = format!("Additional properties not allowed: {key}");
        return Err(fault(RequestPart::Payload, &what, Some((name, description))));
    }
    if units(key) > MAX_CHARACTERS {
        let what = format!("String is too long ({} chars), maximum {MAX_CHARACTERS}", units(key));
        return Err(fault(RequestPart::Payload, &what, Some((name, description))));
    }
    let property = format!("{name}.{key}");
    let Value::String(text) = value else {
        return Err(fault(RequestPart::Payload, &wrong_type("string", value), Some((&property, ""))));
    };
    if units(text) > MAX_CHARACTERS {
        let what = format!("String is too long ({} chars), maximum {MAX_CHARACTERS}", units(text));
        return Err(fault(RequestPart::Payload, &what, Some((&property, ""))));
    }
    Ok(())
}

/// An optional text member of a body.
pub(super) fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ApiResponse> {
    match object.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(wrong_member("string", other, name)),
    }
}

/// The rejection of a member of the wrong type.
pub(super) fn wrong_member(expected: &str, found: &Value, name: &str) -> ApiResponse {
    fault(RequestPart::Payload, &wrong_type(expected, found), Some((name, "")))
}

/// The validator's message for a value of the wrong type.
pub(super) fn wrong_type(expected: &str, found: &Value) -> String {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("Expected type {expected} but found type {found}")
}

/// Letters, digits, `_` and `-`: the characters of ids and of metadata keys (Auth0's page "Session metadata").
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// A text's length as JavaScript counts it: UTF-16 code units, the strictest reading of "characters" (Auth0's page
/// "Session metadata").
fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// A form as an object; `a[b]=c` makes `{"a":{"b":"c"}}`.
fn form(body: &[u8]) -> Option<Value> {
    let mut object = Map::new();
    for (key, value) in pairs(std::str::from_utf8(body).ok()?)? {
        let mut steps: Vec<&str> = key.split('[').map(|step| step.strip_suffix(']').unwrap_or(step)).collect();
        let last = steps.pop()?;
        let mut inner = &mut object;
        for step in steps {
            let below = inner.entry(step).or_insert_with(|| Value::Object(Map::new()));
            inner = below.as_object_mut()?;
        }
        inner.insert(last.to_owned(), Value::String(value));
    }
    Some(Value::Object(object))
}

/// The decoded pairs of a query or form, or `None` if one is malformed.
pub(super) fn pairs(text: &str) -> Option<Pairs> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decode(key, true)?, percent_decode(value, true)?))
        })
        .collect()
}

/// Decodes percent-escapes, and with `plus` also `+` as a space; `None` unless the result is UTF-8.
pub(super) fn percent_decode(text: &str, plus: bool) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hexadecimal(bytes.next()?)? * 16 + hexadecimal(bytes.next()?)?,
            b'+' if plus => b' ',
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    u8::try_from(char::from(digit).to_digit(16)?).ok()
}
