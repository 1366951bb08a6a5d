//! Golden cases of the pure core. Each case in `tests/cases/DIALECT/*.txt` is a request and the gateway's decision.
//!
//! A file begins with a part of a configuration (`policy:`, `upstream:` or a whole `config:`) and contains any number of
//! cases. `UPDATE_CASES=1` rewrites the expectations; review the difference.
//!
//! The format of a request:
//!
//! * `=== title` begins a case; lines with `#` before the request are comments.
//! * `> scopes …` sets the scopes of the token (by default all of sessions and refresh tokens); `> token expired`, `>
//!   token other-audience`, … use another token; `> token none` sends none.
//! * `> claims {…}` sets claims of the token.
//! * `> current {…}` is the session's metadata that the provider would return; `> user ID` and `> session ID` say whose
//!   session or refresh token it is, `> status 404` its status.
//! * `> rejected …` rejects the request, once it is routed, for a reason that does not depend on it.
//! * The request line and headers. `Authorization` comes from the token (`Bearer pat` for ZITADEL). `Host:
//!   gateway.test`, a matching `Content-Length`, and for `PATCH` and ZITADEL's `POST` the `Content-Type:
//!   application/json` are added; `Name: -` omits one of them. With a `Content-Type` of gRPC, the body is put into a
//!   frame.
//! * The body, after an empty line. Anywhere, `⟦ff fe⟧` are bytes, `⟦a*255⟧` is an `a` 255 times, and `⟦25 "k#":"v"⟧`
//!   are 25 numbered copies, separated by commas.

use crate::harness::EmptyEnvironment;
use crate::harness::recorder::key_set;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use sessiongate::config;
use sessiongate::dialect::{AUTH0, DIALECTS};
use sessiongate::gateway::{
    BodySize, CallerCheck, Changes, Credential, CurrentResponse, Evaluated, Gateway, ProviderResponse, RequestHead,
    Routed, Unmatched, Upstream, WriteDecision,
};
use sessiongate::model::{Operation, PeerIdentity, Rejection};
use sessiongate::sandbox::auth0::{Options, Tenant};
use sessiongate::sandbox::okta::Org;
use sessiongate::telemetry::Label;
use sessiongate::token::{KeySet, VerificationError, install_crypto_provider, verify};
use sessiongate::wire::carrier::Carrier;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

const ISSUER: &str = "https://tenant.test";
const ALL_SCOPES: &str =
    "read:sessions update:sessions delete:sessions read:refresh_tokens update:refresh_tokens delete:refresh_tokens";

