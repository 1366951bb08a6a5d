//! Which way a request takes: through which proxy, or directly; also after a reload.

use super::{all, targets, upstream};
use crate::harness::recorder::Recorder;
use crate::harness::{Authority, ForwardProxy, Gateway, Request, finish, sessiongate, wait_for};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Reloads with this configuration.
fn reload(gateway: &Gateway, text: &str) {
    let before = applied(gateway);
    gateway.rewrite(text);
    gateway.signal("HUP");
    wait_for("the reload", || (applied(gateway) > before).then_some(()));
}

fn applied(gateway: &Gateway) -> usize {
    gateway.log().iter().filter(|line| line.contains("\"configuration applied\"")).count()
}

const BY_SIGNAL: &str = "reload: { watch: false }\n";

/// Neither kept connections nor new ones mix direct ways, proxies and credentials.
#[test]
fn reloads_never_mix_ways() {
    let (recorder, one, other) = (Recorder::auth0(), ForwardProxy::start(), ForwardProxy::start());
    let url = recorder.url();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let with = |proxy: &ForwardProxy, more: &str| format!("egress_proxy: {{ url: {}{more} }}", proxy.url());
    let credentials = format!(", username: gate, password: {{ file: {} }}", secret.display());
    std::fs::write(&secret, "first").unwrap();
    let text = |options: &str| format!("{BY_SIGNAL}{}", upstream(&url, options));
    let gateway = Gateway::start(&text(""));
    let counts = || [one.count(), other.count()];
    assert_eq!((all(&gateway), counts()), ([200; 4], [0, 0]));
    // Through which of the two the requests go, and how many tunnels are new at least: governed and pass-through
    // requests have a pool each, and a connection that was kept from before the reload is good if it is of the same way.
    // More may be new: a response reaches its client before its connection is back in the pool.
    for (options, way, fewest) in [
        (with(&one, ""), Some(0), 2),
        (with(&other, ""), Some(1), 2),
        (with(&other, &credentials), Some(1), 2),
        ("egress_proxy: off".to_owned(), None, 0),
        (with(&one, ", no_proxy: [10.0.0.0/8, \"127.0.0.1:1\"]"), Some(0), 1),
        (with(&one, ", no_proxy: [127.0.0.0/8]"), None, 0),
    ] {
        let before = counts();
        reload(&gateway, &text(&options));
        assert_eq!((all(&gateway), all(&gateway)), ([200; 4], [200; 4]), "{options}");
        for (proxy, (before, after)) in before.into_iter().zip(counts()).enumerate() {
            match way == Some(proxy) {
                true => assert!((fewest..=8).contains(&(after - before)), "{options}: {before} and {after}"),
                false => assert_eq!(before, after, "{options}: proxy {proxy}"),
            }
        }
    }
    reload(&gateway, &text(&with(&other, &credentials)));
    std::fs::write(&secret, "second\n").unwrap();
    all(&gateway);
    reload(&gateway, &text(&with(&other, &credentials)));
    all(&gateway);
    // The base64 of `gate:first` and `gate:second`.
    let heads = other.heads();
    let with = |secret: &str| heads.iter().rposition(|head| head.contains(&format!(": Basic {secret}\r\n"))).unwrap();
    let (first, second) = (with("Z2F0ZTpmaXJzdA=="), with("Z2F0ZTpzZWNvbmQ="));
    assert!(first < second && second == heads.len() - 1, "{heads:?}");
    let log = gateway.log().join("\n");
    for secret in ["first", "second", "Z2F0ZT"] {
        assert!(!log.contains(secret), "{secret}");
    }
}

/// Two providers without TLS have the same proxy, and thus the same address, for Pingora.
#[test]
fn providers_behind_one_proxy_do_not_share_connections() {
    let proxy = ForwardProxy::start();
    let recorders = [Recorder::auth0(), Recorder::auth0()];
    let options = |name: &str, recorder: &Recorder| {
        format!(
            "  {name}: {{ dialect: auth0, url: \"http://{name}.test:{}\", auth: none, allow_http: true, \
            match: {{ host: {name} }}, egress_proxy: {{ url: \"{}\" }} }}\n",
            recorder.address().port(),
            proxy.url()
        )
    };
    let text = format!("upstreams:\n{}{}", options("a", &recorders[0]), options("b", &recorders[1]));
    let gateway = Gateway::start(&text);
    for turn in 1..=3 {
        for (name, recorder) in ["a", "b"].into_iter().zip(&recorders) {
            let response = Request::new("GET", "/x").header("Host", name).send(&gateway.url());
            assert_eq!((response.status, recorder.count()), (200, turn), "{name}");
        }
    }
    assert!(proxy.count() >= 2, "each has one");
}

