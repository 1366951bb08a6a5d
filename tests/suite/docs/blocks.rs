//! Fenced blocks: each is run or checked, or has `<!-- by hand -->` in the line before.

use super::{Page, pages};
use crate::harness::{finish, project, sessiongate};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const BY_HAND: &str = "<!-- by hand -->";

/// A fenced block.
struct Block {
    /// Where it begins: `docs/PAGE.md:LINE`.
    location: String,
    language: String,
    text: String,
    by_hand: bool,
}

fn blocks(page: &Page) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut indentation, mut before) = (false, 0, "");
    for (at, line) in page.text.lines().enumerate() {
        match line.trim_start().strip_prefix("```") {
            Some(_) if open => open = false,
            Some(language) => {
                (open, indentation) = (true, line.len() - line.trim_start().len());
                blocks.push(Block {
                    location: format!("{}:{}", page.path, at + 1),
                    language: language.trim().to_owned(),
                    text: String::new(),
                    by_hand: before.trim() == BY_HAND,
                });
            }
            None => {
                if let Some(block) = blocks.last_mut().filter(|_| open) {
                    block.text.push_str(line.get(indentation..).unwrap_or_default());
                    block.text.push('\n');
                }
            }
        }
        before = line;
    }
    assert!(!open, "{}: a block without an end", page.path);
    blocks
}

/// The sources of the suite's tests, without those that render or check all pages.
fn tests(folder: &Path) -> String {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let texts = paths.map(|path| match path.is_dir() {
        true if path.ends_with("suite/docs") || path.ends_with("suite/reference") => String::new(),
        true => tests(&path),
        false if path.extension().is_some_and(|extension| extension == "rs") => fs::read_to_string(path).unwrap(),
        false => String::new(),
    });
    texts.collect()
}

/// The blocks that no test of their page runs: a test that does so names the page.
fn general() -> Vec<Block> {
    let tests = tests(&project().join("tests/suite"));
    let own = |page: &Page| page.path.starts_with("docs/runbooks/") || tests.contains(&format!("\"{}\"", page.path));
    pages().iter().filter(|page| !own(page)).flat_map(blocks).collect()
}

/// The words of a line in a shell, as commands with their arguments.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut word, mut quote) = (vec![Vec::new()], String::new(), None);
    let mut started = false;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') => (quote, started) = (Some(c), true),
            (None, '#') if word.is_empty() && !started => break,
            (None, '|' | '&' | ';' | '>' | '<' | ' ' | '\n') => {
                if started || !word.is_empty() {
                    commands.last_mut().unwrap().push(std::mem::take(&mut word));
                    started = false;
                }
                // What follows `>` and `<` is a file, which no program of ours has for a name.
                if c != ' ' {
                    commands.push(Vec::new());
                }
            }
            (None, c) => word.push(c),
        }
    }
    if started || !word.is_empty() {
        commands.last_mut().unwrap().push(word);
    }
    commands.into_iter().filter(|command| !command.is_empty()).collect()
}

/// The lines of a block that are commands.
fn command_lines(block: &Block) -> Vec<String> {
    let joined = block.text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    match block.language.as_str() {
        "console" => lines.filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect(),
        _ => lines.map(str::to_owned).collect(),
    }
}

