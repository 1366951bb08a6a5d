//! Configuration reload while requests are served: what triggers it, what prevents it, and which state is kept.

mod files;
mod under_load;
mod unavailable_sources;
mod preserved_state;

use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{Connection, Gateway, Request, Response, wait_for};
use serde_json::{Value, json};

/// Only signals make it read its configuration again.
const BY_SIGNAL: &str = "reload: { watch: false }\n";
const RESULTS: [&str; 3] = ["applied", "rejected", "unchanged"];

fn path() -> String {
    format!("/api/v2/sessions/{SESSION}")
}

/// The value of one series, by its name and labels to the letter; none where there is no such series.
fn metric(gateway: &Gateway, series: &str) -> Option<f64> {
    let text = gateway.metrics();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// How often the configuration was read again, by what became of it.
fn reloads(gateway: &Gateway) -> [f64; 3] {
    RESULTS.map(|result| metric(gateway, &format!("sessiongate_config_reloads_total{{result=\"{result}\"}}")).unwrap())
}

/// Sends SIGHUP and returns the result.
fn hang_up(gateway: &Gateway) -> &'static str {
    let before = reloads(gateway);
    gateway.signal("HUP");
    wait_for("the configuration to be read again", || {
        let now = reloads(gateway);
        RESULTS
            .into_iter()
            .zip(now.iter().zip(before))
            .find(|(_, (now, before))| *now > before)
            .map(|(result, _)| result)
    })
}

/// Writes another configuration, sends SIGHUP, and returns the result.
fn rewritten(gateway: &Gateway, yaml: &str) -> &'static str {
    gateway.rewrite(yaml);
    hang_up(gateway)
}

/// What `/readyz` says of the configuration; empty if it is in order.
fn config_problems(gateway: &Gateway) -> String {
    let response = Request::new("GET", "/readyz").send(&gateway.admin_url());
    let said = response.json();
    assert_eq!((response.status, &said["ready"]), (200, &Value::Bool(true)), "{said}");
    let text = said["checks"]["config"].as_str().unwrap();
    if text == "ok" { String::new() } else { text.to_owned() }
}

fn read(token: &str) -> Request {
    Request::new("GET", &path()).bearer(token)
}

fn write(token: &str, body: &str) -> Request {
    Request::new("PATCH", &path()).bearer(token).json(body)
}

fn cache_status(response: &Response) -> &str {
    let status = response.header("Cache-Status").unwrap_or_default();
    if status.starts_with("sessiongate; hit") { "hit" } else { status }
}

/// An upstream with a policy under which the metadata's `team` has to be one of these.
fn teams(recorder: &Recorder, teams: &str) -> String {
    let policy = format!("policies: {{ p: {{ fields: {{ team: {{ one_of: [{teams}] }} }} }} }}\n");
    format!("{BY_SIGNAL}{}{policy}", recorder.upstream("policy: p\ncache: {}"))
}

const BLUE: &str = r#"{"session_metadata":{"team":"blue"}}"#;
const GREEN: &str = r#"{"session_metadata":{"team":"green"}}"#;

#[test]
fn new_policy_applies_to_the_next_request_of_a_connection() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&teams(&recorder, "blue"));
    gateway.ready();
    let token = recorder.token();
    let mut kept = Connection::open(gateway.address()).unwrap();
    let mut statuses = || [BLUE, GREEN].map(|body| kept.exchange(&write(&token, body)).unwrap().status);
    assert_eq!(statuses(), [200, 400]);
    assert_eq!(rewritten(&gateway, &teams(&recorder, "green")), "applied");
    assert_eq!(statuses(), [400, 200]);
    assert_eq!(rewritten(&gateway, &teams(&recorder, "green, blue")), "applied");
    assert_eq!(statuses(), [200, 200]);
    assert_eq!(reloads(&gateway), [2.0, 0.0, 0.0]);
    gateway.wait_for_log(|line| line.contains("configuration applied"));
}

