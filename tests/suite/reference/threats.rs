//! The tests that docs/security/model.md names as proof exist.

use crate::harness::project;
use std::fs;
use std::path::Path;

/// The text of all sources in a folder.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => sources(&entry, all),
            false if entry.extension().is_some_and(|extension| extension == "rs") => {
                all.push_str(&fs::read_to_string(&entry).unwrap());
            }
            false => {}
        }
    }
}

#[test]
fn tests_named_in_the_threat_table_exist() {
    let page = fs::read_to_string(project().join("docs/security/model.md")).unwrap();
    let table = page.split("<!-- threats -->\n").nth(1).unwrap().split("<!-- end: threats -->").next().unwrap();
    let mut all = String::new();
    ["src", "tests/suite"].iter().for_each(|folder| sources(&project().join(folder), &mut all));
    let mut count = 0;
    for row in table.lines().skip(2) {
        let proof = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let names: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "{row}");
        for name in names {
            assert!(all.contains(&format!("fn {name}(")), "no test {name}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
