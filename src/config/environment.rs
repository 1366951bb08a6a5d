//! What a configuration can refer to outside its text.

use std::path::Path;

/// What a configuration can refer to outside its text.
pub trait Environment {
    /// The value of a variable. `None` if it is not set or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;
    /// The contents of a file, or why it cannot be read. The reason must not repeat the path, which may come from a
    /// variable.
    fn file(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// The system's memory limit for the process, in bytes; `None` if unknown.
    fn memory(&self) -> Option<usize> {
        None
    }
}

/// No variables and no files, for tests.
#[cfg(test)]
pub(crate) struct EmptyEnvironment;

#[cfg(test)]
impl Environment for EmptyEnvironment {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("no files".into())
    }
}
