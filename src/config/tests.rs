mod findings;
mod grants;
mod schema;

use super::*;
use crate::dialect::DIALECTS;
use crate::gateway::{
    BodyLimits, CaCertificates, CallerCheck, Credential, Freshness, OnUnreachable, Protocol, RequestHead,
    RequestMatcher, Routed, Target, Timeouts, TokenIssuer, Unmatched,
};
use crate::model::{CheckKind, PeerIdentity, SignedDuration};
use crate::policy::{
    ChallengeRule, KeyCase, KeyPatterns, LifetimeRule, Limits, Mode, Normalize, OutsideBounds, Policy, ReturnCode,
    SessionTokenRule, TemplateRule, Wipe,
};
use crate::wire::http1::HeadLimits;
use jsonwebtoken::Algorithm;
use proptest::prelude::*;
use secrecy::ExposeSecret;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

/// A value of a variable. `\u{ff}` stands for a byte that is not UTF-8.
fn of_bytes(value: &str) -> OsString {
    OsString::from_vec(
        value.chars().flat_map(|c| if c == '\u{ff}' { vec![0xff] } else { c.to_string().into_bytes() }).collect(),
    )
}

/// A process with these variables.
struct Variables<'v>(&'v [(&'v str, &'v str)]);

impl Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, value)| of_bytes(value))
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        Sample.file(path)
    }
}

/// The forward proxies of an upstream and of its keys, as URLs with what they send; or the faults.
fn proxies(options: &str, variables: &[(&str, &str)]) -> Result<[Option<String>; 2], String> {
    let text = format!(
        "upstreams: {{a: {{dialect: auth0, url: 'https://a.example', \
         auth: {{issuer: 'https://i.example/', audience: 'https://a.example/api/v2/'{options}}}}}"
    );
    let faults = |faults: Vec<ConfigError>| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let config = compile("c", &text, &Variables(variables), [7; 32]).map_err(faults)?.config;
    let upstream = &config.gateway.upstreams()[0];
    let [TokenIssuer { keys, .. }] = upstream.check.issuers() else { panic!("no check") };
    let shown = |proxy: &Option<std::sync::Arc<crate::gateway::EgressProxy>>| {
        let proxy = proxy.as_ref()?;
        assert!(!format!("{proxy:?}").contains("Basic "), "{proxy:?}");
        let scheme = if proxy.tls { "https" } else { "http" };
        let authorization = proxy.authorization.as_ref().map_or("", |authorization| authorization.expose());
        Some(format!("{scheme}://{} {authorization}", proxy.authority()).trim_end().to_owned())
    };
    Ok([shown(&upstream.target.proxy), shown(&keys.proxy)])
}

#[test]
fn keys_have_the_forward_proxy_of_the_upstream() {
    let both = |proxy: Option<&str>, keys: Option<&str>| Ok([proxy.map(str::to_owned), keys.map(str::to_owned)]);
    let one = "http://p.example:3128";
    for (options, expected) in [
        ("}", both(None, None)),
        ("}, egress_proxy: {url: 'http://p.example:3128'}", both(Some(one), Some(one))),
        (", egress_proxy: off}, egress_proxy: {url: 'http://p.example:3128'}", both(Some(one), None)),
        (", egress_proxy: {url: 'http://p.example:3128'}}", both(None, Some(one))),
        // The provider is excluded, and the issuer is not.
        ("}, egress_proxy: {url: 'http://p.example:3128', no_proxy: [a.example]}", both(None, Some(one))),
        (
            "}, egress_proxy: {url: 'https://[fd00::1]'}",
            both(Some("https://[fd00::1]:443"), Some("https://[fd00::1]:443")),
        ),
    ] {
        assert_eq!(proxies(options, &[("HTTPS_PROXY", "http://never.example")]), expected, "{options}");
    }
}

/// As curl and Go read the variables, and never with their values in a message.
#[test]
fn forward_proxy_of_the_environment() {
    let of = |variables: &[(&str, &str)]| proxies("}, egress_proxy: environment", variables).map(|[proxy, _]| proxy);
    let some = |text: &str| Ok(Some(text.to_owned()));
    for (value, expected) in [
        ("http://p.example:3128", "http://p.example:3128"),
        ("http://p.example:3128/", "http://p.example:3128"),
        ("p.example:3128", "http://p.example:3128"),
        ("HTTPS://P.example", "https://p.example:443"),
        ("http://a:b@p.example", "http://p.example:80 Basic YTpi"),
        ("a:b@p.example:1", "http://p.example:1 Basic YTpi"),
        ("http://a@p.example", "http://p.example:80 Basic YTo="),
        ("http://%61:%3A%40b%2F@p.example", "http://p.example:80 Basic YTo6QGIv"),
    ] {
        assert_eq!(of(&[("HTTPS_PROXY", value)]), some(expected), "{value}");
        assert_eq!(of(&[("https_proxy", value)]), some(expected), "{value}");
    }
    assert_eq!(of(&[("https_proxy", "http://lower"), ("HTTPS_PROXY", "http://upper")]), some("http://upper:80"));
    assert_eq!(of(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "b.example, ,.svc  a.example:443,")]), Ok(None));
    assert_eq!(of(&[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "a.example:80")]), some("http://p:80"));
    for value in
        ["socks5://zq9.example", "http://zq9%zz@p.example", "http://p/zq9", "zq9 zq9", "http://zq9:x", "http://a:zq9@"]
    {
        let error = of(&[("HTTPS_PROXY", value)]).unwrap_err();
        assert!(error.contains("upstreams.a.egress_proxy: environment variable `HTTPS_PROXY`: "), "{error}");
        assert!(!error.contains("zq9"), "{error}");
    }
    // Neither the other spelling nor a direct way stands in for a value that cannot be read.
    for variables in [
        &[("HTTPS_PROXY", "http://zq9:\u{ff}@p")][..],
        &[("HTTPS_PROXY", "http://zq9:\u{ff}@p"), ("https_proxy", "http://lower")],
        &[("HTTPS_PROXY", ""), ("https_proxy", "\u{ff}")],
        &[("HTTPS_PROXY", "http://p"), ("NO_PROXY", "a.example,zq9\u{ff}")],
    ] {
        let error = of(variables).unwrap_err();
        assert!(error.contains("_") && error.ends_with("`: the value is not valid UTF-8"), "{error}");
        assert!(!error.contains("zq9"), "{error}");
    }
    assert_eq!(of(&[("HTTPS_PROXY", "http://upper"), ("https_proxy", "\u{ff}")]), some("http://upper:80"));
    // The name of a proxy with TLS has to be one that a certificate can have.
    for value in ["https://zq9.123:1", "https://-zq9-.x"] {
        let error = of(&[("HTTPS_PROXY", value)]).unwrap_err();
        assert!(error.contains("is no name for TLS") && !error.contains("zq9"), "{error}");
        let error = proxies(&format!("}}, egress_proxy: {{url: '{value}'}}"), &[]).unwrap_err();
        assert!(error.contains("egress_proxy.url: ") && error.contains("is no name for TLS"), "{error}");
        let cleartext = value.replace("https", "http");
        assert!(of(&[("HTTPS_PROXY", &cleartext)]).is_ok(), "{cleartext}");
    }
    let error = of(&[("HTTPS_PROXY", "http://a%3Azq9:pw@h")]).unwrap_err();
    assert!(error.contains("the username has a `:`") && !error.contains("zq9"), "{error}");
    let error = of(&[("HTTPS_PROXY", "http://p"), ("no_proxy", "a.example, http://zq9")]).unwrap_err();
    assert!(error.contains("environment variable `no_proxy`: entry 2 is not a host"), "{error}");
    assert!(!error.contains("zq9"), "{error}");
}

