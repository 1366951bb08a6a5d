//! A configuration that would break something that works is rejected until its sources are available.

use super::{BY_SIGNAL, cache_status, config_problems, hang_up, metric, read, rewritten};
use crate::harness::issuer::{AUDIENCE, ISSUER, SESSION, Signer, document};
use crate::harness::recorder::Recorder;
use crate::harness::{Gateway, Request, Scripted, json_response, unused_address, wait_for};
use std::net::SocketAddr;

/// Before a provider, with tokens that are checked by the keys at this address.
fn checked(provider: &str, keys: SocketAddr, more: &str) -> String {
    format!(
        "{BY_SIGNAL}upstreams:
  auth0:
    dialect: auth0
    url: {provider}
    cache: {{}}
    auth:
      issuer: {ISSUER}
      audience: {AUDIENCE}
      jwks: http://{keys}/keys
      algorithms: [EdDSA]
      {more}
"
    )
}

fn status(gateway: &Gateway, key: &Signer) -> u16 {
    Request::new("GET", SESSION).bearer(&key.good()).send(&gateway.url()).status
}

#[test]
fn unfetchable_keys_do_not_replace_current_keys() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let provider = Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#));
    let (first, second) = (unused_address([127, 0, 9, 10]), unused_address([127, 0, 9, 11]));
    let keys = document(&[&old]);
    let _first = Scripted::start_at(first, move |_| keys.clone());
    let gateway = Gateway::start(&checked(&provider.url(), first, ""));
    gateway.ready();
    assert_eq!(rewritten(&gateway, &checked(&provider.url(), second, "")), "rejected");
    let said = config_problems(&gateway);
    assert!(said.ends_with("upstreams.auth0.auth: cannot fetch the issuer's keys"), "{said:?}");
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [200, 401]);
    assert_eq!(hang_up(&gateway), "rejected", "it is tried again although nothing has changed");
    let keys = document(&[&new]);
    let _second = Scripted::start_at(second, move |_| keys.clone());
    assert_eq!(hang_up(&gateway), "applied");
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [401, 200]);
    assert_eq!(config_problems(&gateway), "");
}

#[test]
fn watched_configuration_is_retried_until_it_can_be_activated() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let provider = Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#));
    let (first, second) = (unused_address([127, 0, 9, 12]), unused_address([127, 0, 9, 13]));
    let keys = document(&[&old]);
    let _first = Scripted::start_at(first, move |_| keys.clone());
    let watched = |keys| checked(&provider.url(), keys, "").replace("watch: false", "interval: 100ms");
    let gateway = Gateway::start(&watched(first));
    gateway.ready();
    gateway.rewrite(&watched(second));
    wait_for("it to be rejected", || (!config_problems(&gateway).is_empty()).then_some(()));
    let keys = document(&[&new]);
    let _second = Scripted::start_at(second, move |_| keys.clone());
    wait_for("it to hold", || config_problems(&gateway).is_empty().then_some(()));
    assert_eq!([status(&gateway, &old), status(&gateway, &new)], [401, 200]);
    let told = gateway.log().iter().filter(|line| line.contains("configuration rejected")).count();
    assert_eq!(told, 1, "each try of the same is not told again");
}

/// Other requirements on tokens do not need other keys.
#[test]
fn keys_of_the_same_source_are_kept_while_the_issuer_is_unreachable() {
    let key = Signer::new("one");
    let provider = Scripted::start(|_| json_response(200, r#"{"id":"tokens"}"#));
    let address = unused_address([127, 0, 9, 14]);
    let keys = document(&[&key]);
    let issuer = Scripted::start_at(address, move |_| keys.clone());
    let gateway = Gateway::start(&checked(&provider.url(), address, ""));
    gateway.ready();
    assert_eq!(status(&gateway, &key), 200);
    drop(issuer);
    assert_eq!(rewritten(&gateway, &checked(&provider.url(), address, "leeway: 1s")), "applied");
    assert_eq!(status(&gateway, &key), 200);
    let other = checked(&provider.url(), address, "").replace(&format!("audience: {AUDIENCE}"), "audience: other");
    assert_eq!(rewritten(&gateway, &other), "applied");
    assert_eq!(status(&gateway, &key), 401, "cached tokens are verified again");
    assert_eq!(metric(&gateway, "sessiongate_jwks_keys{upstream=\"auth0\"}"), Some(1.0));
}

#[test]
fn unresolvable_provider_does_not_replace_a_working_one() {
    let recorder = Recorder::auth0();
    let good = format!("{BY_SIGNAL}{}", recorder.upstream("cache: {}"));
    let gateway = Gateway::start(&good);
    gateway.ready();
    let url = format!("    url: {}\n", recorder.url());
    let wrong = good.replace(&url, "    url: http://provider.invalid\n");
    assert_ne!(wrong, good);
    assert_eq!(rewritten(&gateway, &wrong), "rejected");
    let said = config_problems(&gateway);
    assert!(said.ends_with("upstreams.auth0.url: cannot resolve the host name"), "{said:?}");
    let token = recorder.token();
    let statuses = [(); 2].map(|()| cache_status(&read(&token).send(&gateway.url())).to_owned());
    assert_eq!(statuses, ["sessiongate; fwd=miss; stored", "hit"]);
}
