//! The options of a reference to a secret.

use super::declare::{Opt, Plain};
use super::kind::TEXT;
use super::table::{Options, Rule};

pub static FILE: Plain =
    Opt::new("file", TEXT, "File with the secret. One trailing line break is ignored.").allowed("path of a file");

pub static ENV: Plain =
    Opt::new("env", TEXT, "Name of the environment variable with the secret.").allowed("name of a variable");

/// The options of a reference to a secret.
pub static SECRET: Options = Options {
    heading: "Secrets",
    comments_above: false,
    rules: &[Rule::ExactlyOne(&["file", "env"])],
    rows: &[&FILE, &ENV],
};