/// What can be looked up in tests. The value of `AUTH` must never be seen in a message.
struct Sample;

const HIDDEN: &str = "zq9";
const SEAL: &str = "0123456789abcdef0123456789abcdef";

/// A machine that has so much memory for the process.
struct Sized(usize);

impl Environment for Sized {
    fn variable(&self, name: &str) -> Option<OsString> {
        Sample.variable(name)
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        Sample.file(path)
    }

    fn memory(&self) -> Option<usize> {
        Some(self.0)
    }
}

/// The limit of the system counts where none is declared.
#[test]
fn in_memory_store_must_fit_into_process_memory() {
    let warned = |memory: usize, more: &str| {
        let text =
            format!("{more}upstreams: {{a: {{dialect: auth0, url: https://a.example, auth: none, cache: {{}}}}}}");
        let warnings = compile("c", &text, &Sized(memory), [7; 32]).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(warned(256 << 20, ""), "");
    assert_eq!(
        warned(256 << 20, "store: {memory: {max_bytes: 1GiB}}\n"),
        "c:1:29: store.memory.max_bytes: 1GiB does not fit into the memory limit of the process (256MiB); \
         at most 171MiB leaves enough memory for clients"
    );
    assert_eq!(warned(2 << 30, "store: {memory: {max_bytes: 1GiB}}\n"), "");
    assert_eq!(warned(256 << 20, "clients: {limits: {memory: 2GiB}}\nstore: {memory: {max_bytes: 1GiB}}\n"), "");
}

/// A certificate of the gateway's.
static GATE: LazyLock<rcgen::CertifiedKey<rcgen::KeyPair>> =
    LazyLock::new(|| rcgen::generate_simple_self_signed(vec!["gate.example".into()]).unwrap());

impl Environment for Sample {
    fn variable(&self, name: &str) -> Option<OsString> {
        match name {
            "AUTH" => Some(HIDDEN.into()),
            "EMPTY" => Some(OsString::new()),
            "LONG" | "SESSIONGATE_HASH_KEY" => Some("0123456789abcdef".into()),
            "DOLLAR" => Some("${AUTH} $$".into()),
            "MAP" => Some("{a: b}\nc: [d]".into()),
            "SEAL" => Some(SEAL.into()),
            "SPACED" => Some("0123456789 abcdef".into()),
            "AUTH0_DOMAIN" => Some("acme.eu.auth0.com".into()),
            _ => None,
        }
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        match path.to_str().unwrap() {
            "long" => Ok(b"0123456789abcdef".to_vec()),
            "short" => Ok(b"0123456789abcde\r\n".to_vec()),
            "seal" => Ok(format!("{SEAL}\n").into_bytes()),
            "bytes" => Ok(b"\xff\xfe\n".to_vec()),
            name if name.starts_with("marked-") => {
                Ok([b"\xef\xbb\xbf", &*self.file(Path::new(name.trim_start_matches("marked-")))?].concat())
            }
            "gate.pem" | "/run/secrets/gate.pem" => Ok(GATE.cert.pem().into_bytes()),
            "gate.key" | "/run/secrets/gate.key" => Ok(GATE.signing_key.serialize_pem().into_bytes()),
            "other.key" => Ok(rcgen::KeyPair::generate().unwrap().serialize_pem().into()),
            "unusable.key" => Ok(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec()),
            name if name.ends_with(".key") && !name.starts_with("locked") => Ok(key().serialize_pem().into()),
            "locked.key" => {
                Ok(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_vec())
            }
            name if name.starts_with("/run/secrets/") && !name.contains("client.") => Ok(SEAL.into()),
            "damaged.pem" => Ok(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n".to_vec()),
            "hollow.pem" => Ok([certificate().as_bytes(), HOLLOW].concat()),
            name if name.ends_with(".pem") || name.ends_with(".crt") => Ok(certificate().into_bytes()),
            _ => Err("file not found".into()),
        }
    }
}

/// A certificate in form only.
const HOLLOW: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

fn key() -> &'static rcgen::KeyPair {
    static KEY: std::sync::OnceLock<rcgen::KeyPair> = std::sync::OnceLock::new();
    KEY.get_or_init(|| rcgen::KeyPair::generate().unwrap())
}

/// The certificate of [`key`], to the letter the same each time.
fn certificate() -> String {
    static CERTIFICATE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let params = rcgen::CertificateParams::new(vec!["client.example".into()]).unwrap();
    CERTIFICATE.get_or_init(|| params.self_signed(key()).unwrap().pem()).clone()
}

/// The lines of faults, or else of warnings, without the name of the text and with `{dialects}` for their names.
fn lines(text: &str) -> Vec<String> {
    let dialects = super::error::listed(DIALECTS.iter().map(|dialect| dialect.name));
    let line = |mark: &str, fault: &ConfigError| {
        format!("{mark} {}", fault.to_string().strip_prefix("c:").unwrap().replace(&dialects, "{dialects}"))
    };
    match compile("c", text, &Sample, [7; 32]) {
        Ok(compiled) => compiled.warnings.iter().map(|warning| line("~>", warning)).collect(),
        Err(faults) => faults.iter().map(|fault| line("=>", fault)).collect(),
    }
}

/// Runs the cases of a file: a comment, a text, and the faults (`=>`) or warnings (`~>`) that it must have, to the
/// letter, or that it is good (`==`). With `UPDATE_CASES=1` they are written anew; then look at the difference.
fn run(file: &str, whole: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests").join(file);
    let cases = std::fs::read_to_string(&path).unwrap();
    let mut actual = String::new();
    for case in cases.trim_end().split("\n\n") {
        let input = case.lines().take_while(|line| !["=>", "~>", "=="].iter().any(|mark| line.starts_with(mark)));
        let input: Vec<&str> = input.collect();
        let found = lines(&whole(&input[1..].join("\n")));
        let found = if found.is_empty() { vec!["== good".to_owned()] } else { found };
        let case: Vec<String> = input.iter().map(|line| (*line).to_owned()).chain(found).collect();
        actual += &(case.join("\n") + "\n\n");
    }
    println!("{actual}");
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(&path, format!("{}\n", actual.trim_end())).unwrap();
        return;
    }
    assert_eq!(actual.trim_end(), cases.trim_end());
}

/// Makes a whole text of a case.
type Whole = fn(&str) -> String;