/// The variables alone change nothing.
#[test]
fn environment_counts_only_where_it_is_declared() {
    let (recorder, proxy) = (Recorder::auth0(), ForwardProxy::start());
    let port = recorder.address().port();
    let url = format!("http://gate:s3cret%21@{}", proxy.address());
    let options = "egress_proxy: environment";
    for (variables, declared, expected) in [
        (&[("HTTPS_PROXY", url.as_str()), ("HTTP_PROXY", &url), ("ALL_PROXY", &url), ("https_proxy", &url)][..], "", 0),
        (&[], options, 0),
        (&[("HTTPS_PROXY", "")], options, 0),
        (&[("HTTP_PROXY", &url), ("ALL_PROXY", &url)], options, 0),
        (&[("HTTPS_PROXY", &url), ("NO_PROXY", "a.example,10.0.0.0/8 ,127.0.0.1")], options, 0),
        (&[("HTTPS_PROXY", &url), ("no_proxy", "*")], options, 0),
        (&[("HTTPS_PROXY", &url), ("NO_PROXY", "a.example, 10.0.0.0/8")], options, 1),
        (&[("https_proxy", &url)], options, 1),
    ] {
        let before = proxy.count();
        let gateway = Gateway::start_with(&upstream(&recorder.url(), declared), variables);
        assert_eq!(all(&gateway), [200; 4], "{variables:?}");
        assert_eq!((proxy.count() - before).min(1), expected, "{variables:?} {declared}");
        let log = [gateway.log(), gateway.stderr()].concat().join("\n");
        assert!(!log.contains("s3cret"), "{log}");
        // A value of `no_proxy` alone makes no variable ignored.
        let names_proxy = |(name, value): &(&str, &str)| name.eq_ignore_ascii_case("HTTPS_PROXY") && !value.is_empty();
        let is_used = !declared.is_empty() && variables.iter().any(names_proxy);
        let is_set = variables.iter().any(|(name, value)| !name.eq_ignore_ascii_case("NO_PROXY") && !value.is_empty());
        let warned = log.contains("proxy environment variables are ignored");
        assert_eq!(warned, is_set && !is_used, "{variables:?} {declared}: {log}");
    }
    let head = proxy.heads().pop().unwrap();
    // The base64 of `gate:s3cret!`.
    let expected = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\n");
    assert!(head.starts_with(&expected) && head.contains(": Basic Z2F0ZTpzM2NyZXQh\r\n"), "{head}");
}

/// TLS to the proxy is verified with its own authority, not with the provider's.
#[test]
fn proxy_with_tls_is_verified() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let recorder = Recorder::auth0();
    let proxy = ForwardProxy::start_tls(ours.certify(&["localhost"], |_| {}));
    let port = proxy.address().port();
    for (host, authority, expected, why) in [
        ("localhost", &ours, 200, ""),
        ("127.0.0.1", &ours, 502, "not valid for name"),
        ("localhost", &other, 502, "UnknownIssuer"),
    ] {
        let options =
            format!("egress_proxy: {{ url: \"https://{host}:{port}\", ca_file: {} }}", authority.file.display());
        let gateway = Gateway::start(&upstream(&recorder.url(), &options));
        gateway.ready();
        assert_eq!(all(&gateway), [expected; 4], "{host}: {:?}", gateway.log());
        if expected != 200 {
            let what = format!("TLS handshake with the egress proxy {host}:{port} failed");
            gateway.wait_for_log(|line| line.contains(&what) && line.contains(why));
        }
    }
    assert!(targets(&proxy).iter().all(|target| *target == recorder.address().to_string()));
}

/// A variable that is not UTF-8 is an error, for `check` as for `run`: the provider must not be reached directly.
#[test]
fn unreadable_variables_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    std::fs::write(&file, upstream("http://127.0.0.1:1", "egress_proxy: environment")).unwrap();
    for command in ["check", "run"] {
        let mut command = sessiongate(&[command, "-c", file.to_str().unwrap()]);
        command.env("HTTPS_PROXY", OsStr::from_bytes(b"http://u:p\xff@127.0.0.1:1"));
        let finished = finish(command);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let why = "environment variable `HTTPS_PROXY`: the value is not valid UTF-8";
        assert!([finished.stdout.as_str(), &finished.stderr].concat().contains(why), "{finished:?}");
    }
}
