//! Prints text for the user.

use std::io::Write;

/// Prints text. A closed pipe is not an error.
pub(super) fn print_to(mut out: impl Write, text: &str) {
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