/// The files of cases, and how their texts become whole.
fn wholes() -> [(&'static str, Whole); 5] {
    [
        ("whole.txt", str::to_owned),
        ("upstream.txt", |case| {
            let base = ["dialect: auth0", "url: https://a.example", "auth: none"];
            format!("upstreams:\n  a:\n{}\n", filled(case, &base))
        }),
        ("store.txt", |case| {
            let elsewhere = ["sentinel:", "cluster:", "# no url"].iter().any(|way| case.contains(way));
            let base = ["url: rediss://r.example", "seal_keys: [{env: SEAL}]"];
            let lines = filled(case, &base[usize::from(elsewhere)..]);
            format!("store:\n  redis:\n{lines}\nhash_key: {{env: LONG}}\n{LEAST}\n")
        }),
        ("policy.txt", |case| {
            let lines: Vec<String> = case.lines().map(|line| format!("    {line}")).collect();
            let upstreams = "upstreams: {a: {dialect: auth0, url: https://a.example, auth: none, policy: p}}";
            format!("policies:\n  p:\n{}\n{upstreams}\n", lines.join("\n"))
        }),
        ("listener.txt", |case| {
            let lines: Vec<String> = case.lines().map(|line| format!("    {line}")).collect();
            format!("listeners:\n  a:\n{}\n{LEAST}\n", lines.join("\n"))
        }),
    ]
}

/// The options of a case, and those of `base` that it does not have.
fn filled(case: &str, base: &[&str]) -> String {
    let own = |line: &&&str| case.lines().any(|one| one.split(':').next() == line.split(':').next());
    let lines = case.lines().chain(base.iter().filter(|line| !own(line)).copied());
    let lines: Vec<String> = lines.map(|line| format!("    {line}")).collect();
    lines.join("\n")
}

#[test]
fn whole() {
    let [(file, whole), ..] = wholes();
    run(file, whole);
}

#[test]
fn upstream() {
    let [_, (file, whole), ..] = wholes();
    run(file, whole);
}

#[test]
fn store() {
    let [_, _, (file, whole), ..] = wholes();
    run(file, whole);
}

#[test]
fn listener() {
    let [.., (file, whole)] = wholes();
    run(file, whole);
}

#[test]
fn policy() {
    let [_, _, _, (file, whole), _] = wholes();
    run(file, whole);
}

const EXAMPLE: &str = include_str!("../../config/example.yaml");
const AUTH0: &str = include_str!("../../config/auth0.yaml");
const REFERENCE: &str = include_str!("../../docs/reference/configuration.md");
const LEAST: &str = "upstreams: {a: {dialect: auth0, url: https://a.example, auth: none}}";

/// The defaults of `cache`.
const FRESHNESS: Freshness = Freshness {
    ttl: Duration::from_secs(30),
    max_body: 64 << 10,
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    negative_ttl: Duration::ZERO,
    on_unreachable: OnUnreachable::Forward,
};

/// The example with the store that stands in comments: with all that says where its servers are, or with one `way`
/// only.
fn shared(way: Option<&str>) -> String {
    let (before, store) = EXAMPLE.split_once("\nstore:").unwrap();
    let store = store.replace("\n  # redis:", "\n  redis:").replace("\n  #   ", "\n    ");
    let text = format!("{before}\nstore:{store}");
    let text = text.replace("\n  memory:\n    max_bytes:", "\n  #").replace("# hash_key:", "hash_key:");
    let mut kept = true;
    let lines = text.lines().filter(|line| {
        let option =
            line.strip_prefix("    ").filter(|rest| !rest.starts_with(' ')).and_then(|rest| rest.split_once(':'));
        if let Some((key, value)) = option {
            let is_way = ["url", "sentinel", "cluster"].contains(&key) && !value.starts_with(" https");
            kept = !is_way || way.is_none_or(|way| way == key);
        }
        kept
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The example with the listeners that stand in comments, and with a grant for client certificates.
fn several_listeners() -> String {
    let (before, after) = EXAMPLE.split_once("listen: 127.0.0.1:8080\n").unwrap();
    let (comment, after) = after.split_once("# listeners:").unwrap();
    let (listeners, after) = after.split_once("\n# Listen address of probes").unwrap();
    let after = after.replace("\n          # certificate:", "\n          certificate:");
    let after = after.replace("\n          #   subject:", "\n            subject:");
    format!("{before}{comment}listeners:{}\n# Listen address of probes{after}", listeners.replace("\n# ", "\n"))
}

/// The example with TLS at `admin`, and with `control`.
fn operations() -> String {
    let (before, after) = EXAMPLE.split_once("\nadmin:").unwrap();
    let (own, after) = after.split_once("\n# Number of threads").unwrap();
    let plain = |line: &str| match line.strip_prefix("  # ") {
        Some(rest) => format!("  {rest}"),
        None if line.starts_with("# control:") || line.starts_with("#   ") => line[2..].to_owned(),
        None => line.to_owned(),
    };
    let own: Vec<String> = own.split('\n').map(plain).collect();
    format!("{before}\nadmin:{}\n# Number of threads{after}", own.join("\n"))
}

/// The names of listeners, and where they listen.
fn listening(config: &Config) -> Vec<String> {
    config.listeners.iter().map(|listener| format!("{} at {}", listener.name, listener.address)).collect()
}

fn shared_store(text: &str) -> Redis {
    let Store::Redis(store) = compiled(text).store else { panic!("not shared") };
    *store
}

fn compiled(text: &str) -> Config {
    let Compiled { config, warnings } = compile("c", text, &Sample, [7; 32]).unwrap();
    assert_eq!(warnings, []);
    config
}

#[test]
fn the_examples_are_accepted_without_a_warning() {
    let config = compiled(EXAMPLE);
    assert_eq!(config.gateway.upstreams().len(), 2);
    let listeners = listening(&compiled(&several_listeners()));
    assert_eq!(listeners, ["main at 0.0.0.0:8443", "pod at unix:/run/sessiongate/gate.sock"]);
    let config = compiled(AUTH0);
    let [TokenIssuer { expected, keys, .. }] = config.gateway.upstreams()[0].check.issuers() else {
        panic!("no check")
    };
    assert_eq!(expected.issuers, ["https://acme.eu.auth0.com/"]);
    assert_eq!(expected.audiences, ["https://acme.eu.auth0.com/api/v2/"]);
    assert_eq!(keys.jwks, None);
    assert!(AUTH0.lines().count() <= 15);
}

/// The allowed keys of every map of options in the example, found out by asking for one that no map has.
#[test]
fn every_option_stands_in_the_example_and_in_the_reference() {
    fn spoil(node: &mut tree::Node) {
        if let tree::NodeKind::Map(members) = &mut node.kind {
            members.iter_mut().for_each(|member| spoil(&mut member.value));
            let kind = tree::NodeKind::Scalar { text: "x".into(), plain: true };
            let value = tree::Node { place: node.place, kind };
            members.push(tree::Member { key: "never".into(), place: node.place, value });
        }
    }
    let mut options = 0;
    for example in [EXAMPLE, &shared(None), &several_listeners(), &operations()] {
        let mut root = tree::parse(example).0.unwrap();
        spoil(&mut root);
        let mut context = Context::new("c", &Sample, |_, _| None);
        context.read_map(&Entry::root(&root), |section| process::read(section, &[7; 32]));
        let unknown = context.faults.iter().filter(|fault| fault.found == "unknown key");
        for (fault, key) in unknown.flat_map(|fault| {
            fault.allowed.iter().flat_map(|all| all.split('`').skip(1).step_by(2)).map(move |key| (fault, key))
        }) {
            assert!(
                EXAMPLE.contains(&format!(" {key}:")) || EXAMPLE.contains(&format!("\n{key}:")),
                "{key} at {fault}"
            );
            assert!(REFERENCE.contains(&format!("| `{key}` |")), "{key} at {fault}");
            options += 1;
        }
    }
    assert!(options > 180, "{options}");
}

#[test]
fn omitted_options_have_their_defaults() {
    let config = compiled(LEAST);
    assert_eq!(listening(&config), ["main at 127.0.0.1:8080"]);
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:9090");
    assert!(config.control.is_none());
    assert_eq!(config.threads, None);
    let (sample, client_id, subject) = (Ratio::ONE, ShownAs::Plain, ShownAs::Hash);
    let log = Log { format: LogFormat::Json, level: LogLevel::Info, requests: true, sample, client_id, subject };
    assert_eq!(config.log, log);
    assert_eq!(config.replicas, 1);
    assert!(matches!(config.store, Store::Memory(Memory { max_bytes: 0x400_0000 })));
    assert_eq!(
        config.shutdown,
        Shutdown { drain_delay: Duration::ZERO, grace: Duration::from_secs(30), upgrade_socket: None }
    );
    let upstream = &config.gateway.upstreams()[0];
    assert_eq!((upstream.name.as_str(), upstream.index, upstream.dialect.name), ("a", 0, "auth0"));
    assert_eq!(upstream.matcher, RequestMatcher::default());
    assert_eq!(upstream.unmatched, Unmatched::Forward);
    assert!(matches!(upstream.check, CallerCheck::None));
    assert_eq!(upstream.policy.limits, upstream.dialect.limits);
    assert!(upstream.policy.allowed.is_none() && upstream.policy.fields.is_empty());
    assert_eq!(upstream.cache, None);
    let timeout = Duration::from_secs(15);
    assert_eq!(upstream.body, BodyLimits { max: 256 << 10, max_undeclared: 64 << 10, timeout });
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { connect: seconds(1), first_byte: timeout, idle: seconds(60), keepalive: seconds(30) };
    let (host, base_path) = ("a.example".into(), String::new());
    let (authorities, identity, protocol) = (None, None, Protocol::Http1);
    let (virtual_host, rooted) = (None, false);
    let target = Target {
        tls: true,
        host,
        rooted,
        port: 443,
        virtual_host,
        base_path,
        authorities,
        identity,
        protocol,
        timeouts,
        proxy: None,
    };
    assert_eq!(upstream.target, target);
    assert_eq!(config.dns, Dns::default());
}

#[test]
fn listeners_are_parsed() {
    let config = compiled(&several_listeners());
    let tls = config.listeners[0].tls.as_ref().unwrap();
    assert_eq!((tls.certificates.len(), tls.only_tls13), (1, false));
    assert!(tls.clients.as_ref().is_some_and(|clients| clients.required && clients.authorities.len() == 1));
    let ListenAddress::Unix(file) = &config.listeners[1].address else { panic!("not a file") };
    assert_eq!((file.mode, file.owner), (0o660, Some((1000, 1000))));
    let defaults = compiled(LEAST).clients;
    let head = HeadLimits::default();
    let limits = ClientLimits { connections: 10_000, per_source: 200, streams: 100, memory: None, head };
    assert_eq!(defaults.limits, limits);
    assert_eq!(compiled(EXAMPLE).clients, Clients { trusted_peers: vec!["10.0.0.0/8".parse().unwrap()], ..defaults });
}

#[test]
fn options_of_the_example_are_parsed() {
    let config = compiled(EXAMPLE);
    let upstream = &config.gateway.upstreams()[0];
    let matcher = RequestMatcher {
        listener: Some("main".into()),
        host: Some("sessions.acme.example".into()),
        path_prefix: "/acme".into(),
        strip_prefix: true,
    };
    assert_eq!(upstream.matcher, matcher);
    let certificates = authorities().unwrap();
    assert_eq!(upstream.target.authorities.as_ref(), Some(&certificates));
    assert_eq!((upstream.target.protocol, &upstream.target.identity), (Protocol::Http1, &None));
    assert_eq!(upstream.cache, Some(FRESHNESS));
    let [TokenIssuer { expected, keys, .. }] = upstream.check.issuers() else { panic!("no check") };
    assert_eq!((expected.algorithms.as_slice(), expected.leeway), ([Algorithm::RS256].as_slice(), 30));
    let seconds = Duration::from_secs;
    assert_eq!((keys.refresh, keys.min_interval, keys.max_stale), (seconds(600), seconds(10), seconds(86_400)));
    assert_eq!(keys.timeout, seconds(10));
    assert_eq!(keys.authorities.as_ref(), Some(&certificates));
    assert_eq!(upstream.refresh_token_policy.required.len(), upstream.policy.required.len());
    let Policy { mode, wipe, limits, allowed, required, protected, fields, normalize, .. } = &upstream.policy;
    assert_eq!(upstream.policy.lifetime, LifetimeRule::default());
    assert_eq!((*mode, *wipe), (Mode::Enforce, Wipe::Reject));
    let tighter = Limits { properties: Some(20), key_length: Some(64), value_length: Some(200), plain_keys: true };
    assert_eq!(*limits, tighter);
    let keys = [allowed.clone().unwrap(), KeyPatterns(required.clone()), protected.clone()];
    assert_eq!(
        keys.map(|keys| keys.to_string()),
        ["`team`, `flag_*`, `/region_[a-z]{2}/`, `tenant`", "`team`", "`tenant`"]
    );
    let rule = &fields[0].1;
    assert_eq!((rule.min_length, rule.max_length, rule.default.as_deref()), (Some(1), Some(64), Some("blue")));
    assert!(rule.regex.is_some() && rule.one_of.as_deref() == Some(&["blue".into(), "green".into()]));
    let all = Normalize { nfc: true, trim: true, key_case: KeyCase::Lower, scalars_to_strings: true, drop_empty: true };
    assert_eq!(*normalize, all);
}

/// The one certificate of the tests, as it is held.
fn authorities() -> Option<CaCertificates> {
    use rustls_pki_types::pem::PemObject;
    Some(vec![rustls_pki_types::CertificateDer::from_pem_slice(certificate().as_bytes()).unwrap()].into())
}

#[test]
fn contents_of_provider_files_count_and_not_their_paths() {
    let text = "upstreams: {a: {dialect: auth0, url: https://a.example, auth: none, protocol: auto, tls: {ca_file: ca.pem, certificate: client.pem, key: client.key}}}";
    let target = compiled(text).gateway.upstreams()[0].target.clone();
    assert_eq!((&target.authorities, target.protocol), (&authorities(), Protocol::Auto));
    let identity = target.identity.clone().unwrap();
    assert_eq!((Some(&identity.chain), identity.key.secret_der()), (authorities().as_ref(), key().serialized_der()));
    // What the files hold makes the difference, and not how they are called.
    let renamed = compiled(&text.replace("client.", "other-name.")).gateway.upstreams()[0].target.clone();
    assert_eq!(renamed, target);
    // Some editors put a byte order mark before a text.
    let marked = text.replace("ca.pem", "marked-ca.pem").replace("client.", "marked-client.");
    assert_eq!(compiled(&marked).gateway.upstreams()[0].target, target);
    let shown = format!("{target:?}");
    assert!(shown.contains("elided") && !shown.contains(&format!("{:?}", &key().serialized_der()[..9])), "{shown}");
}

#[test]
fn dns_servers_keep_their_order() {
    let text = format!("dns: {{servers: [10.0.0.10, '127.0.0.1:5353', '::1', '[::1]:54']}}\n{LEAST}");
    let servers = ["10.0.0.10:53", "127.0.0.1:5353", "[::1]:53", "[::1]:54"];
    assert_eq!(compiled(&text).dns.servers, servers.map(|server| server.parse().unwrap()));
}

#[test]
fn policy_applies_to_refresh_tokens_without_their_own() {
    let wipes = |policies: &str| {
        let text = LEAST.replace("none}", &format!("none{policies}}}"));
        let text = format!("{text}\npolicies: {{ p: {{ wipe: reject }}, q: {{}} }}\n");
        let Compiled { config, .. } = compile("c", &text, &Sample, [7; 32]).unwrap();
        let upstream = &config.gateway.upstreams()[0];
        [&upstream.policy, &upstream.refresh_token_policy].map(|policy| {
            assert_eq!(policy.limits, upstream.dialect.limits);
            policy.wipe == Wipe::Allow
        })
    };
    assert_eq!(wipes(""), [true, true]);
    assert_eq!(wipes(", policy: p"), [false, false]);
    assert_eq!(wipes(", policy: p, refresh_token_policy: q"), [false, true]);
    assert_eq!(wipes(", refresh_token_policy: p"), [true, false]);
}

#[test]
fn session_rules_are_parsed() {
    let bound = EXAMPLE.replace("policy: support", "policy: logins");
    let Compiled { config, warnings } = compile("c", &bound, &Sample, [7; 32]).unwrap();
    let found: Vec<&str> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    let options = ["lifetime", "session_token", "checks", "challenges"];
    assert_eq!(found[0], "policies.support");
    assert_eq!(found[1..], options.map(|option| format!("policies.logins.{option}")));
    let Policy { lifetime, session_token, checks, challenges, .. } = &config.gateway.upstreams()[0].policy;
    let length = |seconds| Some(SignedDuration { seconds, nanos: 0 });
    let expected =
        LifetimeRule { min: length(300), max: length(43_200), outside: OutsideBounds::Clamp, required: true };
    assert_eq!(*lifetime, expected);
    assert_eq!(*session_token, SessionTokenRule::Required);
    assert_eq!(checks.allowed, Some(vec![CheckKind::User, CheckKind::Password, CheckKind::Totp]));
    let ChallengeRule { return_code, url_template: TemplateRule { schemes, hosts } } = challenges;
    assert_eq!(*return_code, ReturnCode::Reject);
    let [scheme] = schemes.as_deref().unwrap() else { panic!("{schemes:?}") };
    let [exact, below] = hosts.as_deref().unwrap() else { panic!("{hosts:?}") };
    let all = (scheme.to_string(), exact.to_string(), below.to_string());
    assert_eq!(all, ("https".into(), "login.example.com".into(), "*.login.example.com".into()));
}

#[test]
fn redis_store_is_parsed() {
    let store = shared_store(&shared(Some("url")));
    let address = |host: &str, port| RedisAddress { host: host.into(), port };
    assert!(matches!(&store.servers, Servers::Single(server) if *server == address("cache.example", 6379)));
    assert_eq!((store.database, store.namespace.as_str(), store.max_in_flight), (0, "sessiongate", 1024));
    let held = |login: &Login| login.password.as_ref().map(|password| password.expose_secret().to_owned());
    assert_eq!((store.login.username.as_deref(), held(&store.login)), (Some("gate"), Some(SEAL.into())));
    let client = ["/run/secrets/redis-client.pem", "/run/secrets/redis-client.key"].map(PathBuf::from);
    let ca_file = Some("/etc/ssl/certs/ca-certificates.crt".into());
    assert_eq!(
        store.tls,
        Some(RedisTls { ca_file, client: Some(client.into()), server_name: Some("redis.example".into()) })
    );
    let keys: Vec<&[u8]> = store.seal_keys.iter().map(|key| key.expose_secret()).collect();
    assert_eq!(keys, [SEAL.as_bytes(); 2]);
    let millis = Duration::from_millis;
    assert_eq!(store.timeouts, RedisTimeouts { connect: millis(250), read: millis(50), write: millis(100) });
    assert_eq!((store.lease_wait, store.settle), (Duration::from_secs(2), Duration::from_secs(2)));
    assert!(!format!("{store:?}").contains("0123456789abcdef"), "{store:?}");

    let store = shared_store(&shared(Some("sentinel")));
    let Servers::Sentinel { service, nodes, login } = &store.servers else { panic!("{store:?}") };
    assert_eq!((service.as_str(), nodes.len(), &nodes[1]), ("sessions", 2, &address("s2.example", 26379)));
    assert_eq!((login.username.as_deref(), held(login)), (Some("watcher"), Some(SEAL.into())));
    assert!(!format!("{store:?}").contains("0123456789abcdef"), "{store:?}");

    let store = shared_store(&shared(Some("cluster")).replace("    database: 0", "    #"));
    let Servers::Cluster(nodes) = &store.servers else { panic!("{store:?}") };
    assert_eq!(*nodes, [address("n1.example", 6379), address("n2.example", 6379)]);
}

#[test]
fn omitted_redis_options_have_their_defaults() {
    let text = |rest: &str| {
        format!("hash_key: {{env: LONG}}\nstore: {{redis: {{seal_keys: [{{env: SEAL}}], {rest}}}}}\n{LEAST}")
    };
    let least = shared_store(&text("url: redis://R.Example"));
    let full = shared_store(&shared(Some("url")));
    assert!(matches!(least.servers, Servers::Single(server) if server.host == "r.example" && server.port == 6379));
    assert!(least.tls.is_none() && least.login.username.is_none() && least.login.password.is_none());
    assert_eq!((least.database, &least.namespace), (full.database, &full.namespace));
    assert_eq!((least.timeouts, least.max_in_flight), (full.timeouts, full.max_in_flight));
    assert_eq!((least.lease_wait, least.settle), (full.lease_wait, full.settle));
    let encrypted = shared_store(&text("url: 'REDISS://[::1]'"));
    assert!(matches!(encrypted.servers, Servers::Single(server) if server.host == "::1"));
    assert_eq!(encrypted.tls, Some(RedisTls::default()));
    let sentinels = shared_store(&text("sentinel: {service: s, nodes: ['redis://a', 'redis://b:1']}"));
    let Servers::Sentinel { nodes, .. } = &sentinels.servers else { panic!("{sentinels:?}") };
    assert_eq!((nodes[0].port, nodes[1].port), (26379, 1));
}

/// What an open listener is may not change, and who may use it may.
#[test]
fn credentials_of_the_listeners_for_operations_need_no_restart() {
    let text = operations();
    let started = compiled(&text);
    assert!(started.admin.as_ref().is_some_and(|admin| admin.tls.is_some()));
    let control = started.control.as_ref().unwrap();
    assert!(control.token.is_some() && control.tls.as_ref().is_some_and(|tls| tls.clients.is_some()));
    let waiting = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        started.restart_required(&compiled(&text.replace(from, to)))
    };
    let token = "token: { file: /run/secrets/control-token }";
    for (from, to) in
        [(token, "token: { file: long }"), (token, ""), ("    client_ca_file: /etc/ssl/certs/ca-certificates.crt", "")]
    {
        assert_eq!(waiting(from, to), [], "{to}");
    }
    let plain = "admin: { address: 127.0.0.1:9090 }\ncontrol: 127.0.0.1:9091\nupstreams: ";
    let least = compiled(&LEAST.replace("upstreams: ", plain));
    let encrypted = "admin: { tls: { certificate: gate.pem, key: gate.key } }\n\
        control: { address: 127.0.0.1:9091, token: { file: long } }\nupstreams: ";
    let changed = least.restart_required(&compiled(&LEAST.replace("upstreams: ", encrypted)));
    assert_eq!(changed, [RestartRequired::Admin]);
    assert_eq!(least.restart_required(&compiled(LEAST)), [RestartRequired::Control]);
}

/// Only its own user may connect to the socket of `control`.
#[test]
fn socket_of_control_is_for_its_owner() {
    let text = format!("admin: unix:/run/a.sock\ncontrol: unix:/run/c.sock\n{LEAST}");
    let config = compiled(&text);
    let modes = [config.admin, config.control].map(|listener| match listener.unwrap().address {
        ListenAddress::Unix(file) => file.mode,
        ListenAddress::Tcp(address) => panic!("{address}"),
    });
    assert_eq!(modes, [0o660, 0o600]);
}

#[test]
fn changed_options_that_need_a_restart_are_reported() {
    let text = shared(Some("url"));
    let started = compiled(&text);
    let waiting = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        started.restart_required(&compiled(&text.replace(from, to)))
    };
    for (from, to) in [
        ("file: /run/secrets/seal-2", "env: SEAL"),
        ("timeouts:\n      connect: 250ms", "timeouts:\n      connect: 0s250ms"),
        ("level: info", "level: debug"),
        ("requests: true", "requests: false"),
        ("10.0.0.0/8", "10.0.0.0/9"),
        ("head_timeout: 10s", "head_timeout: 11s"),
        ("grace: 30s", "grace: 31s"),
        ("watch: true", "watch: false"),
        ("ttl: 30s", "ttl: 31s"),
        ("replicas: 1", "replicas: 2"),
    ] {
        assert_eq!(waiting(from, to), [], "{to}");
    }
    for (from, to, option) in [
        ("listen: 127.0.0.1:8080", "listen: 127.0.0.1:8081", RestartRequired::Listeners),
        ("  address: 127.0.0.1:9090", "  address: 127.0.0.1:9092", RestartRequired::Admin),
        ("# control:", "control: 127.0.0.1:9091\n# c:", RestartRequired::Control),
        ("threads: auto", "threads: 2", RestartRequired::Threads),
        ("format: json", "format: text", RestartRequired::LogFormat),
        ("hash_key: { env: SESSIONGATE_HASH_KEY }", "hash_key: { env: SEAL }", RestartRequired::HashKey),
        ("url: rediss://cache.example:6379", "url: rediss://cache.example:6380", RestartRequired::Store),
        ("database: 0", "database: 1", RestartRequired::Store),
        ("username: gate", "username: other", RestartRequired::Store),
        ("{ file: /run/secrets/redis }", "{ file: long }", RestartRequired::Store),
        ("ca_file: /etc/ssl/certs/ca-certificates.crt", "ca_file: a.pem", RestartRequired::Store),
        ("redis-client.pem", "redis-client.crt", RestartRequired::Store),
        ("namespace: sessiongate", "namespace: other", RestartRequired::Store),
        (", { file: /run/secrets/seal-1 }", "", RestartRequired::Store),
        ("read: 50ms", "read: 51ms", RestartRequired::Store),
        ("lease_wait: 2s", "lease_wait: 3s", RestartRequired::Store),
        ("max_in_flight: 1024", "max_in_flight: 1025", RestartRequired::Store),
        ("settle: 2s", "settle: 3s", RestartRequired::Store),
    ] {
        assert_eq!(waiting(from, to), [option], "{to}");
    }
    let memory = compiled(EXAMPLE);
    assert_eq!(
        memory.restart_required(&compiled(&EXAMPLE.replace("max_bytes: 64MiB", "max_bytes: 65MiB"))),
        [RestartRequired::Store]
    );
    assert_eq!(memory.restart_required(&started), [RestartRequired::HashKey, RestartRequired::Store]);
    let files: Vec<_> = started.store.files().into_iter().map(|path| path.to_str().unwrap()).collect();
    let own = ["/etc/ssl/certs/ca-certificates.crt", "/run/secrets/redis-client.pem", "/run/secrets/redis-client.key"];
    assert_eq!(files, own);
}

/// Clients are compared by their IPv4 address.
#[test]
fn mapped_networks_are_ipv4_networks() {
    let networks = ["::ffff:127.0.0.1", "::ffff:10.0.0.0/104", "::fffe:0:0/95", "::fffe:0:0/96", "fd00::/8"];
    let text = format!("clients: {{ trusted_peers: ['{}'] }}\n{LEAST}", networks.join("', '"));
    let peers: Vec<String> = compiled(&text).clients.trusted_peers.iter().map(ToString::to_string).collect();
    assert_eq!(peers, ["127.0.0.1/32", "10.0.0.0/8", "::fffe:0:0/95", "::fffe:0:0/96", "fd00::/8"]);
}

/// A TCP proxy is trusted from the moment at which its connections begin with a header.
#[test]
fn trusted_peers_and_proxy_protocol_need_one_restart() {
    let config = |listeners: &str, peers: &str| {
        compiled(&format!("listeners: {{ {listeners} }}\nclients: {{ trusted_peers: [{peers}] }}\n{LEAST}"))
    };
    let listener = |name: &str, port: u16, header: &str| {
        format!("{name}: {{ address: 0.0.0.0:{port}, proxy_protocol: {header} }}")
    };
    let started = config(&[listener("a", 1, "off"), listener("b", 2, "required")].join(", "), "10.0.0.1");
    let both = [RestartRequired::Listeners, RestartRequired::TrustedPeers];
    for (a, b, expected) in [
        (listener("a", 1, "off"), listener("b", 2, "required"), &both[..0]),
        (listener("a", 3, "off"), listener("b", 2, "required"), &both[..1]),
        (listener("a", 1, "required"), listener("b", 2, "required"), &both),
        (listener("a", 1, "off"), listener("b", 2, "off"), &both),
        (listener("a", 1, "off"), listener("c", 2, "required"), &both),
        (listener("a", 2, "off"), listener("b", 1, "required"), &both),
    ] {
        let listeners = format!("{a}, {b}");
        assert_eq!(started.restart_required(&config(&listeners, "10.0.0.1, 10.0.0.2")), expected, "{listeners}");
        let same = started.restart_required(&config(&listeners, "10.0.0.1"));
        assert_eq!(same, &expected[..expected.len().min(1)], "{listeners}");
    }
}

#[test]
fn stale_windows_are_parsed() {
    let cache = "{ttl: 2s, stale_while_revalidate: 1s, stale_if_error: 1500ms, negative_ttl: 1s, on_unreachable: hold}";
    let config = compiled(&LEAST.replace("none}", &format!("none, cache: {cache}}}")));
    let cache = config.gateway.upstreams()[0].cache.unwrap();
    let millis = Duration::from_millis;
    assert_eq!(
        (cache.ttl, cache.stale_while_revalidate, cache.stale_if_error),
        (millis(2000), millis(1000), millis(1500))
    );
    assert_eq!(
        (cache.negative_ttl, cache.on_unreachable, cache.max_serving_time()),
        (millis(1000), OnUnreachable::Hold, millis(4500))
    );
    let negative = Freshness { ttl: millis(1000), negative_ttl: millis(2000), ..FRESHNESS };
    assert_eq!(negative.max_serving_time(), millis(2000));
}

#[test]
fn words_and_units_have_their_meaning() {
    let process = "\
listen: '[::]:0'
admin: off
threads: '4'
log: {format: text, level: trace, requests: false, sample: 0.25, caller: {client_id: off, subject: plain}}
shutdown: {drain_delay: 500ms, grace: 1m1s}
store: {memory: {max_bytes: 1GiB}}
";
    let upstream = "\
upstreams:
  b_1-x:
    dialect: auth0
    url: HTTPS://A.Example:8443/base/
    match: {path_prefix: /api}
    unmatched: reject
    auth:
      issuer: [http://127.0.0.1:1/, 'https://[::1]/x/']
      audience: [a, b]
      jwks: http://localhost/keys?a=b
      algorithms: [EdDSA, ES384]
      leeway: 0s
    cache: off
    body: {max: 2048B, timeout: 1ms}
";
    let config = compiled(&format!("{process}{upstream}"));
    assert_eq!(listening(&config), ["main at [::]:0"]);
    assert!(config.admin.is_none() && config.control.is_none());
    assert_eq!(config.threads, Some(4));
    let (sample, client_id, subject) = (Ratio::parse("0.25").unwrap(), ShownAs::Off, ShownAs::Plain);
    let log = Log { format: LogFormat::Text, level: LogLevel::Trace, requests: false, sample, client_id, subject };
    assert_eq!(config.log, log);
    let (drain_delay, grace) = (Duration::from_millis(500), Duration::from_secs(61));
    assert_eq!(config.shutdown, Shutdown { drain_delay, grace, upgrade_socket: None });
    assert!(matches!(config.store, Store::Memory(Memory { max_bytes: 0x4000_0000 })));
    let upstream = &config.gateway.upstreams()[0];
    let Target { tls, host, port, base_path, .. } = &upstream.target;
    assert_eq!((*tls, host.as_str(), *port, base_path.as_str()), (true, "a.example", 8443, "/base"));
    assert_eq!((upstream.unmatched, upstream.cache), (Unmatched::Reject, None));
    let timeout = Duration::from_millis(1);
    assert_eq!(upstream.body, BodyLimits { max: 2048, max_undeclared: 2048, timeout });
    let [TokenIssuer { expected, keys, .. }] = upstream.check.issuers() else { panic!("no check") };
    assert_eq!(expected.issuers, ["http://127.0.0.1:1/", "https://[::1]/x/"]);
    assert_eq!(
        (keys.issuer.as_str(), keys.jwks.as_deref()),
        ("http://127.0.0.1:1/", Some("http://localhost/keys?a=b"))
    );
    assert_eq!((expected.algorithms.as_slice(), expected.leeway), ([Algorithm::EdDSA, Algorithm::ES384].as_slice(), 0));
}

/// The dot of the root in either URL makes no other server of it.
#[test]
fn jwks_at_the_providers_address_use_its_host() {
    let host = |url: &str, jwks: &str| {
        let auth = format!("{{ issuer: https://i.example/, audience: a, jwks: '{jwks}' }}");
        let text = format!("upstreams:\n  a: {{ dialect: auth0, url: '{url}', host: own.example, auth: {auth} }}\n");
        let config = compiled(&text);
        let [TokenIssuer { keys, .. }] = config.gateway.upstreams()[0].check.issuers() else { panic!("no check") };
        keys.host.as_ref().map(ToString::to_string)
    };
    for url in ["https://a.example", "https://A.example.", "https://a.example:443/base"] {
        for jwks in ["https://a.example/keys", "https://a.Example./keys", "https://a.example.:443/keys"] {
            assert_eq!(host(url, jwks).as_deref(), Some("own.example"), "{url} {jwks}");
        }
        for jwks in ["https://a.example:444/keys", "https://b.example./keys", "https://x.a.example/keys"] {
            assert_eq!(host(url, jwks), None, "{url} {jwks}");
        }
    }
    assert_eq!(host("https://[::1]", "https://[::1]/keys").as_deref(), Some("own.example"));
}

#[test]
fn http_keys_are_accepted_where_they_are_allowed() {
    let auth = "{issuer: http://i.example/, audience: a, allow_http: true}";
    compiled(&LEAST.replace("none", auth));
}

#[test]
fn exact_keys_take_precedence_over_patterns() {
    let text = format!(
        "{}\npolicies: {{p: {{fields: {{'t*': {{}}, '/x/': {{}}, team: {{max_length: 1}}}}}}}}",
        LEAST.replace("none}", "none, policy: p}")
    );
    let fields = &compiled(&text).gateway.upstreams()[0].policy.fields.clone();
    let sources: Vec<&str> = fields.iter().map(|(pattern, _)| pattern.source()).collect();
    assert_eq!(sources, ["team", "t*", "/x/"]);
    assert_eq!(fields[0].1.max_length, Some(1));
}

#[test]
fn aliases_replace_whole_values() {
    let text = "\
upstreams:
  a: {dialect: auth0, url: https://a.example, auth: none, match: {host: a.example}, cache: &cache {ttl: 7s}}
  b: {dialect: auth0, url: https://b.example, auth: none, match: {host: b.example}, cache: *cache}
";
    let config = compiled(text);
    let ttl = |index: usize| config.gateway.upstreams()[index].cache.unwrap().ttl.as_secs();
    assert_eq!((ttl(0), ttl(1)), (7, 7));
    assert_eq!(config.gateway.upstreams()[1].index, 1);
}

fn resolved(source: &str) -> String {
    variables::Text::resolve(source, &Sample).unwrap().as_str().to_owned()
}

#[test]
fn variables_are_resolved_within_values() {
    assert_eq!(resolved("a${AUTH}b${AUTH}"), "azq9bzq9");
    assert_eq!(resolved("${UNSET:-x:-y}/${EMPTY:-z}/${AUTH:-w}"), "x:-y/z/zq9");
    assert_eq!(resolved("${AUTH:?why}"), "zq9");
    assert_eq!(resolved("[${EMPTY}${UNSET:-}]"), "[]");
    assert_eq!(resolved("$$ $${AUTH} $a a$ $"), "$ ${AUTH} $a a$ $");
    assert_eq!(resolved("${DOLLAR}"), "${AUTH} $$", "a value is not looked at again");
}

#[test]
fn values_that_are_not_utf8_are_errors() {
    let variables = Variables(&[("RAW", "zq9\u{ff}")]);
    for source in ["${RAW}", "${RAW:-x}", "${RAW:?why}"] {
        let problems = variables::Text::resolve(source, &variables).unwrap_err();
        assert!(format!("{problems:?}").contains("environment variable `RAW` is not valid UTF-8"), "{problems:?}");
        assert!(!format!("{problems:?}").contains("zq9"), "{problems:?}");
    }
    let text = format!("hash_key: {{env: RAW}}\n{LEAST}");
    let faults = compile("c", &text, &variables, [7; 32]).map(|_| ()).unwrap_err();
    assert!(faults[0].to_string().contains("the variable is not valid UTF-8"), "{faults:?}");
}

#[test]
fn a_variable_never_becomes_structure() {
    let base = LEAST.replace("none}", "none, policy: p}");
    for written in ["${MAP}", "'${MAP}'", "\"${MAP}\"", ">-\n          ${MAP}"] {
        let text = format!("{base}\npolicies:\n  p:\n    keys:\n      required:\n        - {written}\n");
        let config = compile("c", &text, &Sample, [7; 32]);
        let found = lines(&text);
        assert!(config.is_err() && found.len() == 1 && found[0].contains("rejected by upstream `a`"), "{found:?}");
    }
    assert_eq!(lines("${AUTH}: 1\nupstreams: ${MAP}").len(), 2);
}

#[test]
fn messages_do_not_contain_values_of_variables() {
    let values =
        ["zq9", "zq9:80", "https://zq9@a", "https://zq9.example:x/", "/(zq9", "9zq9s", "", "zq9\n${", "/zq9/../"];
    let mut rejected = 0;
    let shared = [shared(Some("url")), shared(Some("sentinel"))];
    let shared =
        shared.iter().map(|text| (text.as_str(), text.find("\n  redis:").unwrap()..text.find("\nupstreams:").unwrap()));
    let places = [(EXAMPLE, 0..EXAMPLE.len())].into_iter().chain(shared).flat_map(|(text, range)| {
        let places = text.match_indices(": ").chain(text.match_indices("- ")).map(|(at, _)| at);
        places.filter(move |at| range.contains(at)).map(move |at| text.split_at(at + 2))
    });
    for (before, after) in places {
        let end = after.find(['\n', ',', ']', '}', '#']).unwrap_or(after.len());
        for value in values {
            let text = format!("{before}\"${{HELD}}\"{}", &after[end..].replacen("#", " #", 1));
            let held = Held(value);
            if let Err(faults) = compile("c", &text, &held, [7; 32]) {
                rejected += 1;
                let all: String = faults.iter().map(|fault| format!("{fault:?} {fault}")).collect();
                assert!(!all.contains("zq9"), "{all}");
            }
        }
    }
    assert!(rejected > 100, "{rejected}");
}

struct Held(&'static str);

impl Environment for Held {
    fn variable(&self, name: &str) -> Option<OsString> {
        if name == "HELD" { Some(self.0.into()) } else { Sample.variable(name) }
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        Sample.file(path)
    }
}

/// The key of a session's cached response, which depends on the secret of the gateway.
fn session(text: &str, random: [u8; 32]) -> [u8; 16] {
    let gateway = compile("c", text, &Sample, random).unwrap().config.gateway;
    let (method, headers) = (http::Method::GET, http::HeaderMap::new());
    let head = RequestHead {
        listener: "",
        method: &method,
        path: "/api/v2/sessions/s1",
        query: None,
        host: "x",
        headers: &headers,
        http2: false,
        trusted: false,
    };
    let Ok(Routed::Governed(governed)) = gateway.route(head) else { panic!("not governed") };
    let caller = governed.upstream().matched(Credential::Anonymous, &PeerIdentity::default()).unwrap();
    let admitted = governed.authorize(caller).unwrap();
    admitted.read_body(&gateway, bytes::Bytes::new()).unwrap().session_hash().unwrap()
}

#[test]
fn hash_key_replaces_the_random_key() {
    assert_ne!(session(LEAST, [1; 32]), session(LEAST, [2; 32]));
    let keyed = |key: &str| format!("hash_key: {key}\n{LEAST}");
    let (file, env) = (keyed("{file: long}"), keyed("{env: LONG}"));
    assert_eq!(session(&file, [1; 32]), session(&env, [2; 32]));
    assert_ne!(session(&file, [1; 32]), session(LEAST, [1; 32]));
    assert!(!format!("{:?}", compiled(&file)).contains("0123456789abcdef"));
}

#[test]
fn texts_are_bounded() {
    let long = format!("#{}\n{LEAST}", " ".repeat(1 << 20));
    assert_eq!(lines(&long), ["=> 1:1: the file has 1048646 bytes; at most 1048576 are allowed"]);
    let deep = "[".repeat(33);
    assert_eq!(lines(&deep), ["=> 1:33: values are nested more than 32 levels deep"]);
    let block: String = (0..100_000).map(|_| "- ").collect();
    assert_eq!(lines(&block), ["=> 1:65: values are nested more than 32 levels deep"]);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let before = format!("*a{}, ", n - 1).repeat(10);
        bomb += &format!("a{n}: &a{n} [{before}]\n");
    }
    assert_eq!(lines(&bomb), ["=> 5:25: more than 50000 values, including those that aliases repeat"]);
    let mut chain = "a0: &a0 x\n".to_owned();
    for n in 1..10 {
        chain += &format!("a{n}: &a{n} [[[[[*a{}]]]]]\n", n - 1);
    }
    assert_eq!(lines(&chain), ["=> 8:14: values are nested more than 32 levels deep"]);
    let wide: String = (0..60_000).map(|_| "- x\n").collect();
    assert_eq!(lines(&wide).len(), 1);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([a-z]{1,3}|[-:,?&*!|>'\"%@`#{}\\[\\] \\n\t$<~0-9]|\u{e9}|\u{feff}|listen|upstreams){0,40}") {
        let _ = compile("c", &text, &Sample, [7; 32]);
    }

    #[test]
    fn no_damage_of_a_text_makes_it_panic(at in 0..EXAMPLE.len(), cut in 0..40_usize, put in "[-:,&*!|>'\"#{}\\[\\] \\n$<]{0,3}") {
        let bytes = [&EXAMPLE.as_bytes()[..at], put.as_bytes(), &EXAMPLE.as_bytes()[(at + cut).min(EXAMPLE.len())..]];
        let _ = compile("c", &String::from_utf8_lossy(&bytes.concat()), &Sample, [7; 32]);
    }
}
