//! Each dialect has its cases, and tests on sockets.

use crate::harness::project;
use sessiongate::dialect::DIALECTS;
use std::fs;
use std::path::{Path, PathBuf};

/// The files in a folder; none if there is no folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

/// How often the lines of a file begin so; 0 if there is no file.
fn count(path: &Path, begin: &str) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter(|line| line.starts_with(begin)).count()
}

#[test]
fn each_dialect_has_cases_and_tests_on_sockets() {
    let (root, mut faults) = (project(), Vec::new());
    let modules = fs::read_to_string(root.join("tests/suite/main.rs")).unwrap();
    for dialect in DIALECTS {
        let name = dialect.name;
        let golden = files(&root.join("tests/cases").join(name));
        if golden.is_empty() {
            faults.push(format!("tests/cases/{name} has no files"));
        }
        for path in golden.iter().filter(|path| path.extension().is_none_or(|end| end != "txt")) {
            faults.push(format!("{} is not read", path.display()));
        }
        for path in golden.iter().filter(|path| count(path, "=== ") == 0) {
            faults.push(format!("{} has no cases", path.display()));
        }
        for (folder, begin) in [("invalidation", ["keeps ", "changes"]), ("rejections", ["=== ", "--- "])] {
            let path = root.join(format!("tests/cases/{folder}/{name}.txt"));
            for begin in begin.into_iter().filter(|begin| count(&path, begin) == 0) {
                faults.push(format!("{} has no line with {begin:?}", path.display()));
            }
        }
        let suite = root.join("tests/suite");
        let sources = [vec![suite.join(format!("{name}.rs"))], files(&suite.join(name))].concat();
        let tests: usize = sources.iter().map(|path| count(path, "#[test]") + count(path, "#[tokio::test")).sum();
        if tests == 0 || !modules.contains(&format!("\nmod {name}")) {
            faults.push(format!("tests/suite/{name} has no tests, or tests/suite/main.rs does not name it"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
