//! Lists and their parameters.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::super::answer::Answer;
use super::super::payload::{self, Place};
use super::super::store::{Page, Record};
use super::Job;

/// Parameters of the lists of a user.
pub(super) const LIST: &[&str] = &["include_totals", "from", "take"];

impl Job<'_> {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn check_flag(&self, name: &str) -> Result<(), Answer> {
        match self.parameter(name) {
            None | Some("true" | "false") => Ok(()),
            Some(_) => {
                let what = "Expected type boolean but found type string";
                Err(payload::fault(Place::Query, what, Some((name, ""))))
            }
        }
    }

    /// Where a list begins and how long it is: `from` is a cursor, `take` 1 to 100, by default 50 (Auth0's OpenAPI document).
    pub(super) fn position(&self) -> Result<(u64, usize), Answer> {
        let after = match self.parameter("from") {
            None => 0,
            Some(cursor) => {
                read_cursor(cursor).ok_or_else(|| payload::fault(Place::Query, "Invalid cursor", Some(("from", ""))))?
            }
        };
        let on = Some(("take", "Number of results per page. Defaults to 50."));
        let what = match self.parameter("take").map(str::parse::<u32>) {
            None => return Ok((after, 50)),
            Some(Ok(0)) => "Value 0 is less than minimum 1".to_owned(),
            Some(Ok(take)) if take > 100 => format!("Value {take} is greater than maximum 100"),
            Some(Ok(take)) => return Ok((after, usize::try_from(take).unwrap_or(100))),
            Some(Err(_)) => "Expected type integer but found type string".to_owned(),
        };
        Err(payload::fault(Place::Query, &what, on))
    }
}

pub(super) fn list(name: &str, page: Page<'_>, render: fn(&Record, &str) -> Value) -> Answer {
    let items: Vec<Value> = page.records.into_iter().map(|(id, record)| render(record, id)).collect();
    let mut body = Map::from_iter([(name.to_owned(), Value::Array(items))]);
    if let Some(serial) = page.next {
        body.insert("next".to_owned(), json!(URL_SAFE_NO_PAD.encode(serial.to_string())));
    }
    Answer::ok(Value::Object(body))
}

fn read_cursor(cursor: &str) -> Option<u64> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?.parse().ok()
}
