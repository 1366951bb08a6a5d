//! What each dialect's routes mean for the cache, and what each option of a policy means for each dialect. A new
//! dialect needs no change here.

use super::contract::{id_of, path_of};
use super::credentials::shown as shown_credential;
use crate::harness::EmptyEnvironment;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value, json};
use sessiongate::config::options::{Fallback, Options, ROOT, Row, Shape};
use sessiongate::config::{self, Compiled};
use sessiongate::dialect::{BodyKind, DIALECTS, Dialect, Effect, MemberType, Route};
use sessiongate::gateway::{Changes, Credential, Gateway, RequestHead, Routed, WriteDecision};
use sessiongate::model::{Operation, PeerIdentity};

/// A configuration with one upstream of a dialect, which caches and has this policy.
fn compiled(dialect: &Dialect, policy: &str) -> Compiled {
    let name = dialect.name;
    let text = format!(
        "upstreams: {{ up: {{ dialect: {name}, url: https://idp.test, auth: forward, cache: {{}}, policy: p }} }}\n\
         policies: {{ p: {{ {policy} }} }}\n"
    );
    config::compile("contract", &text, &EmptyEnvironment, [7; 32]).unwrap_or_else(|faults| panic!("{text}{faults:?}"))
}

/// A body that names what the operation needs.
fn body_of(dialect: &Dialect, route: &Route) -> Option<Value> {
    let mut members = Map::new();
    match (route.call, route.body) {
        (None, BodyKind::Nothing) => return None,
        (None, BodyKind::Metadata(name)) => drop(members.insert(name.into(), json!({ "k": "v" }))),
        (None, BodyKind::Revocation(body)) => {
            let first = body.one_of.first()?;
            let member = body.members.iter().find(|member| member.name == *first).unwrap();
            let value = match member.member_type {
                MemberType::Session => json!(id_of(dialect.session_ids)),
                MemberType::User | MemberType::Text(_) => json!("v1"),
                MemberType::Boolean => json!(true),
                MemberType::RefreshTokens { .. } => json!(["v1"]),
            };
            members.insert((*first).into(), value);
        }
        (Some(call), _) => {
            let session = dialect.names.session_id.filter(|_| call.is_rpc && route.effect.needs_session());
            members.extend(session.map(|name| (name.to_owned(), json!(id_of(dialect.session_ids)))));
            let token = dialect.names.session_token.filter(|_| call.takes_session_token);
            members.extend(token.map(|name| (name.to_owned(), json!("t1"))));
        }
    }
    Some(Value::Object(members)).filter(|_| route.takes_body())
}

