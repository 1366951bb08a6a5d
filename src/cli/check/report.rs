//! What `check` found, for all formats.

use super::online::{Check, Outcome};
use crate::config::{ConfigError, Places};

/// The name of standard input in findings, as compilers call it.
pub(super) const STDIN: &str = "<stdin>";
/// The most findings that are printed.
const MAX_FINDINGS: usize = 1000;

/// What was found in a configuration.
pub(super) struct Report {
    /// The name of the configuration.
    pub file: String,
    /// The findings, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// The number of errors, with those that are not printed.
    pub errors: usize,
    /// The number of warnings, with those that are not printed.
    pub warnings: usize,
    /// The checks of `--online`; `None` if there were none.
    pub checks: Option<Vec<Check>>,
    /// Whether warnings are errors.
    deploy: bool,
}

/// An error or a warning.
pub(super) struct Finding {
    /// How it counts. With `--deploy` a warning is an error.
    pub level: Level,
    pub error: ConfigError,
}

/// How a finding counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
}

impl Level {
    /// The name in all formats.
    pub fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
        }
    }
}

impl Report {
    /// Nothing was found in the configuration `file`. With `deploy` warnings are errors.
    pub fn new(file: &str, deploy: bool) -> Report {
        Report { file: file.to_owned(), findings: Vec::new(), errors: 0, warnings: 0, checks: None, deploy }
    }

    pub fn add_errors(&mut self, errors: Vec<ConfigError>) {
        errors.into_iter().for_each(|error| self.add(Level::Error, error));
    }

    pub fn add_warnings(&mut self, warnings: Vec<ConfigError>) {
        let level = if self.deploy { Level::Error } else { Level::Warning };
        warnings.into_iter().for_each(|warning| self.add(level, warning));
    }

    /// Adds the checks of `--online`. One that failed is an error at its option.
    pub fn add_checks(&mut self, checks: Vec<Check>, places: &Places) {
        for check in &checks {
            if let Outcome::Failed { hint } = &check.outcome {
                let error = places.error(&check.option, check.id, &check.message, Some(hint));
                self.add(Level::Error, error);
            }
        }
        self.checks = Some(checks);
    }

    fn add(&mut self, level: Level, error: ConfigError) {
        match level {
            Level::Error => self.errors += 1,
            Level::Warning => self.warnings += 1,
        }
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { level, error });
        }
    }

    /// The number of findings that are not printed.
    pub fn omitted(&self) -> usize {
        self.errors + self.warnings - self.findings.len()
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        u8::from(self.errors > 0)
    }
}
