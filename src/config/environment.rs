//! What a configuration can refer to outside its text.

use std::ffi::OsString;
use std::path::Path;

/// What a configuration can refer to outside its text.
pub trait Environment {
    /// The value of a variable. `None` if it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;
    /// The contents of a file, or why it cannot be read. The reason must not repeat the path, which may come from a
    /// variable.
    fn file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// The system's memory limit for the process, in bytes; `None` if unknown.
    fn memory(&self) -> Option<usize> {
        None
    }
}

/// A variable is set to something that is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUtf8;

/// The text of a variable. `None` if it is not set.
pub(super) fn text_of(environment: &dyn Environment, name: &str) -> Result<Option<String>, NotUtf8> {
    environment.variable(name).map(|value| value.into_string().map_err(|_| NotUtf8)).transpose()
}

/// No variables and no files, for tests.
#[cfg(test)]
pub(crate) struct EmptyEnvironment;

#[cfg(test)]
impl Environment for EmptyEnvironment {
    fn variable(&self, _: &str) -> Option<OsString> {
        None
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("no files".into())
    }
}