/// What a request on a route is for the cache: a place, or what it makes stale.
fn decided(gateway: &Gateway, dialect: &Dialect, route: &Route) -> Result<String, String> {
    let (method, path) = (Method::from_bytes(route.method.as_bytes()).unwrap(), path_of(dialect, route.path));
    let body = body_of(dialect, route).map(|body| body.to_string()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    let (header, value) = shown_credential(dialect.credentials[0]);
    headers.insert(header, HeaderValue::from_str(&value).unwrap());
    if !body.is_empty() {
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("content-length", body.len().into());
    }
    let head = RequestHead {
        listener: "",
        method: &method,
        path: &path,
        query: None,
        host: "gateway.test",
        headers: &headers,
        http2: false,
        trusted: false,
    };
    let governed = match gateway.route(head) {
        Ok(Routed::Governed(governed)) => governed,
        Ok(Routed::Invalidating(_)) => return Ok("passed through".into()),
        found => return Err(format!("{found:?}")),
    };
    let credential = Credential::Forwarded(Bytes::from_static(b"t"));
    let caller = governed.upstream().matched(credential, &PeerIdentity::default()).map_err(|why| format!("{why:?}"))?;
    let authorized = governed.authorize(caller).map_err(|why| format!("{why:?}"))?;
    let request = authorized.read_body(gateway, Bytes::from(body)).map_err(|why| format!("{why:?}"))?;
    if request.reads() {
        let read = request.read(gateway).result.map_err(|why| format!("{why:?}"))?;
        return Ok(if read.key().is_some() { "cached" } else { "not cached" }.into());
    }
    match request.decide(None).result {
        Ok(WriteDecision::Forward(write)) => Ok(match write.changes() {
            Changes::Session(_) => "one session".into(),
            Changes::AnySession => "any session".into(),
            Changes::Nothing => "no session".into(),
        }),
        found => Err(format!("{found:?}")),
    }
}

#[test]
fn each_route_has_its_effect_on_the_cache() {
    let mut faults = Vec::new();
    for dialect in DIALECTS {
        let gateway = compiled(dialect, "").config.gateway;
        for route in dialect.routes {
            let found = decided(&gateway, dialect, route);
            let expected: &[&str] = match route.effect {
                Effect::ReadsSession => &["cached"],
                // Lists of calls are passed through.
                Effect::ListsSessions => &["not cached", "passed through"],
                Effect::Reads(_) => &["not cached"],
                Effect::ChangesSession | Effect::EndsSession => &["one session"],
                Effect::EndsUserSessions if route.names_user() => &["any session"],
                // What the body does not name does not end.
                Effect::EndsUserSessions => &["any session", "no session"],
                Effect::ChangesAny => &["any session"],
                Effect::CreatesSession | Effect::Nothing(_) => &["no session"],
            };
            let has_reason = match route.effect {
                Effect::Reads(reason) | Effect::Nothing(reason) => reason.contains(' '),
                _ => true,
            };
            if !found.as_ref().is_ok_and(|found| expected.contains(&found.as_str())) || !has_reason {
                let (name, method, effect) = (dialect.name, route.method, route.effect);
                faults.push(format!("{name} {method} {}: {effect:?}, but {found:?}", path_of(dialect, route.path)));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Whether an operation may have an effect.
fn may_have(operation: Operation, effect: Effect) -> bool {
    match operation {
        Operation::ReadSession => effect == Effect::ReadsSession,
        Operation::ListSessions => effect == Effect::ListsSessions,
        Operation::CreateSession => effect == Effect::CreatesSession,
        Operation::UpdateSession => effect == Effect::ChangesSession,
        Operation::DeleteSession | Operation::RevokeSession => effect == Effect::EndsSession,
        Operation::DeleteUserSessions | Operation::RevokeAccess => {
            [Effect::EndsUserSessions, Effect::ChangesAny].contains(&effect)
        }
        Operation::ReadRefreshToken | Operation::ListRefreshTokens => matches!(effect, Effect::Reads(_)),
        Operation::UpdateRefreshToken | Operation::DeleteRefreshToken => {
            matches!(effect, Effect::Nothing(_) | Effect::ChangesAny)
        }
        Operation::RevokeRefreshTokens | Operation::DeleteUserRefreshTokens => {
            matches!(effect, Effect::Nothing(_) | Effect::EndsUserSessions | Effect::ChangesAny)
        }
        // Of pass-through requests.
        Operation::ChangeRelated | Operation::Other => false,
    }
}

/// Whether a method may have an effect. A procedure is called with POST whatever it does, and a search may be one.
fn method_may_have(route: &Route) -> bool {
    match (route.method, route.effect) {
        (method, _) if route.is_rpc() => method == "POST",
        ("GET", effect) => effect.reads(),
        ("POST", Effect::ListsSessions) => true,
        (_, effect) => !effect.reads(),
    }
}

#[test]
fn operation_and_method_of_each_route_fit_its_effect() {
    let mut faults = Vec::new();
    for dialect in DIALECTS {
        for route in dialect.routes {
            if !may_have(route.operation, route.effect) || !method_may_have(route) {
                let (name, method, path) = (dialect.name, route.method, path_of(dialect, route.path));
                faults.push(format!("{name} {method} {path}: {:?} with {:?}", route.operation, route.effect));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The value of an option in the example, as YAML on one line. `None` if it contradicts another option.
fn shown(row: &Row) -> Option<String> {
    let map = |options: &Options| {
        let members = options.rows().filter_map(|row| Some(format!("{}: {}", row.key, shown(&row)?)));
        format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
    };
    match (&row.shape, &row.default) {
        _ if row.example.off => None,
        (Shape::Map(options), _) => Some(map(options)),
        (Shape::Named(named), _) => Some(format!("{{ {}: {} }}", named.samples[0].name, map(named.options))),
        (_, Fallback::Value(default, _)) if row.example.value.is_empty() => Some(default.clone()),
        _ => Some(row.example.value.to_owned()),
    }
}

/// The options of a policy.
fn policy_options() -> Vec<Row> {
    let policies = ROOT.rows().find(|row| row.key == "policies").unwrap();
    let Shape::Named(named) = policies.shape else { panic!("policies have names") };
    named.options.rows().collect()
}

/// Whether writes of a dialect can have what an option of a policy evaluates.
fn has(dialect: &Dialect, option: &str) -> bool {
    let names = &dialect.names;
    match option {
        // Of anything.
        "mode" => ["wipe", "lifetime", "session_token", "checks", "challenges"].iter().any(|other| has(dialect, other)),
        "wipe" | "keys" | "fields" | "limits" | "normalize" => names.metadata.is_some(),
        "lifetime" => names.lifetime.is_some(),
        "session_token" => names.session_token.is_some(),
        "checks" => names.checks.is_some(),
        "challenges" => names.challenges.is_some(),
        other => panic!("`{other}`: say here which dialects have it"),
    }
}

#[test]
fn an_option_without_an_effect_causes_a_warning() {
    let mut faults = Vec::new();
    for dialect in DIALECTS {
        for row in policy_options() {
            let policy = format!("{}: {}", row.key, shown(&row).unwrap());
            let warnings = compiled(dialect, &policy).warnings;
            let warned = warnings.iter().any(|warning| warning.to_string().contains("upstream `up`"));
            if warned == has(dialect, row.key) {
                faults.push(format!("{}, {policy}: {warnings:?}", dialect.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
