//! Changed files are loaded without a signal, however they change.

use super::{BLUE, GREEN, config_problems, metric, read, reloads, write};
use crate::harness::recorder::Recorder;
use crate::harness::{Authority, Gateway, Request, Scripted, TlsClient, json_response, wait_for, write_config};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn watched(recorder: &Recorder, teams: &str, interval: &str) -> String {
    let policy = format!("policies: {{ p: {{ fields: {{ team: {{ one_of: [{teams}] }} }} }} }}\n");
    format!("reload: {{ interval: {interval} }}\n{}{policy}", recorder.upstream("policy: p\ncache: {}"))
}

/// Waits until the policy takes this team and not the other.
fn wait_for_team(gateway: &Gateway, recorder: &Recorder, good: &str, bad: &str) {
    let token = recorder.token();
    wait_for("the new policy", || {
        let statuses = [good, bad].map(|body| write(&token, body).send(&gateway.url()).status);
        (statuses == [200, 400]).then_some(())
    });
}

#[test]
fn changed_and_replaced_files_are_loaded() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&watched(&recorder, "blue", "100ms"));
    gateway.ready();
    gateway.rewrite(&watched(&recorder, "green", "100ms"));
    wait_for_team(&gateway, &recorder, GREEN, BLUE);
    // As editors do it.
    let beside = tempfile::tempdir_in(gateway.folder()).unwrap();
    let new = write_config(beside.path(), &watched(&recorder, "blue", "100ms"));
    std::fs::rename(new, gateway.folder().join("gateway.yaml")).unwrap();
    wait_for_team(&gateway, &recorder, BLUE, GREEN);
    assert_eq!(reloads(&gateway), [2.0, 0.0, 0.0]);
}

/// A volume of Kubernetes: what the process opens leads through a link to a directory that is swapped as a whole.
fn publish(folder: &Path, version: &str, yaml: &str) {
    let own = folder.join(version);
    std::fs::create_dir(&own).unwrap();
    write_config(&own, yaml);
    symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[test]
fn kubernetes_volume_swap_is_loaded() {
    let recorder = Recorder::auth0();
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "..2026_01", &watched(&recorder, "blue", "100ms"));
    let path = folder.path().join("gateway.yaml");
    symlink("..data/gateway.yaml", &path).unwrap();
    let root = folder.path().to_owned();
    let gateway = Gateway::start_from(folder, &path, &[]);
    gateway.ready();
    publish(&root, "..2026_02", &watched(&recorder, "green", "100ms"));
    std::fs::remove_dir_all(root.join("..2026_01")).unwrap();
    wait_for_team(&gateway, &recorder, GREEN, BLUE);
    publish(&root, "..2026_03", "upstreams: []\n");
    wait_for("the wrong version to be rejected", || (reloads(&gateway)[1] > 0.0).then_some(()));
    assert!(config_problems(&gateway).contains("line 4, option `upstreams` ("), "{:?}", config_problems(&gateway));
    publish(&root, "..2026_04", &watched(&recorder, "blue", "100ms"));
    wait_for_team(&gateway, &recorder, BLUE, GREEN);
    assert_eq!((reloads(&gateway), config_problems(&gateway)), ([2.0, 1.0, 0.0], String::new()));
}

#[test]
fn invalid_file_is_rejected_once() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&watched(&recorder, "blue", "100ms"));
    gateway.rewrite("nonsense: [");
    wait_for("it to be rejected", || (reloads(&gateway)[1] > 0.0).then_some(()));
    // Ten looks later: the good one is found by them.
    gateway.rewrite(&watched(&recorder, "blue", "100ms"));
    wait_for("it to be found that what holds is there again", || (reloads(&gateway)[2] > 0.0).then_some(()));
    assert_eq!(reloads(&gateway), [0.0, 1.0, 1.0]);
    assert_eq!(config_problems(&gateway), "");
}

