//! Reads a configuration on this machine: its text, and the files and variables that it refers to.

use crate::config::{self, Config, ConfigError, Environment};
use crate::descriptors;
use crate::memory;
use crate::wire::hex;
use ring::digest;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const MAX_FILE: usize = 8 << 20;

/// A configuration file, and the random key for its hashes.
pub struct Source {
    path: PathBuf,
    random: [u8; 32],
}

/// A configuration that was read and compiled.
pub struct LoadedConfig {
    /// The compiled configuration.
    pub config: Config,
    /// Its warnings.
    pub warnings: Vec<ConfigError>,
    /// The SHA-256 hash of its text, in hexadecimal.
    pub hash: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// It is unreadable.
    #[error("{0}")]
    Unreadable(String),
    /// There were no descriptors to read it, so it may be fine.
    #[error("too many open files")]
    NoDescriptors,
    /// It is invalid: all its faults.
    #[error("{}", .0.iter().map(ConfigError::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<ConfigError>),
}

/// Hashes of the contents of files; `None` for those that could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    files: BTreeMap<PathBuf, Option<[u8; 32]>>,
}

impl Source {
    /// The configuration in this file. `random` keys the session hashes, unless the configuration has a key.
    pub fn new(path: &Path, random: [u8; 32]) -> Source {
        Source { path: path.to_owned(), random }
    }

    /// Reads and compiles it, and returns the fingerprints of the files that it uses.
    pub fn read(&self) -> (Fingerprints, Result<LoadedConfig, Unusable>) {
        let seen = FileState::default();
        let loaded = self.loaded(&seen);
        (Fingerprints { files: seen.files.into_inner() }, loaded)
    }

    fn loaded(&self, seen: &FileState) -> Result<LoadedConfig, Unusable> {
        let name = self.path.display().to_string();
        let unread = |reason: &str| Unusable::Unreadable(format!("{name}: {reason}"));
        let text = seen.record(&self.path, contents(&self.path));
        if seen.no_descriptors.get() {
            return Err(Unusable::NoDescriptors);
        }
        let text = text.map_err(|error| unread(&told(error)))?;
        let hash = hex::text(&sha256(&text));
        let text = String::from_utf8(text).map_err(|_| unread("the file is not valid UTF-8"))?;
        let compiled = config::compile(&name, &text, seen, self.random);
        if seen.no_descriptors.get() {
            return Err(Unusable::NoDescriptors);
        }
        let compiled = compiled.map_err(Unusable::Invalid)?;
        Ok(LoadedConfig { config: compiled.config, warnings: compiled.warnings, hash })
    }
}

impl LoadedConfig {
    /// A configuration without a file.
    pub fn of(name: &str, text: &str, lookup: &dyn Environment, random: [u8; 32]) -> Result<LoadedConfig, Unusable> {
        let compiled = config::compile(name, text, lookup, random).map_err(Unusable::Invalid)?;
        Ok(LoadedConfig {
            config: compiled.config,
            warnings: compiled.warnings,
            hash: hex::text(&sha256(text.as_bytes())),
        })
    }
}

impl Fingerprints {
    /// The current fingerprints of these files; `None` if there are no descriptors to read them.
    pub fn rehash(&self) -> Option<Fingerprints> {
        let hash = |path: &PathBuf| match hash_at(path) {
            Err(error) if descriptors::is_shortage(&error) => None,
            found => Some((path.clone(), found.ok())),
        };
        Some(Fingerprints { files: self.files.keys().map(hash).collect::<Option<_>>()? })
    }

    /// The fingerprint of one file.
    pub fn at(&self, path: &Path) -> Option<[u8; 32]> {
        self.files.get(path).copied().flatten()
    }
}

/// The environment and files of this machine.
pub struct Machine;

impl Environment for Machine {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        contents(path).map_err(told)
    }

    fn memory(&self) -> Option<usize> {
        Some(memory::system_limit())
    }
}

/// The same, and records every file that is read.
#[derive(Default)]
struct FileState {
    files: RefCell<BTreeMap<PathBuf, Option<[u8; 32]>>>,
    /// Whether a file could not be read for want of descriptors.
    no_descriptors: Cell<bool>,
}

impl FileState {
    fn record(&self, path: &Path, found: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        let hash = found.as_ref().ok().map(|bytes| sha256(bytes));
        if found.as_ref().is_err_and(descriptors::is_shortage) {
            self.no_descriptors.set(true);
        }
        let mut seen = self.files.borrow_mut();
        // A file that changed between two reads has no fingerprint.
        let steady = seen.get(path).is_none_or(|before| *before == hash);
        seen.insert(path.to_owned(), hash.filter(|_| steady));
        found
    }
}

impl Environment for FileState {
    fn variable(&self, name: &str) -> Option<OsString> {
        Machine.variable(name)
    }

    fn file(&self, path: &Path) -> Result<Vec<u8>, String> {
        self.record(path, contents(path)).map_err(told)
    }

    fn memory(&self) -> Option<usize> {
        Machine.memory()
    }
}

/// Describes an I/O error.
fn told(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "file not found".into(),
        io::ErrorKind::FileTooLarge => format!("the file is larger than {} MiB", MAX_FILE >> 20),
        kind => format!("cannot read the file ({kind})"),
    }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_FILE { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

/// Hashes a file in parts, so that its contents, which may be secret, are not kept in memory.
fn hash_at(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?.take(MAX_FILE as u64 + 1);
    let (mut context, mut part) = (digest::Context::new(&digest::SHA256), [0; 4096]);
    loop {
        let read = file.read(&mut part)?;
        if read == 0 {
            break;
        }
        context.update(part.get(..read).unwrap_or_default());
    }
    if file.limit() == 0 { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(to_array(&context.finish())) }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    to_array(&digest::digest(&digest::SHA256, bytes))
}

fn to_array(digest: &digest::Digest) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
    hash
}
