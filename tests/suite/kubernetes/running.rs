//! What the manifests describe, run as processes of this machine.

use super::cases::{application, auth0_with, cached};
use super::configurations::Secrets;
use crate::harness::kubernetes::{CHART, Rendered, kubernetes_installed, render_chart};
use crate::harness::recorder::{Recorder, SESSION};
use crate::harness::{
    Finished, Gateway, Process, TIMEOUT, finish, project, redis_installed, sessiongate, unused_address, wait_for,
};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;

/// An upstream that is this provider.
fn upstream(recorder: &Recorder) -> Value {
    let url = recorder.url();
    json!({"auth0": {
        "dialect": "auth0", "url": url, "cache": {"ttl": "1m"},
        "auth": {"issuer": format!("{url}/"), "audience": format!("{url}/api/v2/")},
    }})
}

/// The status and the head of the response to a read of the session over a Unix socket.
fn read_over(socket: &std::path::Path, token: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head =
        format!("GET /api/v2/sessions/{SESSION} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    (response.split(' ').nth(1).unwrap().parse().unwrap(), response)
}

/// A container of a rendered pod as a command of this machine: its program and arguments, with these files.
fn command(rendered: &Rendered, container: &str, config: &std::path::Path) -> Command {
    let arguments = rendered.container(container)["args"].as_array().unwrap().clone();
    let place =
        |word: &Value| word.as_str().unwrap().replace("/etc/sessiongate/sessiongate.yaml", config.to_str().unwrap());
    let words: Vec<String> = arguments.iter().map(place).collect();
    sessiongate(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn rendered_sidecar_serves_its_application_over_the_socket() {
    if !kubernetes_installed() {
        return;
    }
    let (secrets, recorder) = (Secrets::new(), Recorder::auth0());
    let admin = unused_address([127, 0, 0, 1]);
    let mut config = auth0_with(json!({"admin": admin.to_string()}));
    config["upstreams"] = upstream(&recorder);
    let values = json!({"mode": "sidecar", "config": config, "replicaCount": 1, "sidecar": application()});
    let rendered = render_chart(CHART, "shop", &values).unwrap();
    let path = secrets.folder().join("sidecar.yaml");
    fs::write(&path, secrets.place(&rendered.config)).unwrap();
    let checked = finish(command(&rendered, "sessiongate-check", &path));
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);

    let mut gateway = Process::start(command(&rendered, "sessiongate", &path));
    gateway.wait_for_line(|line| line.contains("serving"));
    let probe = rendered.container("sessiongate")["startupProbe"]["exec"]["command"].as_array().unwrap().clone();
    let words: Vec<&str> = probe[1..].iter().map(|word| word.as_str().unwrap()).collect();
    let ready = || {
        let Finished { code, stdout, .. } = finish(sessiongate(&words));
        (code == Some(0)).then_some(stdout)
    };
    assert_eq!(wait_for("the startup probe to succeed", ready), "ready\n");

    let socket = secrets.folder().join("sockets/gateway.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660, "for the group of the pod");
    let token = recorder.token();
    let (status, response) = read_over(&socket, &token);
    assert_eq!(status, 200, "{response}");
    let (status, response) = read_over(&socket, &token);
    assert!(status == 200 && response.to_lowercase().contains("cache-status: sessiongate; hit"), "{response}");
    assert_eq!(read_over(&socket, "none").0, 400, "as Auth0 responds to what is no token");
    assert_eq!(recorder.count(), 1, "the second read was a hit");
    gateway.signal("TERM");
    assert!(gateway.wait().success(), "without a drain delay it ends at once");
}

/// The server of the chart as a process, with the chart's script and configuration.
fn redis(rendered: &Rendered, secrets: &Secrets, port: u16) -> Process {
    let data = &rendered.object("ConfigMap", "sessiongate-redis")["data"];
    let folder = secrets.folder().join("redis");
    fs::create_dir(&folder).unwrap();
    let place = |text: &str| {
        let text = secrets.place(text).replace("/run/redis", folder.to_str().unwrap());
        text.replace("/etc/redis", folder.to_str().unwrap()).replace("port 6379", &format!("port {port}"))
    };
    for name in ["redis.conf", "start.sh"] {
        let text = place(data[name].as_str().unwrap()).replace("bind * -::*", "bind 127.0.0.1");
        fs::write(folder.join(name), text).unwrap();
    }
    let mut command = Command::new("sh");
    command.arg(folder.join("start.sh"));
    let process = Process::start(command);
    process.wait_for_line(|line| line.contains("Ready to accept connections"));
    process
}

#[test]
fn rendered_redis_serves_the_rendered_gateway() {
    if !kubernetes_installed() || !redis_installed() {
        return;
    }
    let (secrets, recorder) = (Secrets::new(), Recorder::auth0());
    let mut config = cached();
    config["upstreams"] = upstream(&recorder);
    let values = json!({
        "config": config, "secretName": "sessiongate", "redis": {"enabled": true, "tls": {"secretName": "redis"}}
    });
    let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
    let address = unused_address([127, 0, 0, 1]);
    let server = redis(&rendered, &secrets, address.port());
    let text =
        secrets.place(&rendered.config).replace("sessiongate-redis:6379", &format!("localhost:{}", address.port()));
    let free = |line: &str| match line.split_once(": ") {
        Some((key @ ("listen" | "admin" | "control"), _)) => format!("{key}: 127.0.0.1:0\n"),
        _ => format!("{line}\n"),
    };
    let start = || Gateway::start(&text.lines().map(free).collect::<String>());
    let (one, other) = (start(), start());
    let token = recorder.token();
    let read = |gateway: &Gateway| {
        let request = crate::harness::Request::new("GET", &format!("/api/v2/sessions/{SESSION}")).bearer(&token);
        let response = request.send(&gateway.url());
        assert_eq!(response.status, 200);
        response.header("Cache-Status").unwrap_or_default().to_owned()
    };
    for gateway in [&one, &other] {
        gateway.ready();
        wait_for("a hit", || read(gateway).contains("hit;").then_some(()));
    }
    // The password is in no argument, and its hash only in a file of the server's own user.
    let users = secrets.folder().join("redis/users.acl");
    assert_eq!(fs::metadata(&users).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(users).unwrap();
    assert!(text.contains("user default reset off\n") && !text.contains("at least 32 bytes"), "{text}");
    drop(server);
}

/// The rights of the user of Redis, as docs say.
#[test]
fn rights_at_redis_are_those_of_the_documentation() {
    if !kubernetes_installed() {
        return;
    }
    let values = json!({"config": cached(), "secretName": "s", "redis": {"enabled": true}});
    let rendered = render_chart(CHART, "sessiongate", &values).unwrap();
    let script = rendered.object("ConfigMap", "sessiongate-redis")["data"]["start.sh"].as_str().unwrap();
    let rights = script.split("#$hash ").nth(1).unwrap().lines().next().unwrap();
    let wanted = "~sessiongate1:* +get +set +del +time +evalsha +script|load +ping +hello";
    assert_eq!(rights, format!("{wanted} $setinfo"));
    let page = fs::read_to_string(project().join("docs/guides/redis.md")).unwrap();
    assert!(page.contains(wanted), "docs/guides/redis.md does not have {wanted}");
    let server = rendered.object("ConfigMap", "sessiongate-redis")["data"]["redis.conf"].as_str().unwrap();
    for line in ["maxmemory-policy allkeys-lru", "save \"\"", "appendonly no"] {
        assert!(server.lines().any(|own| own == line), "{line}: {server}");
    }
    let limit = rendered.object("Deployment", "sessiongate-redis")["spec"]["template"]["spec"]["containers"][0]
        ["resources"]["limits"]["memory"]
        .as_str()
        .unwrap()
        .strip_suffix("Mi")
        .unwrap()
        .parse::<u64>()
        .unwrap();
    let maximum = server.lines().find_map(|line| line.strip_prefix("maxmemory ")).unwrap();
    let maximum: u64 = maximum.strip_suffix("mb").unwrap().parse().unwrap();
    assert!(limit * 4 >= maximum * 5, "{limit} Mi for {maximum} MB");
}