/// Writes a file little by little. Whatever stands there meanwhile is a good configuration, but not the one that is
/// meant. Says how long it stood still at the most.
fn dawdle(path: &Path, text: &str, lasts: Duration) -> Duration {
    std::fs::write(path, text.replace("blue", "blue, green")).unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
    let (began, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    while began.elapsed() < lasts {
        file.write_all(b"# more to come\n").unwrap();
        longest = longest.max(last.elapsed());
        last = Instant::now();
        thread::sleep(Duration::from_millis(10));
    }
    drop(file);
    std::fs::write(path, text).unwrap();
    longest.max(last.elapsed())
}

#[test]
fn partially_written_file_is_not_loaded() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&watched(&recorder, "blue", "1s"));
    gateway.ready();
    let path = gateway.folder().join("gateway.yaml");
    let whole = std::fs::read_to_string(&path).unwrap() + "# the end\n";
    // On a machine that is too slow for it, two looks may find the same.
    wait_for("a round in which the writer is faster than the looks", || {
        let before = reloads(&gateway);
        let steady = dawdle(&path, &whole, Duration::from_millis(3500)) < Duration::from_millis(500);
        steady.then(|| assert_eq!(reloads(&gateway), before, "something was taken before it was whole"))
    });
    wait_for("the whole to be taken", || (reloads(&gateway)[0] > 0.0).then_some(()));
    wait_for_team(&gateway, &recorder, BLUE, GREEN);
}

#[test]
fn without_watch_only_a_signal_reloads() {
    let recorder = Recorder::auth0();
    let gateway = Gateway::start(&watched(&recorder, "blue", "100ms"));
    gateway.ready();
    let off = |teams: &str| watched(&recorder, teams, "100ms, watch: false");
    gateway.rewrite(&off("green"));
    wait_for_team(&gateway, &recorder, GREEN, BLUE);
    gateway.rewrite(&off("blue"));
    // What must not come cannot be waited for: meanwhile another gateway that watches finds three changes.
    let other = Gateway::start(&watched(&recorder, "blue", "100ms"));
    for (count, teams) in ["green", "blue", "green"].into_iter().enumerate() {
        other.rewrite(&watched(&recorder, teams, "100ms"));
        wait_for("another to find a change", || (reloads(&other)[0] > count as f64).then_some(()));
    }
    assert_eq!(reloads(&gateway), [1.0, 0.0, 0.0]);
    assert_eq!(super::hang_up(&gateway), "applied");
    wait_for_team(&gateway, &recorder, BLUE, GREEN);
}

