//! Lists and their parameters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::super::payload::{self, RequestPart};
use super::super::response::ApiResponse;
use super::super::store::{Page, Position, Record};
use super::job::Job;

/// Parameters of the lists of a user. `page` and `per_page` are in no description of the API, but older SDKs send them,
/// and the recordings of go-auth0 1.45 (`TestUserManager_ListRefreshTokens`) show that the API accepts them.
pub(super) const LIST: &[&str] = &["include_totals", "from", "take", "page", "per_page"];

impl Job<'_> {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn check_flag(&self, name: &str) -> Result<(), ApiResponse> {
        match self.parameter(name) {
            None | Some("true" | "false") => Ok(()),
            Some(_) => {
                let what = "Expected type boolean but found type string";
                Err(payload::fault(RequestPart::Query, what, Some((name, ""))))
            }
        }
    }

    /// Where a list begins and how long it is: `from` is a cursor, `take` 1 to 100, by default 50 (Auth0's OpenAPI
    /// document). An empty cursor counts as absent: its Ruby SDK sends one for the first page.
    pub(super) fn position(&self) -> Result<Position, ApiResponse> {
        let after = match self.parameter("from") {
            None | Some("") => 0,
            Some(cursor) => read_cursor(cursor)
                .ok_or_else(|| payload::fault(RequestPart::Query, "Invalid cursor", Some(("from", ""))))?,
        };
        let take = self.number("take", "Number of results per page. Defaults to 50.", 1, 100)?;
        let per_page = self.number("per_page", "", 0, 100)?;
        let page = self.number("page", "", 0, 1_000)?.unwrap_or(0);
        let size = take.or(per_page).unwrap_or(50);
        Ok(Position { after, skip: page * size, take: size })
    }

    fn number(&self, name: &str, about: &str, least: usize, most: usize) -> Result<Option<usize>, ApiResponse> {
        let what = match self.parameter(name).map(str::parse::<usize>) {
            None => return Ok(None),
            Some(Ok(value)) if value < least => format!("Value {value} is less than minimum {least}"),
            Some(Ok(value)) if value > most => format!("Value {value} is greater than maximum {most}"),
            Some(Ok(value)) => return Ok(Some(value)),
            Some(Err(_)) => "Expected type integer but found type string".to_owned(),
        };
        Err(payload::fault(RequestPart::Query, &what, Some((name, about))))
    }

    /// The total number of records, if the caller requests it.
    pub(super) fn total(&self, page: &Page<'_>) -> Option<usize> {
        (self.parameter("include_totals") == Some("true")).then_some(page.total)
    }
}

pub(super) fn list(
    name: &str,
    page: Page<'_>,
    total: Option<usize>,
    render: fn(&Record, &str) -> Value,
) -> ApiResponse {
    let items: Vec<Value> = page.records.into_iter().map(|(id, record)| render(record, id)).collect();
    let mut body = Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(serial) = page.next {
        body.insert("next".to_owned(), json!(URL_SAFE_NO_PAD.encode(serial.to_string())));
    }
    if let Some(total) = total {
        body.insert("total".to_owned(), json!(total));
    }
    ApiResponse::ok(Value::Object(body))
}

fn read_cursor(cursor: &str) -> Option<u64> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?.parse().ok()
}
