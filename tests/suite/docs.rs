//! The documentation: its links, its lines, the list of its pages, and that it names only what exists.

mod blocks;
mod names;
mod words;

use crate::harness::project;
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The longest line, but for tables and addresses.
const WIDTH: usize = 120;

/// The Markdown files of a folder, and of those in it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let found = paths.map(|path| match path.is_dir() {
        true => below(&path),
        false if path.extension().is_some_and(|extension| extension == "md") => vec![path],
        false => Vec::new(),
    });
    found.flatten().collect()
}

/// A Markdown file of the project.
struct Page {
    /// Relative to the project.
    path: String,
    text: String,
}

/// Every Markdown file that the project has written.
fn pages() -> Vec<Page> {
    let files = fs::read_dir(project()).unwrap().map(|file| file.unwrap().path());
    let top = files.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let paths = top.chain(["docs", "deploy"].iter().flat_map(|folder| below(&project().join(folder))));
    let mut pages: Vec<Page> = paths
        .map(|path| Page {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(project()).unwrap().display().to_string(),
        })
        .collect();
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    pages
}

/// A text without fenced blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let text = prose(text);
    let mut anchors = BTreeSet::new();
    for heading in text.lines().filter(|line| line.starts_with('#')) {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let again = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(again).find(|slug| !anchors.contains(slug));
        anchors.extend(free);
    }
    anchors
}

/// The targets of links and images that are not on other servers.
fn links(text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let found = link.captures_iter(text).map(|found| found[1].to_owned());
    found.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

/// The file that a link names, relative to the project.
fn target(page: &Page, path: &str) -> String {
    let mut parts: Vec<&str> = page.path.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn every_link_has_a_target() {
    let (mut count, mut faults) = (0, Vec::new());
    for page in pages() {
        for link in links(&prose(&page.text)) {
            count += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if path.is_empty() { page.path.clone() } else { target(&page, path) };
            let file = project().join(&path);
            if !file.exists() {
                faults.push(format!("{}: {link} does not exist", page.path));
            } else if !anchor.is_empty() && !anchors(&fs::read_to_string(file).unwrap()).contains(anchor) {
                faults.push(format!("{}: no heading {link}", page.path));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 300, "{count}");
}

/// `docs/SUMMARY.md` is the table of contents of the book.
#[test]
fn every_page_is_in_the_summary_once() {
    let summary = Page {
        path: "docs/SUMMARY.md".to_owned(),
        text: fs::read_to_string(project().join("docs/SUMMARY.md")).unwrap(),
    };
    let mut listed: Vec<String> = links(&summary.text).iter().map(|link| target(&summary, link)).collect();
    listed.sort();
    let twice: Vec<_> = listed.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let pages: Vec<String> = pages().into_iter().map(|page| page.path).collect();
    let missing: Vec<_> = pages
        .iter()
        .filter(|path| path.starts_with("docs/") && **path != summary.path && !listed.contains(path))
        .collect();
    assert!(missing.is_empty(), "not in docs/SUMMARY.md: {missing:?}");
    // The other way round the test of links looks.
}

#[test]
fn lines_are_not_too_long() {
    let mut long = Vec::new();
    for page in pages() {
        // A block without a language is output of the program, as it is.
        let (mut inside, mut output) = (false, false);
        for (at, line) in page.text.lines().enumerate() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                inside = !inside;
                output = inside && language.is_empty();
            }
            let address = || line.split_whitespace().any(|word| word.contains("://") && word.len() + 20 > WIDTH);
            let table = line.trim_start().starts_with('|');
            if line.chars().count() > WIDTH && !table && !output && !address() {
                long.push(format!("{}:{}", page.path, at + 1));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}
