//! The text of a first configuration. It depends on the arguments alone: two runs print the same.

use crate::dialect::{Dialect, PolicySubject};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;

/// What the text is made of.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    pub dialect: &'static Dialect,
    /// The URL of the provider, without a path.
    pub url: &'a str,
    /// The issuer and the audience of access tokens; `None` if the provider alone verifies credentials.
    pub tokens: Option<(String, String)>,
    pub listen: &'a str,
    /// The files of a certificate and of its key.
    pub tls: Option<&'a (String, String)>,
    /// The URL of the shared store.
    pub store: Option<&'a str>,
    /// The file with the CA certificates for the provider.
    pub ca_file: Option<&'a str>,
}

impl Parts<'_> {
    /// The whole configuration.
    pub fn text(&self) -> String {
        let parts = [HEAD.to_owned(), self.listener(), self.store(), self.upstream(), self.policy()];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn listener(&self) -> String {
        let listen = quoted(self.listen);
        let Some((certificate, key)) = self.tls else {
            let why = match is_local(self.listen) {
                true => "Only this machine reaches this address. Other machines need TLS",
                false => "Requests carry access tokens, here in cleartext: put TLS in front, or here",
            };
            return format!("# {why} (`init --tls`): docs/guides/tls.md\nlisten: {listen}\n");
        };
        let shell = [in_shell(certificate), in_shell(key)];
        let folders = [folder(certificate), folder(key)].map(|folder| folder.map(in_shell));
        let folders: BTreeSet<String> = folders.into_iter().flatten().collect();
        let folders: String = folders.iter().map(|folder| format!("#   mkdir -p {folder}\n")).collect();
        filled(TLS, &[&folders, &shell[0], &shell[1], &listen, &quoted(certificate), &quoted(key)])
    }

    fn store(&self) -> String {
        let Some(url) = self.store else {
            return String::new();
        };
        filled(STORE, &[&quoted(url)])
    }

    fn upstream(&self) -> String {
        let Dialect { name, title, preview, .. } = self.dialect;
        let preview = if *preview { " (preview)" } else { "" };
        let mut text = format!(
            "# The providers. Their names are yours, and appear in the log and in metrics.\n\
             upstreams:\n  {name}:\n    # {title}{preview}\n    dialect: {name}\n    url: {}\n",
            quoted(self.url)
        );
        if let Some(file) = self.ca_file {
            let _ = writeln!(text, "    tls: {{ ca_file: {} }}", quoted(file));
        }
        text.push_str(&self.auth());
        text.push_str(CACHE);
        if self.has_policy() {
            text.push_str(
                "    # What writes may set: see below. Without a policy only the provider's own limits apply.\n",
            );
            text.push_str("    policy: sessions\n");
        }
        text
    }

    fn auth(&self) -> String {
        let Some((issuer, audience)) = &self.tokens else {
            return FORWARD.to_owned();
        };
        let mut text = filled(TOKENS, &[&quoted(issuer), &quoted(audience)]);
        if self.dialect.token_form.is_none() {
            text.push_str("      # Opaque tokens are rejected. With `opaque: forward` the provider verifies them.\n");
        }
        // Another issuer has a certificate of its own.
        if let Some(file) = self.ca_file.filter(|_| issuer.trim_end_matches('/') == self.url) {
            let _ = writeln!(text, "      ca_file: {}", quoted(file));
        }
        text
    }

    /// Whether a write can contain what the policy is about.
    fn has_policy(&self) -> bool {
        self.dialect.names.has(PolicySubject::Metadata)
    }

    fn policy(&self) -> String {
        if self.has_policy() { POLICY.to_owned() } else { String::new() }
    }
}

const HEAD: &str = "\
# A first configuration of sessiongate. Check it, also from where it will run, and start the gateway:
#   sessiongate check -c FILE --online
#   sessiongate run -c FILE
# Names of files are relative to the directory in which the command runs.
# docs/reference/configuration.md has every option; `sessiongate schema` is for editors.

# Probes and metrics are at 127.0.0.1:9090. A second gateway on this machine needs another address, or `off`:
# admin: 127.0.0.1:9190
";