#[test]
fn applied_configuration_is_logged_with_the_one_before_and_its_trigger() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&format!("reload: {{ interval: 100ms }}\n{}", recorder.upstream("")));
    let applied = |count: usize| -> Value {
        let lines = wait_for("the configuration to be applied", || {
            let lines = gateway.log().into_iter().filter(|line| line.contains("configuration applied"));
            let lines: Vec<String> = lines.collect();
            (lines.len() == count).then_some(lines)
        });
        serde_json::from_str(&lines[count - 1]).unwrap()
    };
    let serving = gateway.wait_for_log(|line| line.contains(r#""message":"serving""#));
    let first = serde_json::from_str::<Value>(&serving).unwrap()["hash"].clone();
    gateway.rewrite(&format!("reload: {{ interval: 100ms }}\npolicies: {{ p: {{}} }}\n{}", recorder.upstream("")));
    let line = applied(1);
    let second = &line["hash"];
    assert!(first.is_string() && first != *second, "{line}");
    assert_eq!(
        [&line["previous"], &line["trigger"], &line["warnings"]],
        [&first, &json!("watch"), &json!(1)],
        "{line}"
    );
    assert_eq!(gateway.log().iter().filter(|line| line.contains("configuration warning")).count(), 1, "unused policy");
    gateway.rewrite(&format!("{BY_SIGNAL}{}", recorder.upstream("")));
    gateway.signal("HUP");
    let line = applied(2);
    assert_eq!(
        [&line["previous"], &line["trigger"], &line["warnings"]],
        [second, &json!("signal"), &json!(0)],
        "{line}"
    );
}

#[test]
fn unchanged_configuration_is_not_activated() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&teams(&recorder, "blue"));
    assert_eq!([hang_up(&gateway), hang_up(&gateway)], ["unchanged"; 2]);
    gateway.wait_for_log(|line| line.contains("configuration unchanged"));
}

#[test]
fn metrics_show_the_active_configuration() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&teams(&recorder, "blue"));
    let hash = || {
        let text = std::fs::read(gateway.folder().join("gateway.yaml")).unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, &text);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let shown = || {
        let text = gateway.metrics();
        let lines = text.lines().filter_map(|line| line.strip_prefix("sessiongate_config_info{hash=\""));
        lines.map(|line| line.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let since = || metric(&gateway, "sessiongate_config_last_reload_success_timestamp_seconds").unwrap();
    let successful = || metric(&gateway, "sessiongate_config_last_reload_successful").unwrap();
    let (first, began) = (hash(), since());
    assert_eq!((shown(), successful()), (vec![first.clone()], 1.0));
    assert!(began > 1_700_000_000.0, "{began}");
    assert_eq!(rewritten(&gateway, "nonsense"), "rejected");
    assert_eq!((shown(), successful(), since()), (vec![first.clone()], 0.0, began));
    assert_eq!(rewritten(&gateway, &teams(&recorder, "green")), "applied");
    assert_ne!(hash(), first);
    assert_eq!((shown(), successful()), (vec![hash()], 1.0));
    assert!(since() >= began);
}

#[test]
fn invalid_configuration_keeps_the_current_one() {
    let recorder = Recorder::auth0();
    let good = teams(&recorder, "blue");
    let secret = "a-secret-that-must-not-be-shown";
    let gateway = Gateway::start_with(&good, &[("SECRET", secret)]);
    gateway.ready();
    let token = recorder.token();
    let file = gateway.folder().join("gateway.yaml");
    let shown = file.display().to_string();
    let secured = good.replace("http://", "https://");
    // The harness writes three lines before this text: the addresses.
    for (wrong, place, found) in [
        ("upstreams: [", ":5:1", "did not find expected node"),
        (&*format!("lisen: 127.0.0.1:0\n{good}"), ":4:1", "unknown key"),
        ("", ":1:1", "upstreams: is missing"),
        (&*good.replace("policy: p", "policy: q"), ":10:13", "is not a declared policy"),
        (&*good.replace("one_of: [blue]", "one_off: [blue]"), ":12:", "unknown key"),
        (&*good.replace("dialect: auth0", "dialect: ${SECRET}"), ":7:", "the value of `${SECRET}`"),
        (&*secured.replace("cache: {}", "tls: { ca_file: absent.pem }"), ":11:", "file not found: "),
        (&*good.replace("cache: {}", "body: { max: 1PiB }"), ":11:", "`1PiB`"),
        (&*"#".repeat(10 << 20), "", "larger than 8 MiB"),
        (&*"# much\n".repeat(200_000), "", "at most 1048576"),
    ] {
        assert_eq!(rewritten(&gateway, wrong), "rejected", "{found}");
        let problems = config_problems(&gateway);
        let line = place.trim_start_matches(':').split(':').next().unwrap();
        let unreadable = found.contains("larger than");
        let begins = if unreadable { format!("{shown}: ") } else { format!("line {line}") };
        let begins = format!("configuration rejected; still using the previous one: {begins}");
        assert!(problems.starts_with(&begins), "{place}: {problems}");
        assert_eq!(problems.contains(found), unreadable, "what is wrong is only in the log: {problems}");
        gateway.wait_for_log(|line| {
            line.contains("configuration rejected") && line.contains(found) && line.contains(place)
        });
        assert_eq!(write(&token, BLUE).send(&gateway.url()).status, 200, "{found}");
        assert_eq!(write(&token, GREEN).send(&gateway.url()).status, 400, "{found}");
    }
    assert!(!gateway.log().join("\n").contains(secret));
    for (what, make) in [
        ("file not found", Box::new(|| std::fs::remove_file(&file).unwrap()) as Box<dyn Fn()>),
        ("directory", Box::new(|| std::fs::create_dir(&file).unwrap())),
    ] {
        make();
        assert_eq!(hang_up(&gateway), "rejected", "{what}");
        let said = config_problems(&gateway).to_lowercase();
        assert!(said.contains(&format!("{}: ", shown.to_lowercase())) && said.contains(what), "{what}: {said}");
    }
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, b"\xff\xfe").unwrap();
    assert_eq!(hang_up(&gateway), "rejected");
    assert!(config_problems(&gateway).contains("is not valid UTF-8"));
    assert_eq!(rewritten(&gateway, &good), "unchanged", "what holds stands there again");
    assert_eq!(config_problems(&gateway), "");
    assert_eq!(metric(&gateway, "sessiongate_config_last_reload_successful"), Some(1.0));
}

