//! docs/guides/sdks.md shows the programs of `tests/sdk` that `sdk_guide` runs, docs/guides/several-owners.md that of the
//! sandbox's tour.

use crate::harness::{generated_part, project};
use std::fs;

/// Language and path of each program.
const PROGRAMS: [(&str, &str); 8] = [
    ("js", "guide/session.mjs"),
    ("python", "guide/session.py"),
    ("go", "go/session/main.go"),
    ("xml", "java3/pom.xml"),
    ("java", "java3/Session.java"),
    ("js", "guide/login.mjs"),
    ("python", "guide/login.py"),
    ("proto", "guide/session.proto"),
];

#[test]
fn sdk_guide_shows_the_programs_that_are_run() {
    for (language, path) in PROGRAMS {
        let text = fs::read_to_string(project().join("tests/sdk").join(path)).unwrap();
        let name = path.rsplit('/').next().unwrap();
        generated_part("docs/guides/sdks.md", name, &format!("```{language}\n{text}```\n"));
    }
}

#[test]
fn guide_of_owners_shows_the_program_of_the_tour() {
    let text = fs::read_to_string(project().join("src/sandbox/owners.mjs")).unwrap();
    generated_part("docs/guides/several-owners.md", "owners.mjs", &format!("```js\n{text}```\n"));
}
