//! The configurations in rendered manifests.

use super::cases::cases;
use crate::harness::kubernetes::kubernetes_installed;
use crate::harness::{Authority, finish, sessiongate};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The secrets that the chart's configurations refer to, as files.
pub struct Secrets {
    folder: TempDir,
    _authority: Authority,
}

impl Secrets {
    pub fn new() -> Secrets {
        let authority = Authority::new("kubernetes");
        let (certificate, key) = authority.certify_in_files("tls", &["sessiongate", "sessiongate-redis", "localhost"]);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["sessiongate", "tls", "redis-tls", "sockets"] {
            fs::create_dir(path(name)).unwrap();
        }
        for name in ["hash-key", "seal-key", "redis-password"] {
            let text = format!("{name} of at least 32 bytes, with $ and spaces\n");
            fs::write(path(&format!("sessiongate/{name}")), text).unwrap();
        }
        for name in ["tls", "redis-tls"] {
            fs::copy(&authority.file, path(&format!("{name}/ca.crt"))).unwrap();
            fs::copy(&certificate, path(&format!("{name}/tls.crt"))).unwrap();
            fs::copy(&key, path(&format!("{name}/tls.key"))).unwrap();
        }
        Secrets { folder, _authority: authority }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A text with the paths of these files in place of those in a pod.
    pub fn place(&self, text: &str) -> String {
        let folder = self.folder().display().to_string();
        let sockets = format!("unix:{folder}/sockets");
        text.replace("/run/secrets", &folder)
            .replace("unix:/run/sessiongate", &sockets)
            .replace("unix:/run/gate", &sockets)
    }

    /// What `sessiongate check --deploy` prints on standard error about this configuration, or nothing.
    pub fn check(&self, config: &str) -> String {
        let file = self.folder().join("config.yaml");
        fs::write(&file, self.place(config)).unwrap();
        let finished = finish(sessiongate(&["check", "--deploy", "-c", file.to_str().unwrap()]));
        assert_eq!(finished.code == Some(0), finished.stderr.is_empty(), "{finished:?}");
        finished.stderr
    }
}

#[test]
fn every_rendered_configuration_passes_the_check_for_deployments() {
    if !kubernetes_installed() {
        return;
    }
    let secrets = Secrets::new();
    for (name, rendered) in cases() {
        assert_eq!(secrets.check(&rendered.config), "", "{name}: {}", rendered.config);
    }
}

#[test]
fn the_check_finds_what_a_rendered_configuration_lacks() {
    if kubernetes_installed() {
        let (_, rendered) = &cases()[1];
        let secrets = Secrets::new();
        fs::remove_file(secrets.folder().join("sessiongate/seal-key")).unwrap();
        assert!(secrets.check(&rendered.config).contains("seal_keys"));
    }
}
