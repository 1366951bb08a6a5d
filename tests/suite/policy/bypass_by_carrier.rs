//! The matrix of policy bypasses: each row is a bypass, each column a carrier. In every cell, the provider never gets a
//! change that was not evaluated. The policy allows the key `team`, and so forbids the key `evil`.
//!
//! Each cell is tried twice. With the forbidden change, nothing may reach the provider, unless the row is not a write
//! of a session. With the allowed change, the row says whether the request is rejected for its form or forwarded
//! exactly once. A rejection of the allowed change shows that the form is rejected and not the change; a forwarded
//! request shows that not everything is rejected.

mod call;
mod rows;

use crate::harness::grpc::Grpc;
use crate::harness::recorder::{Recorder, SESSION, Seen};
use crate::harness::{Connection, Gateway, TIMEOUT};
use bytes::Bytes;
use call::{Call, Case, Column, Framing};
use rows::{Good, Row, rows};
use std::fmt::Write;

/// The provider, the gateway before it, and what reached it.
struct Place {
    recorder: Recorder,
    grpc: Grpc,
    auth0: Gateway,
    /// Before a ZITADEL that speaks HTTP/1.
    rest: Gateway,
    /// Before one that speaks HTTP/2.
    calls: Gateway,
    token: String,
}

/// What came of a request.
struct Outcome {
    /// The status; 0 where the connection or the stream ended without one.
    status: u16,
    /// Whether the response is an error in the terms of its carrier.
    is_error: bool,
    /// What reached the provider.
    reached: Vec<Reached>,
}

/// A request that reached the provider.
struct Reached {
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

const POLICY: &str = "policies: { guard: { keys: { allowed: [team] } } }\n";

impl Place {
    fn start() -> Place {
        let recorder = Recorder::auth0();
        let grpc = Grpc::start();
        let upstream = |dialect: &str, url: &str, auth: &str| {
            format!(
                "upstreams: {{ a: {{ dialect: {dialect}, url: \"{url}\", auth: {auth}, policy: guard }} }}\n{POLICY}"
            )
        };
        let auth = format!("{{ issuer: \"{0}/\", audience: \"{0}/api/v2/\" }}", recorder.url());
        let start = |config: String| {
            let gateway = Gateway::start(&config);
            gateway.ready();
            gateway
        };
        Place {
            auth0: start(upstream("auth0", &recorder.url(), &auth)),
            rest: start(upstream("zitadel", &recorder.url(), "forward")),
            calls: start(upstream("zitadel", &format!("http://{}", grpc.address), "forward")),
            token: recorder.token(),
            recorder,
            grpc,
        }
    }

    fn gateway(&self, column: Column) -> &Gateway {
        match column {
            Column::Auth0 | Column::Auth0Token => &self.auth0,
            Column::Grpc => &self.calls,
            _ => &self.rest,
        }
    }

    fn case(&self, column: Column, beta: bool, key: &'static str) -> Case {
        let token = if column.is_auth0() { self.token.clone() } else { "pat".into() };
        Case { column, beta, key, token, host: self.gateway(column).address().to_string() }
    }

    /// Sends a request and waits for the end of its response: what the provider gets, it has by then.
    fn send(&self, call: &Call) -> Outcome {
        let address = self.gateway(call.column).address();
        if call.column == Column::Grpc {
            let before = self.grpc.count();
            let (status, is_error) = self.send_http2(call);
            let seen = self.grpc.seen.lock().unwrap();
            let reached = seen[before..].iter().map(|(path, headers, body)| Reached {
                target: path.clone(),
                headers: headers
                    .iter()
                    .map(|(n, v)| (n.to_string(), String::from_utf8_lossy(v.as_bytes()).into()))
                    .collect(),
                body: body.clone(),
            });
            return Outcome { status, is_error, reached: reached.collect() };
        }
        let before = self.recorder.count();
        let mut connection = Connection::open(address).unwrap();
        // A gateway that rejects may close before it has read everything.
        let _ = connection.write(&call.bytes());
        let response = connection.response(call.method == "HEAD");
        let status = response.as_ref().map_or(0, |response| response.status);
        let grpc_status = response.as_ref().is_ok_and(|response| {
            has_error(response.text().as_bytes()) || response.header("grpc-status").is_some_and(|status| status != "0")
        });
        let reached = self.recorder.seen()[before..].iter().map(Reached::from).collect();
        Outcome { status, is_error: status == 0 || status >= 400 || grpc_status, reached }
    }

    /// The status, and whether the response is an error of gRPC or HTTP.
    fn send_http2(&self, call: &Call) -> (u16, bool) {
        let address = self.calls.address();
        let Some(request) = call.request() else {
            call.send_frames(address);
            return (0, true);
        };
        let (body, framing) = (Bytes::from(call.body.clone()), call.framing.clone());
        self.grpc.runtime.block_on(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let exchange = async {
                let (response, mut sender) = client.send_request(request, framing == Framing::None).ok()?;
                if framing != Framing::None {
                    // The response may come before the body has gone.
                    let _ = sender.send_data(body, true);
                }
                let (head, mut incoming) = response.await.ok()?.into_parts();
                let mut body = Vec::new();
                while let Some(part) = incoming.data().await {
                    body.extend_from_slice(&part.ok()?);
                }
                let trailers = incoming.trailers().await.ok()?.unwrap_or_default();
                let status = head.headers.get("grpc-status").or(trailers.get("grpc-status"));
                let good = status.map_or(!has_error(&body), |status| status == "0");
                Some((head.status.as_u16(), good))
            };
            let response = tokio::time::timeout(TIMEOUT, exchange).await.unwrap();
            connection.abort();
            match response {
                None => (0, true),
                Some((status, good)) => (status, status >= 400 || !good),
            }
        })
    }
}