#[test]
fn changed_ca_file_is_loaded() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let provider =
        Scripted::start_tls(Arc::new(ours.certify(&["localhost"], |_| {})), |_| json_response(200, r#"{"id":"x"}"#));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::copy(&ours.file, &file).unwrap();
    let gateway = Gateway::start(&format!(
        "reload: {{ interval: 100ms }}
upstreams:
  a: {{ dialect: auth0, url: \"https://localhost:{}\", auth: none, tls: {{ ca_file: {} }} }}
",
        provider.port(),
        file.display()
    ));
    let statuses =
        || ["/api/v2/sessions/x", "/api/v2/clients"].map(|path| Request::new("GET", path).send(&gateway.url()).status);
    wait_for("the name to be known", || (statuses() == [200, 200]).then_some(()));
    for round in 1..=2 {
        std::fs::copy(&other.file, &file).unwrap();
        // Also over connections that were made when it was trusted: none of them is used any more.
        wait_for("it to be trusted no longer", || (statuses() == [502, 502]).then_some(()));
        assert_eq!(statuses(), [502, 502], "round {round}");
        std::fs::copy(&ours.file, &file).unwrap();
        wait_for("it to be trusted again", || (statuses() == [200, 200]).then_some(()));
    }
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAA").unwrap();
    wait_for("a damaged file to be rejected", || (reloads(&gateway)[1] > 0.0).then_some(()));
    assert_eq!(statuses(), [200, 200]);
    assert!(
        config_problems(&gateway).contains("option `upstreams.a.tls.ca_file` (file)"),
        "{:?}",
        config_problems(&gateway)
    );
}

#[test]
fn changed_listener_certificate_is_loaded() {
    let authority = Authority::new("ca");
    let certify = |name: &str, year: i32| {
        let expiry = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(year, 1, 1);
        authority.certify_in_files_as(name, &[&format!("{name}.test")], expiry)
    };
    let (one, two) = (certify("one", 2040), certify("two", 2041));
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("own.pem"), folder.path().join("own.key"));
    let take = |(from, its_key): &(std::path::PathBuf, std::path::PathBuf)| {
        std::fs::copy(its_key, &key).unwrap();
        std::fs::copy(from, &certificate).unwrap();
    };
    take(&one);
    let recorder = Recorder::start(|call| call.response(200, "", "here"));
    let shown = format!("{{ certificate: {}, key: {} }}", certificate.display(), key.display());
    let gateway = Gateway::start(&format!(
        "reload: {{ interval: 100ms }}
listeners:
  public: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{shown}] }} }}
{}",
        recorder.upstream("")
    ));
    let client = TlsClient::new(&authority);
    let good = |name: &str| client.ask(&gateway, name).is_some_and(|response| response.ends_with("here"));
    let expires = |at: u64| {
        let line = format!("sessiongate_certificate_expiry_timestamp_seconds{{listener=\"public\"}} {at}");
        gateway.metrics().lines().any(|own| own == line)
    };
    assert!(good("one.test") && !good("two.test"));
    assert!(expires(2_208_988_800), "{}", gateway.metrics());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut kept = runtime.block_on(client.connect(&gateway, "one.test")).unwrap();
    take(&two);
    wait_for("the other certificate", || good("two.test").then_some(()));
    assert!(!good("one.test"));
    assert!(expires(2_240_611_200), "{}", gateway.metrics());
    let response = runtime.block_on(async {
        kept.write_all(b"GET /x HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut response = String::new();
        kept.read_to_string(&mut response).await.unwrap();
        response
    });
    assert!(response.ends_with("here"), "who is connected stays so: {response}");
    let [applied, rejected, _] = reloads(&gateway);
    // A key of another certificate, as between the two steps of a renewal.
    std::fs::copy(&one.1, &key).unwrap();
    wait_for("the wrong key to be rejected", || (reloads(&gateway)[1] > rejected).then_some(()));
    assert!(
        config_problems(&gateway).contains("listeners.public.tls.certificates[0]"),
        "{:?}",
        config_problems(&gateway)
    );
    assert!(good("two.test"));
    std::fs::copy(&one.0, &certificate).unwrap();
    wait_for("both to be taken", || good("one.test").then_some(()));
    assert_eq!((reloads(&gateway)[0], config_problems(&gateway)), (applied + 1.0, String::new()));
}

#[test]
fn changed_secret_is_reported_as_restart_required() {
    let recorder = Recorder::auth0();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "the-first-of-the-keys").unwrap();
    let keyed = format!("hash_key: {{ file: {} }}\n", key.display());
    let gateway = Gateway::start(&(keyed + &watched(&recorder, "blue", "100ms")));
    gateway.ready();
    let token = recorder.token();
    assert_eq!(read(&token).send(&gateway.url()).status, 200);
    std::fs::write(&key, "the-second-of-the-keys").unwrap();
    wait_for("the change to be seen", || (reloads(&gateway)[0] > 0.0).then_some(()));
    assert_eq!(config_problems(&gateway), "hash_key: the change needs a restart");
    assert_eq!(metric(&gateway, "sessiongate_config_restart_needed{option=\"hash_key\"}"), Some(1.0));
    assert_eq!(super::cache_status(&read(&token).send(&gateway.url())), "hit", "sessions have the names that they had");
    std::fs::remove_file(&key).unwrap();
    wait_for("a secret that is gone to be rejected", || (reloads(&gateway)[1] > 0.0).then_some(()));
    std::fs::write(&key, "the-first-of-the-keys").unwrap();
    wait_for("the first to be taken", || config_problems(&gateway).is_empty().then_some(()));
}