// In these texts each `@` stands for a value: see `filled`.

const TLS: &str = "\
# HTTPS, with HTTP/2 and HTTP/1.1. Most SDKs accept nothing else: docs/guides/sdks.md. For a trial, make a certificate
# for this machine, which clients then have to trust like a CA:
@#   openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=localhost \\
#     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -out @ -keyout @
listeners:
  main:
    address: @
    tls:
      certificates: [ { certificate: @, key: @ } ]
";

const STORE: &str = "\
# Responses are in Redis, encrypted, so that each replica sees the writes of the others: docs/guides/redis.md. Secrets
# are in files, the same for every replica. Make them once (systemd sets CREDENTIALS_DIRECTORY: docs/guides/systemd.md):
#   mkdir -m 700 secrets
#   head -c 32 /dev/urandom | base64 > secrets/hash-key
#   head -c 32 /dev/urandom | base64 > secrets/seal-key
hash_key: { file: \"${CREDENTIALS_DIRECTORY:-secrets}/hash-key\" }
store:
  redis:
    url: @
    # If the server requires a login, add `username` and `password: { file: … }`.
    seal_keys: [ { file: \"${CREDENTIALS_DIRECTORY:-secrets}/seal-key\" } ]
";

const FORWARD: &str = "    \
    # Requests need a credential, which the provider alone verifies. With `init --issuer URL --audience TEXT` the
    # gateway verifies JWTs before a request reaches the provider: docs/concepts/trust.md
    auth: forward
";

const TOKENS: &str = "    \
    # The gateway verifies access tokens and their scopes before a request reaches the provider: docs/concepts/trust.md.
    # Both values are compared exactly with `iss` and `aud` of tokens; a final slash counts.
    auth:
      issuer: @
      audience: @
";

const CACHE: &str = "    \
    # How long a session may be served without the provider. After a write through the gateway no older response is
    # served; a change that bypasses the gateway is seen after `ttl`: docs/concepts/cache.md
    cache: { ttl: 30s }
";

const POLICY: &str = "\
policies:
  sessions:
    # `audit` only records violations. Set `enforce` when the log shows no more of them: docs/guides/audit-mode.md
    mode: audit
    # The metadata keys that writes may set. Replace `*` by the keys of your applications: docs/guides/policies.md
    keys: { allowed: [\"*\"] }
    # Rules for single keys, such as this one:
    # fields: { tier: { one_of: [free, pro, enterprise] } }
";

/// A text with these values in the places of each `@`.
fn filled(template: &str, values: &[&str]) -> String {
    let values = values.iter().copied().chain(std::iter::repeat(""));
    template.split('@').zip(values).fold(String::new(), |text, (part, value)| text + part + value)
}

/// The directory of a file, if it is not the current one.
fn folder(file: &str) -> Option<&str> {
    file.rsplit_once('/').map(|(folder, _)| folder).filter(|folder| !folder.is_empty())
}

/// Whether only this machine reaches a listen address.
fn is_local(address: &str) -> bool {
    address.starts_with("unix:") || address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback())
}

/// Words that YAML 1.1 or 1.2 reads as something else than a text.
const YAML_WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// Whether a text needs no quotes in a shell.
fn is_plain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'/' | b':' | b'-' | b'+');
    !text.starts_with('-') && !text.is_empty() && text.bytes().all(plain)
}

/// Whether every YAML parser reads an unquoted text as itself: not as a number, which other tools round, or as a word
/// such as `null`.
fn is_plain_in_yaml(text: &str) -> bool {
    let is_path_or_name = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/');
    is_plain(text)
        && !text.ends_with(':')
        && (is_path_or_name || text.parse::<SocketAddr>().is_ok_and(|address| address.is_ipv4()))
        && !YAML_WORDS.contains(&text.to_ascii_lowercase().as_str())
}

/// A text as a YAML value. A `$` stands for itself, and begins no reference to a variable.
fn quoted(text: &str) -> String {
    if is_plain_in_yaml(text) {
        return text.to_owned();
    }
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '$' => "$$".to_owned(),
        c if c.is_control() => format!("\\U{:08x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// A text as an argument in a shell, on one line.
fn in_shell(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