/// Whether a body ends with the trailers of an error of gRPC-web.
fn has_error(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).split("grpc-status: ").nth(1).is_some_and(|rest| !rest.starts_with('0'))
}

impl From<&Seen> for Reached {
    fn from(seen: &Seen) -> Reached {
        Reached { target: seen.target.clone(), headers: seen.headers.clone(), body: seen.body.clone() }
    }
}

impl Reached {
    /// Whether somebody who reads everything in every way finds the forbidden key.
    fn has_evil(&self) -> bool {
        let mut texts = vec![self.target.clone(), String::from_utf8_lossy(&self.body).into_owned()];
        texts.push(self.body.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect());
        texts.extend(self.headers.iter().map(|(_, value)| value.clone()));
        let plain = |text: &String| percent_encoding::percent_decode_str(text).decode_utf8_lossy().to_ascii_lowercase();
        texts.iter().map(plain).any(|text| ["evil", "zxzpb", "\\u0065vil"].iter().any(|word| text.contains(word)))
    }

    /// What is wrong with a request that the policy allows.
    fn fault(&self, call: &Call) -> Option<String> {
        let all = |name: &str| self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).count();
        let text = String::from_utf8_lossy(&self.body);
        if call.changes && !text.contains("team") {
            return Some(format!("the change is missing in {text:?}"));
        }
        if call.changes && self.target != call.path {
            return Some(format!("the target is {}", self.target));
        }
        if all("authorization") != 1 {
            return Some("no single credential".into());
        }
        const HIDDEN: [&str; 9] = [
            "grpc-metadata-authorization",
            "grpc-metadata-x-zitadel-orgid",
            "grpc_metadata_authorization",
            "x-zitadel-instance-host",
            "x-zitadel-public-host",
            "forwarded",
            "x-http-method-override",
            "upgrade",
            "expect",
        ];
        if let Some(name) = HIDDEN.iter().find(|name| all(name) > 0) {
            return Some(format!("{name} is not the client's to say"));
        }
        let spoofed = self.headers.iter().find(|(_, value)| value.contains("spoofed"));
        spoofed.map(|(name, value)| format!("{name}: {value} came through"))
    }
}

/// What is wrong with a cell.
fn faults(place: &Place, row: &Row, column: Column, beta: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let evil = (row.make)(&place.case(column, beta, "evil"));
    let outcome = place.send(&evil);
    if !row.is_harmless && (!outcome.reached.is_empty() || !outcome.is_error) {
        faults.push(format!(
            "the forbidden change: status {}, {} reached the provider",
            outcome.status,
            outcome.reached.len()
        ));
    }
    if evil.changes && outcome.reached.iter().any(Reached::has_evil) {
        faults.push("the provider got the forbidden key".into());
    }
    let good = (row.make)(&place.case(column, beta, "team"));
    let outcome = place.send(&good);
    let reached = outcome.reached.len();
    let as_expected = match (row.good)(column) {
        Good::Rejected => outcome.is_error && reached == 0,
        Good::Forwarded => reached == 1,
    };
    if !as_expected {
        faults.push(format!("the allowed change: status {}, {reached} reached the provider", outcome.status));
    }
    faults.extend(outcome.reached.iter().filter_map(|reached| reached.fault(&good)));
    faults
}

#[test]
fn no_bypass_of_the_policy_on_any_carrier() {
    let place = Place::start();
    let rows = rows();
    let (mut rejected, mut forwarded, mut harmless, mut without) = (0, 0, 0, 0);
    let mut found = String::new();
    for row in &rows {
        for column in Column::ALL {
            if row.on.leaves_out(column).is_some() {
                without += 1;
                continue;
            }
            match (row.good)(column) {
                _ if row.is_harmless => harmless += 1,
                Good::Rejected => rejected += 1,
                Good::Forwarded => forwarded += 1,
            }
            let versions: &[bool] = if column.is_auth0() { &[false] } else { &[false, true] };
            for beta in versions {
                for fault in faults(&place, row, column, *beta) {
                    let version = if *beta { " v2beta" } else { "" };
                    let _ = writeln!(found, "{} over {column:?}{version}: {fault}", row.name);
                }
            }
        }
    }
    let cells = rows.len() * Column::ALL.len();
    println!(
        "matrix: {} rows x {} carriers = {cells} cells: {rejected} rejected for their form, {forwarded} forwarded once and only \
         with what is allowed, {harmless} no write of a session, {without} that the carrier cannot say",
        rows.len(),
        Column::ALL.len()
    );
    assert!(found.is_empty(), "\n{found}");
    assert!(rows.len() >= 75 && rejected > forwarded && forwarded > 50, "{} rows", rows.len());
    let names: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len(), "two rows of one name");
}

/// The session's path on a carrier.
fn path(column: Column, beta: bool) -> String {
    let version = if beta { "v2beta" } else { "v2" };
    match column {
        Column::Auth0 => format!("/api/v2/sessions/{SESSION}"),
        Column::Auth0Token => "/api/v2/refresh-tokens/t1".into(),
        Column::Rest => format!("/{version}/sessions/s1"),
        _ => format!("/zitadel.session.{version}.SessionService/SetSession"),
    }
}
