//! The scripts that a server runs. Each does one step of [`crate::coherence`] in one piece, touches keys of one hash tag only, and
//! may be carried out late, twice or not at all without doing harm.
//!
//! A state is 32 digits of its generation (or of the one before its only mark, or `-`), 20 of its floor, 13 of the time until which
//! it counts as deleted, and 29 for each mark: 16 of the writer's token and 13 of its deadline. A place is `L`, two generations and
//! a token, or `D`, two generations, three times of 13 digits (fetched, fresh until, stale until) and the sealed answer. Times are
//! those of the server, in milliseconds.

use redis::Cmd;
use std::sync::LazyLock;

/// A script, with the name that servers know it by.
pub(super) struct Script {
    /// Its text.
    pub text: &'static str,
    sha: LazyLock<String>,
}

impl Script {
    const fn new(text: &'static str, sha: fn() -> String) -> Script {
        Script { text, sha: LazyLock::new(sha) }
    }

    /// The command that runs it.
    pub fn run(&self, keys: &[&str], arguments: &[&str]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.sha.as_str()).arg(keys.len()).arg(keys).arg(arguments);
        command
    }
}

fn sha(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

macro_rules! scripts {
    ($($name:ident $file:literal,)*) => {
        $(pub(super) static $name: Script = Script::new(include_str!($file), || sha(include_str!($file)));)*

        /// Every script.
        pub(super) static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    ACQUIRE "acquire.lua",
    OPEN "open.lua",
    BEGIN "begin.lua",
    END "end.lua",
    RELEASE "release.lua",
    DELETED "deleted.lua",
    BEAT "beat.lua",
}
