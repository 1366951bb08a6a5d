//! Parts of the documentation that are rendered from the tables in the source.
//!
//! A test fails if such a part differs from what is rendered. `tests/run --write` writes it.

use super::project;
use std::fs;
use std::sync::{Mutex, PoisonError};

/// Tests that write parts of the same file take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Whether tests write generated text instead of comparing it.
fn writes() -> bool {
    std::env::var("SESSIONGATE_WRITE").is_ok_and(|value| value == "1")
}

/// The lines around a generated part: `<!-- generated: NAME -->` and `<!-- end: NAME -->`, or the same after `#`.
fn marks(path: &str, name: &str) -> (String, String) {
    match path.ends_with(".md") {
        true => (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->\n")),
        false => (format!("# generated: {name}\n"), format!("# end: {name}\n")),
    }
}

/// Compares the part `name` of a file with what is rendered, or writes it. Paths are relative to the project.
pub fn generated_part(path: &str, name: &str, rendered: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = fs::read_to_string(project().join(path)).unwrap();
    let (begin, end) = marks(path, name);
    let outer = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = outer else {
        panic!("{path} has no part between {begin:?} and {end:?}");
    };
    compare(path, &[before, &begin, rendered, &end, after].concat());
}

/// Compares a whole file with what is rendered, or writes it.
pub fn generated_file(path: &str, rendered: &str) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    compare(path, rendered);
}

/// A Markdown table. A cell may be a comment of several lines.
pub fn markdown_table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: [String; N]| {
        let cell = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
        let cells = cells.map(|text| format!("| {} ", cell(text)).replace("|  ", "| "));
        cells.concat() + "|\n"
    };
    let rows: String = rows.into_iter().map(line).collect();
    format!("{}{}|\n{rows}", line(head.map(str::to_owned)), "|---".repeat(N))
}

fn compare(path: &str, rendered: &str) {
    let whole = project().join(path);
    let found = fs::read_to_string(&whole).unwrap_or_default();
    if found == rendered {
        return;
    }
    if writes() {
        return fs::write(whole, rendered).unwrap();
    }
    let same = found.lines().zip(rendered.lines()).take_while(|(found, rendered)| found == rendered).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(end of file)").to_owned();
    panic!(
        "{path}:{}: is not what the source says; `tests/run --write` writes it\n found: {}\n  want: {}",
        same + 1,
        line(&found),
        line(rendered)
    );
}