#[test]
fn every_case_gives_the_recorded_result() {
    install_crypto_provider();
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let tenant = Tenant::new(ISSUER, Options::default(), [3; 32]).unwrap();
    let org = Org::new(ISSUER).unwrap();
    let parsed = |document: String| KeySet::parse(document.as_bytes(), &[Algorithm::RS256]).unwrap();
    let (keys, keys_of_org) = (parsed(key_set(&tenant)), parsed(org.key_set().to_string()));
    let mut faults = String::new();
    let mut count = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut file = File::parse(&text).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        file.dialect = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        let gateway = file.gateway(&path);
        let (signer, keys) = match file.dialect.as_str() {
            "auth0" => (Signer::Auth0(&tenant), &keys),
            "okta" => (Signer::Okta(&org), &keys_of_org),
            _ => (Signer::Opaque, &keys),
        };
        for case in &mut file.cases {
            count += 1;
            let found = case.decide(&gateway, signer, keys);
            // As expectations are read: the end of a file is no part of them.
            let found = found.trim_end().to_owned();
            if found != case.expected && !update {
                let _ = writeln!(
                    faults,
                    "{}: {}\nexpected:\n{}\nfound:\n{found}\n",
                    path.display(),
                    case.name,
                    case.expected
                );
            }
            case.expected = found;
        }
        if update {
            std::fs::write(&path, file.text()).unwrap();
        }
    }
    assert!(faults.is_empty(), "{faults}");
    assert!(count > 200, "{count} cases only: are there files missing?");
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut files: Vec<PathBuf> = DIALECTS
        .iter()
        .flat_map(|dialect| std::fs::read_dir(folder.join(dialect.name)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    files
}

/// Who signs the tokens of requests.
#[derive(Clone, Copy)]
enum Signer<'a> {
    Auth0(&'a Tenant),
    Okta(&'a Org),
    /// Tokens are opaque.
    Opaque,
}

/// A file of cases.
struct File {
    /// The text before the first case.
    head: String,
    dialect: String,
    cases: Vec<Case>,
}

/// A request and the decision on it.
struct Case {
    name: String,
    /// The text before the `---`.
    request: String,
    expected: String,
}

impl File {
    fn parse(text: &str) -> Result<File, String> {
        let mut parts = text.split("\n=== ");
        let head = parts.next().unwrap_or_default().to_owned();
        let cases = parts.map(|part| {
            let (name, rest) = part.split_once('\n').ok_or("a case without a request")?;
            let (request, expected) = rest.split_once("\n---\n").unwrap_or((rest.trim_end(), ""));
            Ok(Case { name: name.into(), request: request.into(), expected: expected.trim_end().into() })
        });
        Ok(File { head, dialect: String::new(), cases: cases.collect::<Result<_, &str>>()? })
    }

    fn text(&self) -> String {
        let mut text = self.head.trim_end().to_owned() + "\n";
        for case in &self.cases {
            let _ = write!(text, "\n=== {}\n{}\n---\n{}\n", case.name, case.request, case.expected);
        }
        text
    }

    /// The lines below `name:` in the head, without their indentation.
    fn section(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().skip_while(|line| *line != format!("{name}:"));
        lines.next()?;
        let own = lines.take_while(|line| line.starts_with(' ') || line.is_empty());
        Some(own.map(|line| line.strip_prefix("  ").unwrap_or(line).to_owned() + "\n").collect())
    }

    fn gateway(&self, path: &Path) -> Arc<Gateway> {
        let indented = |text: Option<String>| -> String {
            let text = text.unwrap_or_default();
            text.lines().map(|line| format!("    {line}\n")).collect()
        };
        let config = self.section("config").unwrap_or_else(|| {
            let upstream = indented(self.section("upstream"));
            let policy = indented(self.section("policy"));
            let policies = match policy.is_empty() {
                true => String::new(),
                false => format!("policies:\n  case:\n{policy}"),
            };
            let named = if policy.is_empty() { "" } else { "    policy: case\n" };
            let dialect = &self.dialect;
            let auth = match upstream.contains("    auth:") {
                true => String::new(),
                false if dialect == "zitadel" => "    auth: forward\n".to_owned(),
                false if dialect == "okta" => format!("    auth: {{ issuer: {ISSUER}, audience: {ISSUER} }}\n"),
                false => format!("    auth: {{ issuer: {ISSUER}/, audience: {ISSUER}/api/v2/ }}\n"),
            };
            format!(
                "upstreams:\n  {dialect}:\n    dialect: {dialect}\n    url: {ISSUER}\n{auth}{named}{upstream}{policies}"
            )
        });
        match config::compile("case", &config, &EmptyEnvironment, [9; 32]) {
            Ok(compiled) => compiled.config.gateway,
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                panic!("{}:\n{}\n{config}", path.display(), faults.join("\n"))
            }
        }
    }
}

/// A request as the core gets it.
struct Parsed {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Vec<u8>,
    current: Option<ProviderResponse>,
}

impl Case {
    fn decide(&self, gateway: &Gateway, signer: Signer, keys: &KeySet) -> String {
        let request = self.parse(signer);
        let text = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let carrier = carrier(request.uri.path(), text("content-type"));
        let head = RequestHead {
            listener: "",
            method: &request.method,
            path: request.uri.path(),
            query: request.uri.query(),
            host: text("host"),
            headers: &request.headers,
            http2: carrier.is_grpc(),
            trusted: false,
        };
        let several = gateway.upstreams().len() > 1;
        let routed = gateway.route(head);
        if let Some(why) = self.rejected() {
            let upstream = match &routed {
                Ok(Routed::PassThrough(upstream, _) | Routed::InvalidatingIfAccepted(upstream)) => upstream,
                Ok(Routed::Invalidating(related)) => related.upstream(),
                Ok(Routed::Governed(governed)) => governed.upstream(),
                Err(_) => panic!("{}: belongs nowhere", self.name),
            };
            return rejection(Some(upstream), &why, carrier);
        }
        match routed {
            Err(rejected) => rejection(rejected.upstream.as_deref(), &rejected.rejection, carrier),
            Ok(Routed::PassThrough(upstream, operation)) => passed(&upstream, operation, &request, None, several),
            Ok(Routed::InvalidatingIfAccepted(upstream)) => {
                passed(&upstream, Operation::ChangeRelated, &request, None, several) + " if accepted"
            }
            Ok(Routed::Invalidating(related)) => {
                let path = related.path().map(str::to_owned);
                let (upstream, operation) = (related.upstream().clone(), related.operation());
                let caller = credential(&upstream, &request.headers, keys)
                    .and_then(|who| upstream.matched(who, &PeerIdentity::default()));
                let authorized = caller.and_then(|caller| related.authorize(&caller));
                match authorized {
                    Ok(upstream) => passed(&upstream, operation, &request, path.as_deref(), several),
                    Err(why) => rejection(Some(&upstream), &why, carrier),
                }
            }
            Ok(Routed::Governed(governed)) => {
                let upstream = governed.upstream().clone();
                let decided = credential(&upstream, &request.headers, keys)
                    .and_then(|who| upstream.matched(who, &PeerIdentity::default()))
                    .and_then(|caller| governed.authorize(caller))
                    .and_then(|authorized| checked(authorized, gateway, &request, several));
                decided.unwrap_or_else(|why| rejection(Some(&upstream), &why, carrier))
            }
        }
    }

    /// What rejects it although nothing is wrong with it.
    fn rejected(&self) -> Option<Rejection> {
        let name = self.request.lines().find_map(|line| line.strip_prefix("> rejected "))?;
        let all = [Rejection::Overloaded, Rejection::UpstreamBusy, Rejection::SourceBusy];
        Some(all.into_iter().find(|one| one.name() == name).unwrap_or_else(|| panic!("{}: no {name}", self.name)))
    }

    fn parse(&self, signer: Signer) -> Parsed {
        let lines: Vec<&str> = self.request.lines().skip_while(|line| line.starts_with('#')).collect();
        let (orders, rest): (Vec<&str>, Vec<&str>) = {
            let at = lines.iter().position(|line| !line.starts_with('>')).unwrap_or(lines.len());
            (lines[..at].to_vec(), lines[at..].to_vec())
        };
        let order = |name: &str| {
            let mut own = orders.iter().filter_map(|line| line.strip_prefix(&format!("> {name}")));
            own.next().map(str::trim)
        };
        let end = rest.iter().position(|line| line.is_empty()).unwrap_or(rest.len());
        let mut body = expand(&rest.get(end + 1..).unwrap_or_default().join("\n"));
        if rest[1..end].iter().any(|line| line.to_ascii_lowercase().starts_with("content-type: application/grpc")) {
            body = [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat();
        }
        let mut words = rest[0].splitn(2, ' ');
        let method = Method::from_bytes(words.next().unwrap().as_bytes()).unwrap();
        let target = expand(words.next().unwrap());
        let target = String::from_utf8_lossy(&target).into_owned();
        let uri = Uri::builder().path_and_query(target.split('#').next().unwrap()).build();
        let token = bearer_of(order("token"), order("scopes"), order("claims"), signer);
        let takes_json = method == Method::PATCH || (matches!(signer, Signer::Opaque) && method == Method::POST);
        let headers = headers(takes_json, &rest[1..end], token, body.len());
        let shown = Shown { metadata: order("current"), user: order("user"), session: order("session") };
        let current = shown.response(order("status"), target.contains("/refresh-tokens"), signer);
        Parsed { method, uri: uri.unwrap_or_else(|error| panic!("{}: {error}", self.name)), headers, body, current }
    }
}

/// What the provider shows of a session or a refresh token.
struct Shown<'a> {
    metadata: Option<&'a str>,
    user: Option<&'a str>,
    /// The session of a refresh token.
    session: Option<&'a str>,
}

impl Shown<'_> {
    /// The provider's response to a read. `None` if the case does not say what it shows.
    fn response(&self, status: Option<&str>, refresh_token: bool, signer: Signer) -> Option<ProviderResponse> {
        let (metadata, user) = (self.metadata.unwrap_or("{}"), json!(self.user));
        let session = json!(self.session);
        let body = match signer {
            Signer::Auth0(_) if refresh_token => {
                format!(r#"{{"user_id":{user},"session_id":{session},"refresh_token_metadata":{metadata}}}"#)
            }
            Signer::Auth0(_) => format!(r#"{{"user_id":{user},"session_metadata":{metadata}}}"#),
            Signer::Okta(_) => format!(r#"{{"userId":{user}}}"#),
            Signer::Opaque => {
                format!(r#"{{"session":{{"metadata":{metadata},"factors":{{"user":{{"id":{user}}}}}}}}}"#)
            }
        };
        let says = status.or(self.metadata).or(self.user).or(self.session).is_some();
        let status = status.map_or(StatusCode::OK, |status| status.parse().unwrap());
        says.then(|| ProviderResponse::new(status, HeaderMap::new(), Bytes::from(body), None))
    }
}

fn bearer_of(token: Option<&str>, scopes: Option<&str>, claims: Option<&str>, signer: Signer) -> Option<String> {
    let now = now();
    let claims = match token {
        None => claims.map_or_else(|| json!({}), |claims| serde_json::from_str(claims).unwrap()),
        Some("none") => return None,
        _ if matches!(signer, Signer::Opaque) => return Some("pat".into()),
        Some("expired") => json!({ "exp": now - 3600 }),
        Some("not-yet-valid") => json!({ "nbf": now + 3600 }),
        Some("other-audience") => json!({ "aud": "https://other.test/" }),
        Some("several-audiences") => json!({ "aud": ["https://other.test/", format!("{ISSUER}/api/v2/")] }),
        Some("other-issuer") => json!({ "iss": "https://other.test/" }),
        Some("no-expiry") => json!({ "exp": null }),
        Some("forged") => {
            let good = bearer_of(None, None, None, signer).unwrap();
            let (head, signature) = good.rsplit_once('.').unwrap();
            let first = if signature.starts_with('A') { 'B' } else { 'A' };
            return Some(format!("{head}.{first}{}", &signature[1..]));
        }
        Some("opaque") => return Some("abcdefghijklmnop".into()),
        Some("too-long") => json!({ "x": "x".repeat(9000) }),
        Some(other) => panic!("no token of the kind {other}"),
    };
    let mut claims = claims;
    match signer {
        Signer::Auth0(tenant) => {
            claims["scope"] = Value::from(scopes.unwrap_or(ALL_SCOPES));
            Some(tenant.sign(claims))
        }
        Signer::Okta(org) => {
            if let Some(scopes) = scopes {
                claims["scp"] = scopes.split(' ').collect();
            }
            Some(org.sign(claims))
        }
        Signer::Opaque => Some("pat".into()),
    }
}

fn headers(takes_json: bool, lines: &[&str], token: Option<String>, length: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut omitted = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        if value.trim() == "-" {
            omitted.push(name);
            continue;
        }
        let value =
            String::from_utf8_lossy(&expand(value.trim())).replace("TOKEN", token.as_deref().unwrap_or_default());
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let mut add = |name: &'static str, value: &str| {
        let name = HeaderName::from_static(name);
        if !headers.contains_key(&name) && !omitted.contains(&name) {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
    };
    add("host", "gateway.test");
    if takes_json {
        add("content-type", "application/json");
    }
    if let Some(token) = &token {
        add("authorization", &format!("Bearer {token}"));
    }
    if length > 0 && !headers.contains_key("transfer-encoding") {
        let mut add = |value: &str| {
            if !headers.contains_key("content-length") {
                headers.insert("content-length", HeaderValue::from_str(value).unwrap());
            }
        };
        add(&length.to_string());
    }
    headers
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// As the shell finds out who a request comes from, but with keys that are there.
fn credential(upstream: &Upstream, headers: &HeaderMap, keys: &KeySet) -> Result<Credential, Rejection> {
    match &upstream.check {
        CallerCheck::Token(issuers) => {
            match verify(upstream.dialect.token(headers)?, keys, &issuers[0].expected, now()) {
                Ok(verified) => Ok(Credential::Verified(Arc::new(verified))),
                Err(VerificationError::UnknownKey) => Err(Rejection::TokenKey),
                Err(VerificationError::Rejected(rejection)) => Err(rejection),
            }
        }
        CallerCheck::Forward | CallerCheck::None => Ok(match headers.get(AUTHORIZATION) {
            Some(value) => Credential::Forwarded(Bytes::copy_from_slice(value.as_bytes())),
            None => Credential::Anonymous,
        }),
    }
}

/// As the shell reads a body and decides.
fn checked(
    authorized: sessiongate::gateway::AuthorizedRequest,
    gateway: &Gateway,
    request: &Parsed,
    several: bool,
) -> Result<String, Rejection> {
    authorized.check_size()?;
    let limits = authorized.upstream().body;
    if authorized.body_size() == BodySize::Unknown && request.body.len() > limits.max_undeclared {
        return Err(Rejection::LengthRequired(limits.max_undeclared));
    }
    let name = named(authorized.upstream(), several);
    let carrier = authorized.carrier();
    let body = Bytes::from(request.body.clone());
    let asked = authorized.read_body(gateway, body)?;
    if asked.reads() {
        let read = asked.read(gateway).result?;
        let cached = if read.key().is_some() { ", cached" } else { "" };
        let (method, path, _) = read.request();
        return Ok(format!("forward{name} {method} {path}{cached}"));
    }
    let evaluated = match asked.decide(None) {
        Evaluated { result: Ok(WriteDecision::NeedsCurrent), .. } => {
            let paths = asked.current_paths()?;
            let Some(current) = &request.current else {
                return Ok(format!("need GET {}", paths.join(", GET ")));
            };
            // Each of them shows the same.
            let mut states = Vec::new();
            for _ in &paths {
                match asked.current_state(current.clone())? {
                    CurrentResponse::State(state) => states.push(state),
                    CurrentResponse::None(response) => return Ok(format!("respond {}", response.status.as_u16())),
                }
            }
            asked.decide(Some(&states))
        }
        evaluated => evaluated,
    };
    let findings = evaluated.findings.unwrap_or_default();
    let WriteDecision::Forward(write) = evaluated.result? else {
        panic!("it needs what it got");
    };
    let (method, path, forwarded) = write.request();
    let mut text = format!("forward{name} {method} {path}");
    if let Some(forwarded) = forwarded {
        let message = if carrier.is_framed() { forwarded.slice(5..) } else { forwarded.clone() };
        if forwarded == request.body {
            text.push_str(", the very same bytes");
        } else {
            let _ = write!(text, "\n{}", shown(&message));
        }
    }
    let stale = match write.changes() {
        Changes::AnySession => "; makes every session stale",
        Changes::Nothing if write.operation() != Operation::CreateSession => "; makes no session stale",
        Changes::Session(_) if write.operation() == Operation::RevokeAccess => "; makes one session stale",
        Changes::Nothing | Changes::Session(_) => "",
    };
    text.push_str(stale);
    for finding in &findings.violations {
        let _ = write!(text, "\nfinding: {}", shown(finding.to_string().as_bytes()));
    }
    let made = if findings.would_reject().is_some() { "would edit" } else { "edit" };
    for edit in findings.edits.listed() {
        let _ = write!(text, "\n{made}: {} {}", edit.kind.name(), shown(edit.path.as_bytes()));
    }
    Ok(text)
}

fn named(upstream: &Upstream, several: bool) -> String {
    if several { format!(" {}:", upstream.name) } else { String::new() }
}

fn passed(upstream: &Upstream, operation: Operation, request: &Parsed, path: Option<&str>, several: bool) -> String {
    let path = upstream.matcher.upstream_path(path.unwrap_or(request.uri.path()));
    let path = format!("{}{path}", upstream.target.base_path);
    let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let name = named(upstream, several);
    let what = match operation {
        Operation::ChangeRelated => ", may change sessions",
        Operation::ListSessions => ", lists sessions",
        _ => "",
    };
    let governed = operation == Operation::ListSessions || request.method == Method::OPTIONS;
    assert!(
        upstream.unmatched == Unmatched::Forward || governed,
        "an unmatched request passes although it must be rejected"
    );
    format!("pass-through{name} {} {path}{query}{what}", request.method)
}

/// The carrier of a request, also where it is rejected.
fn carrier(path: &str, content_type: &str) -> Carrier {
    if path.starts_with("/zitadel.") { Carrier::of_caller(content_type) } else { Carrier::Rest }
}

fn rejection(upstream: Option<&Upstream>, why: &Rejection, carrier: Carrier) -> String {
    let dialect = upstream.map_or(&AUTH0, |upstream| upstream.dialect);
    let reply = dialect.rejections.response(why, carrier);
    let mut text = format!("reject {}", reply.status.as_u16());
    let headers = reply.headers.iter().map(|(name, value)| (name, value));
    for (name, value) in headers.chain(reply.trailers.iter().flatten()) {
        let value = value.to_str().unwrap();
        if !value.starts_with("application/json") && name != "grpc-status-details-bin" {
            let _ = write!(text, "\n{name}: {value}");
        }
    }
    if let Ok(body) = serde_json::from_slice::<Value>(&reply.body) {
        let status =
            body.get("statusCode").map_or(reply.status.as_u16(), |status| status.as_u64().unwrap().try_into().unwrap());
        assert_eq!(status, reply.status.as_u16(), "{body}");
    }
    if !reply.body.is_empty() {
        let _ = write!(text, "\n{}", shown(&reply.body));
    }
    text
}

/// Writes `⟦…⟧` out.
fn expand(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('⟦') {
        out.extend_from_slice(before.as_bytes());
        let (inner, tail) = tail.split_once('⟧').unwrap_or_else(|| panic!("`⟦` without `⟧` in {text}"));
        rest = tail;
        if let Some((what, times)) = inner.rsplit_once('*') {
            out.extend(what.repeat(times.parse().unwrap()).into_bytes());
        } else if let Some((times, what)) = inner.split_once(' ').filter(|(_, what)| what.contains('#')) {
            let copies = (0..times.parse::<usize>().unwrap()).map(|n| what.replace('#', &n.to_string()));
            out.extend(copies.collect::<Vec<_>>().join(",").into_bytes());
        } else {
            out.extend(inner.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()));
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// Bytes as a reader sees them: what is not plain text in `⟦…⟧`, and long runs of one character too.
fn shown(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        let chars: Vec<char> = chunk.valid().chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let c = chars[at];
            let run = chars[at..].iter().take_while(|other| **other == c).count();
            if run > 40 {
                let _ = write!(out, "⟦{c}*{run}⟧");
                at += run;
                continue;
            }
            match c {
                '\n' => out.push('\n'),
                c if c.is_control() || (!c.is_ascii() && c.is_whitespace()) || c == '\u{feff}' => {
                    let mut bytes = [0; 4];
                    let hex: Vec<String> = c.encode_utf8(&mut bytes).bytes().map(|b| format!("{b:02x}")).collect();
                    let _ = write!(out, "⟦{}⟧", hex.join(" "));
                }
                c => out.push(c),
            }
            at += 1;
        }
        if !chunk.invalid().is_empty() {
            let hex: Vec<String> = chunk.invalid().iter().map(|b| format!("{b:02x}")).collect();
            let _ = write!(out, "⟦{}⟧", hex.join(" "));
        }
    }
    out
}