/// The names of modules and functions of the project: those of tests are among them.
fn names_in_source() -> BTreeSet<String> {
    fn walk(folder: &Path, name: &Regex, names: &mut BTreeSet<String>) {
        for path in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            if path.is_dir() {
                walk(&path, name, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(path).unwrap();
                names.extend(name.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    let (name, mut names) = (Regex::new(r"\b(?:fn|mod) (\w+)").unwrap(), BTreeSet::new());
    ["src", "tests/suite"].iter().for_each(|folder| walk(&project().join(folder), &name, &mut names));
    names
}

/// The words of a command `tests/run` that are in no test's name.
fn unknown_tests<'c>(command: &'c [String], names: &BTreeSet<String>) -> Vec<&'c str> {
    let words = command.iter().skip(1).filter(|word| !word.starts_with("--"));
    let parts = words.flat_map(|word| word.split("::")).filter(|part| !part.is_empty());
    parts.filter(|part| !names.iter().any(|name| name.contains(*part))).collect()
}

/// Commands of the program are checked as it reads its command line. What else is in such a block runs everywhere, and
/// needs no test.
#[test]
fn commands_are_checked_or_marked() {
    const KNOWN: [&str; 4] = ["jq", "sort", "uniq", "kill"];
    let names = names_in_source();
    let (mut checked, mut faults) = (0, Vec::new());
    for block in general().iter().filter(|block| ["sh", "bash", "console"].contains(&block.language.as_str())) {
        for line in command_lines(block) {
            let files: Vec<&str> =
                line.split(['>', '<']).skip(1).filter_map(|rest| rest.split_whitespace().next()).collect();
            for command in commands(&line) {
                let program = command[0].as_str();
                if program == "sessiongate" {
                    let result = sessiongate::cli::command_line().try_get_matches_from(&command);
                    checked += 1;
                    if let Err(error) = result {
                        faults.push(format!("{}: {error}", block.location));
                    }
                } else if program == "tests/run" {
                    for word in unknown_tests(&command, &names) {
                        faults.push(format!("{}: no test has `{word}` in its name", block.location));
                    }
                } else if !block.by_hand && !KNOWN.contains(&program) && !files.contains(&program) {
                    faults.push(format!("{}: `{program}` is not run: mark the block with {BY_HAND}", block.location));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(checked > 10, "{checked}");
}

/// Whether a finding depends on the machine: files, secrets and variables of a documented configuration.
fn of_the_machine(finding: &Value) -> bool {
    ["file", "secret", "variable"].iter().any(|id| finding["id"] == *id)
}

#[test]
fn configurations_pass_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("sessiongate.yaml"), folder.path().join("secret"));
    fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let secret_file = Regex::new(r"\bfile: [^ }\n]+").unwrap();
    let mut checked = 0;
    for block in general().iter().filter(|block| block.language == "yaml" && !block.by_hand) {
        // Some show only a part.
        let least = "upstreams: { a: { dialect: auth0, url: \"https://a.example\", auth: none } }\n";
        let whole = block.text.contains("upstreams:\n");
        let text = secret_file.replace_all(&block.text, format!("file: {}", secret.display()));
        fs::write(&path, if whole { text.into_owned() } else { format!("{text}{least}") }).unwrap();
        let finished = finish(sessiongate(&["check", "--format", "json", "-c", path.to_str().unwrap()]));
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap().iter();
        let faults: Vec<&Value> =
            findings.filter(|finding| finding["level"] == "error" && !of_the_machine(finding)).collect();
        assert!(faults.is_empty(), "{}: {faults:#?}", block.location);
        checked += 1;
    }
    assert!(checked > 2, "{checked}");
}

#[test]
fn json_is_valid() {
    for block in pages().iter().flat_map(blocks).filter(|block| block.language == "json") {
        let values = serde_json::Deserializer::from_str(&block.text).into_iter::<Value>();
        values.for_each(|value| drop(value.unwrap_or_else(|error| panic!("{}: {error}", block.location))));
    }
}

/// GitHub draws these kinds of diagrams. `mdbook` shows their text, so that it has to be readable.
#[test]
fn diagrams_have_a_known_kind() {
    const KINDS: [&str; 4] = ["flowchart LR", "flowchart TD", "sequenceDiagram", "stateDiagram-v2"];
    for block in pages().iter().flat_map(blocks).filter(|block| block.language == "mermaid") {
        assert!(KINDS.contains(&block.text.lines().next().unwrap()), "{}", block.location);
        assert!(!block.text.contains('\t') && block.text.lines().count() < 60, "{}", block.location);
    }
}

/// README.md names the tests of each claim.
#[test]
fn claims_have_tests() {
    let names = names_in_source();
    let readme = fs::read_to_string(project().join("README.md")).unwrap();
    let (_, section) = readme.split_once("\n## What it claims").unwrap();
    let found = Regex::new(r"`(tests/run [^`]+)`").unwrap();
    let commands: Vec<String> =
        found.captures_iter(section.split("\n## ").next().unwrap()).map(|found| found[1].to_owned()).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands.iter().flat_map(|command| self::commands(command)) {
        assert_eq!(unknown_tests(&command, &names), [""; 0], "README.md: {command:?}");
    }
}

#[test]
fn commands_of_a_line_are_told_apart() {
    let found = commands("a -x 'b | c' | d \"e f\" && g > h.txt # i");
    assert_eq!(found, [vec!["a", "-x", "b | c"], vec!["d", "e f"], vec!["g"], vec!["h.txt"]]);
}
