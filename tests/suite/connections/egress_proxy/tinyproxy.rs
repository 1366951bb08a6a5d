//! Debian's tinyproxy between the gateway and its providers.

use super::{all, upstream};
use crate::harness::recorder::Recorder;
use crate::harness::{Authority, Gateway, Request, Scripted, Tenant, TinyProxy, json_response};
use std::sync::Arc;

const CREDENTIALS: &str = "BasicAuth gate s3cret\n";

/// A provider with TLS and one without, with credentials and keys.
#[test]
fn requests_and_keys_pass_a_real_proxy() {
    let Some(proxy) = TinyProxy::start([127, 0, 0, 92], CREDENTIALS) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let way =
        format!("egress_proxy: {{ url: {}, username: gate, password: {{ file: {} }} }}", proxy.url(), secret.display());
    let tenant = Tenant::start();
    let gateway = Gateway::start(&tenant.upstream(&way));
    gateway.ready();
    let read = Request::new("GET", &tenant.session_path()).bearer(&tenant.token());
    assert_eq!(read.send(&gateway.url()).status, 200);

    let authority = Authority::new("ours");
    let config = authority.certify(&["localhost"], |_| {});
    let provider = Scripted::start_tls(Arc::new(config), |_| {
        json_response(200, &format!(r#"{{"id":"{}"}}"#, crate::harness::recorder::SESSION))
    });
    let options = format!("tls: {{ ca_file: {} }}\n    {way}", authority.file.display());
    let gateway = Gateway::start(&upstream(&format!("https://localhost:{}", provider.port()), &options));
    assert_eq!(all(&gateway), [200; 4], "{:?}", gateway.log());
    assert!(proxy.log().contains(&format!("CONNECT localhost:{}", provider.port())), "{}", proxy.log());
}

/// Wrong credentials, and a port that the proxy does not allow.
#[test]
fn rejections_of_a_real_proxy_are_named() {
    let recorder = Recorder::auth0();
    for (host, config, expected) in [
        ([127, 0, 0, 93], CREDENTIALS, "407 Proxy Authentication Required"),
        ([127, 0, 0, 94], "ConnectPort 443\n", "403 Forbidden"),
    ] {
        let Some(proxy) = TinyProxy::start(host, config) else {
            return;
        };
        let gateway = Gateway::start(&upstream(&recorder.url(), &format!("egress_proxy: {{ url: {} }}", proxy.url())));
        assert_eq!(all(&gateway), [502; 4], "{expected}");
        let expected =
            format!("the egress proxy {} responded with {expected}", proxy.url().trim_start_matches("http://"));
        gateway.wait_for_log(|line| line.contains(&expected));
        assert_eq!(recorder.count(), 0);
    }
}
