//! A real Prometheus in a hurry: all its durations, and those of the rules, are shorter by one factor.

use super::prometheus::tool;
use super::{Process, Request, project, wait_for};
use regex::{Captures, Regex};
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How many times faster than usual time passes for Prometheus and the rules: a scrape interval of 30 s becomes 1 s.
pub const HASTE: u64 = 30;
/// How long to wait for an alert: much longer than any that the tests wait for needs on a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);
const PAUSE: Duration = Duration::from_millis(250);

/// A duration such as `1h30m`, divided by [`HASTE`].
fn hastened_duration(text: &str) -> String {
    let part = Regex::new(r"(\d+)(ms|[smhdwy])").unwrap();
    let milliseconds: u64 = part
        .captures_iter(text)
        .map(|part| {
            let unit = match &part[2] {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 24 * 3_600_000,
                "w" => 7 * 24 * 3_600_000,
                unit => panic!("`{unit}` in {text}"),
            };
            unit * part[1].parse::<u64>().unwrap()
        })
        .sum();
    format!("{}ms", milliseconds / HASTE)
}

/// Rules with shorter windows: ranges, subqueries, offsets, `for`, `keep_firing_for`, `interval`, and up to which age a
/// quota counts. What is no window stays: latencies, days until a certificate expires, ages of keys.
pub fn hastened(rules: &str) -> String {
    let duration = r"(?:\d+(?:ms|[smhdwy]))+";
    let mut text = rules.to_owned();
    for pattern in [
        format!(r"(\[)({duration})(\]|:)"),
        format!(r"(\[{duration}:)({duration})(\])"),
        format!(r"(\boffset )({duration})(\b)"),
        format!(r"(?m)(^\s*(?:for|keep_firing_for|interval): )({duration})(\s*$)"),
    ] {
        let pattern = Regex::new(&pattern).unwrap();
        let shorter = |found: &Captures| format!("{}{}{}", &found[1], hastened_duration(&found[2]), &found[3]);
        text = pattern.replace_all(&text, shorter).into_owned();
    }
    let age = Regex::new(r"(_quota_age_seconds < )(\d+)").unwrap();
    let shorter = |found: &Captures| format!("{}{}", &found[1], found[2].parse::<u64>().unwrap() / HASTE);
    age.replace_all(&text, shorter).into_owned()
}

/// The labels of one result of a query, and its value.
pub type Sample = (BTreeMap<String, String>, f64);

/// A server of its own, which ends with the test.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these jobs, each of one target, and evaluates these rules.
    pub fn start(jobs: &[(&str, SocketAddr)], rules: &str) -> Prometheus {
        let folder = TempDir::new().unwrap();
        let jobs: String = jobs
            .iter()
            .map(|(job, target)| format!("- {{ job_name: {job}, static_configs: [{{ targets: [\"{target}\"] }}] }}\n"))
            .collect();
        let interval = hastened_duration("30s");
        let config = folder.path().join("prometheus.yaml");
        let text = format!(
            "global: {{ scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval} }}\n\
             rule_files: [rules.yaml]\nscrape_configs:\n{jobs}"
        );
        std::fs::write(&config, text).unwrap();
        std::fs::write(folder.path().join("rules.yaml"), hastened(rules)).unwrap();
        let mut command = Command::new(tool("prometheus/prometheus"));
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg(format!("--query.lookback-delta={}", hastened_duration("5m")));
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Process::start(command);
        let listening = Regex::new(r#"msg="Listening on" address=(\S+)"#).unwrap();
        let address = wait_for("Prometheus to listen", || {
            let said = process.stderr().join("\n");
            assert!(!process.has_ended(), "{said}");
            listening.captures(&said).map(|found| found[1].parse().unwrap())
        });
        Prometheus { process, address, _folder: folder }
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let response = Request::new("GET", path).try_send(&format!("http://{}", self.address));
        let body = response.map_err(|error| error.to_string())?.json();
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].clone()),
            _ => Err(body.to_string()),
        }
    }

    /// The current result of a query: a vector.
    pub fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let escaped = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let expression: String = expression.bytes().map(escaped).collect();
        let data = self.get(&format!("/api/v1/query?query={expression}"))?;
        let result = data["result"].as_array().filter(|_| data["resultType"] == "vector").ok_or("no vector")?;
        let sample = |sample: &Value| {
            let labels = serde_json::from_value(sample["metric"].clone()).unwrap();
            (labels, sample["value"][1].as_str().unwrap().parse().unwrap())
        };
        Ok(result.iter().map(sample).collect())
    }

    /// Polls until there is a result; after a long time the test fails with what was found last.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match look() {
                Ok(found) => return found,
                Err(found) if Instant::now() >= deadline => {
                    let log = self.process.stderr();
                    let log = log[log.len().saturating_sub(20)..].join("\n");
                    panic!("waited in vain for {what}: {found}\n{log}")
                }
                Err(_) => thread::sleep(PAUSE),
            }
        }
    }

    /// The alerts of a job that fire now.
    pub fn firing(&self, job: &str) -> Result<Vec<String>, String> {
        let data = self.get("/api/v1/alerts")?;
        let own = data["alerts"].as_array().unwrap().iter();
        let own = own.filter(|alert| alert["state"] == "firing" && alert["labels"]["job"] == job);
        Ok(own.map(|alert| alert["labels"]["alertname"].as_str().unwrap().to_owned()).collect())
    }

    /// Every alert that has fired at any time, by the labels of its series: `job`, `alertname`, `severity`.
    pub fn fired(&self) -> Vec<BTreeMap<String, String>> {
        let all = self.query(r#"count_over_time(ALERTS{alertstate="firing"}[1h])"#).unwrap();
        all.into_iter().map(|(labels, _)| labels).collect()
    }
}

#[test]
fn windows_become_shorter_and_thresholds_stay() {
    let rules = "
      - alert: A
        expr: rate(a[5m]) > 5 and max_over_time(b[1h30m:1m] offset 3d) - time() < 7 * 86400
          and sessiongate_upstream_quota_age_seconds < 120 and sessiongate_jwks_age_seconds < 0
        for: 10m
        keep_firing_for: 30s
        labels: { window: 1h }
";
    let shorter = "
      - alert: A
        expr: rate(a[10000ms]) > 5 and max_over_time(b[180000ms:2000ms] offset 8640000ms) - time() < 7 * 86400
          and sessiongate_upstream_quota_age_seconds < 4 and sessiongate_jwks_age_seconds < 0
        for: 20000ms
        keep_firing_for: 1000ms
        labels: { window: 1h }
";
    assert_eq!(hastened(rules), shorter);
    // No rule has a window that is not recognized.
    let rules = std::fs::read_to_string(project().join("deploy/prometheus/rules.yaml")).unwrap();
    let left = Regex::new(r"\[\d+(?:[shdwy]|m\b)|(?m)^\s*(?:for|keep_firing_for|interval): \d+[smhdwy]\s*$").unwrap();
    assert!(left.is_match(&rules) && !left.is_match(&hastened(&rules)));
}