#[test]
fn all_errors_are_logged_and_the_first_is_shown() {
    let recorder = Recorder::auth0();
    let good = teams(&recorder, "blue");
    let gateway = Gateway::start(&good);
    gateway.ready();
    let wrong = good.replace("policy: p", "polcy: p").replace("one_of", "one_off");
    assert_eq!(rewritten(&gateway, &wrong), "rejected");
    for word in ["polcy", "one_off"] {
        gateway.wait_for_log(|line| line.contains("configuration rejected") && line.contains(word));
    }
    let problems = config_problems(&gateway);
    assert!(problems.ends_with("(unknown-option)") && !problems.contains("polcy"), "{problems}");
}

#[test]
fn options_that_need_a_restart_are_reported_and_the_rest_applies() {
    let recorder = Recorder::auth0();
    let good = teams(&recorder, "blue");
    let gateway = Gateway::start_with(&good, &[("KEY", "0123456789abcdef")]);
    gateway.ready();
    let token = recorder.token();
    assert_eq!(read(&token).send(&gateway.url()).status, 200);
    let session = |line: &str| line.split(r#""session_hash":""#).nth(1).map(|rest| rest[..32].to_owned());
    let named = session(&gateway.wait_for_log(|line| line.contains(r#""operation":"read_session""#))).unwrap();
    let more = "listen: 127.0.0.1:1
admin: 127.0.0.1:2
control: 127.0.0.1:3
threads: 7
log: { format: text, level: warn }
clients: { head_timeout: 1m, trusted_peers: [127.0.0.1] }
hash_key: { env: KEY }
store: { memory: { max_bytes: 1MiB } }
";
    let names = ["listeners", "admin", "control", "threads", "log.format", "hash_key", "store"];
    let other = teams(&recorder, "green");
    assert_eq!(rewritten(&gateway, &(more.to_owned() + &other)), "applied");
    let restarts = names.map(|name| format!("{name}: the change needs a restart"));
    assert_eq!(config_problems(&gateway), restarts.join("; "));
    let needed = |name: &str| metric(&gateway, &format!("sessiongate_config_restart_needed{{option=\"{name}\"}}"));
    assert!(names.iter().all(|name| needed(name) == Some(1.0)));
    gateway.wait_for_log(|line| line.contains("need a restart") && names.iter().all(|name| line.contains(name)));
    assert_eq!([BLUE, GREEN].map(|body| write(&token, body).send(&gateway.url()).status), [400, 200]);
    assert_eq!(read(&token).send(&gateway.url()).status, 200);
    let last = gateway.wait_for_log(|line| line.contains("needs a restart") || session(line).is_some());
    assert_eq!(session(&last), Some(named), "the key that names sessions stays, and so does the form of lines");
    assert_eq!(rewritten(&gateway, &good), "applied", "back to what the process was started with");
    assert_eq!(config_problems(&gateway), "");
    assert!(names.iter().all(|name| needed(name) == Some(0.0)));
}

#[test]
fn log_and_shutdown_options_apply_at_once() {
    let recorder = Recorder::auth0();
    let good = teams(&recorder, "blue");
    let mut gateway = Gateway::start(&good);
    gateway.ready();
    let lines = |gateway: &Gateway| gateway.log().iter().filter(|line| line.contains(r#""message":"request""#)).count();
    let token = recorder.token();
    assert_eq!(rewritten(&gateway, &format!("log: {{ requests: false }}\n{good}")), "applied");
    assert_eq!(read(&token).send(&gateway.url()).status, 200);
    let more = "log: { level: error }\nshutdown: { drain_delay: 2s }\n";
    assert_eq!(rewritten(&gateway, &format!("{more}{good}")), "applied");
    assert_eq!(read(&token).send(&gateway.url()).status, 200);
    let began = std::time::Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(lines(&gateway), 1, "only the request after its line was wanted again");
    assert!(!gateway.log().iter().any(|line| line.contains("stopping")), "less than an error is not wanted any more");
}

#[test]
fn upstreams_can_be_added_and_removed() {
    let (one, two) = (Recorder::auth0(), Recorder::auth0());
    let of = |recorder: &Recorder, name: &str| {
        let url = recorder.url();
        format!(
            "  {name}: {{ dialect: auth0, url: \"{url}\", auth: {{ issuer: {url}/, audience: {url}/api/v2/ }}, match: {{ host: {name} }} }}\n"
        )
    };
    let start = |upstreams: &[String]| format!("{BY_SIGNAL}upstreams:\n{}", upstreams.concat());
    let gateway = Gateway::start(&start(&[of(&one, "one")]));
    gateway.ready();
    let tokens = [one.token(), two.token()];
    let get = |token: &str, host: &str| read(token).header("Host", host).send(&gateway.url()).status;
    let statuses = || [get(&tokens[0], "one"), get(&tokens[1], "two")];
    let counted = |name: &str| {
        let text = gateway.metrics();
        let own = text.lines().filter(|line| {
            line.starts_with("sessiongate_requests_total") && line.contains(&format!("upstream=\"{name}\""))
        });
        own.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
    };
    let keys = |name: &str| metric(&gateway, &format!("sessiongate_jwks_keys{{upstream=\"{name}\"}}"));
    assert_eq!(statuses(), [200, 404]);
    assert_eq!(rewritten(&gateway, &start(&[of(&two, "two"), of(&one, "one")])), "applied");
    assert_eq!(statuses(), [200, 200]);
    assert_eq!([keys("one"), keys("two")], [Some(1.0); 2]);
    assert_eq!(rewritten(&gateway, &start(&[of(&two, "two")])), "applied");
    assert_eq!(statuses(), [404, 200]);
    assert_eq!([keys("one"), keys("two")], [None, Some(1.0)], "a gauge of what is gone would speak of nothing");
    wait_for("all requests to be counted", || ((counted("one"), counted("two")) == (2.0, 2.0)).then_some(()));
    assert_eq!(rewritten(&gateway, &start(&[of(&one, "one"), of(&two, "two")])), "applied");
    assert_eq!(statuses(), [200, 200]);
    wait_for("counters to go on", || ((counted("one"), counted("two")) == (3.0, 3.0)).then_some(()));
    let checks = |name: &str| {
        ["verified", "cached"].map(|result| {
            metric(&gateway, &format!("sessiongate_token_checks_total{{result=\"{result}\",upstream=\"{name}\"}}"))
        })
    };
    assert_eq!(checks("one"), [Some(2.0), Some(1.0)], "a new issuer's counts come to those of the last");
    assert_eq!(checks("two"), [Some(1.0), Some(2.0)], "the same issuer all the time, with the token that it remembers");
}
