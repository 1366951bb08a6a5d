//! An environment for configurations that refer to nothing.

use sessiongate::config::Environment;
use std::path::Path;

/// No variables, no files.
pub struct EmptyEnvironment;

impl Environment for EmptyEnvironment {
    fn variable(&self, _: &str) -> Option<std::ffi::OsString> {
        None
    }

    fn file(&self, _: &Path) -> Result<Vec<u8>, String> {
        Err("there is none".into())
    }
}
