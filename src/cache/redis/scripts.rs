//! The scripts that a server runs. Each does one step of [`crate::coherence`] in one piece, touches keys of one hash
//! tag only, and may be carried out late, twice or not at all without doing harm.
//!
//! A state is 32 digits of its generation (or of the one before its only mark, or `-`), 20 of its floor, 13 of the time
//! until which it counts as deleted, and 29 for each mark: 16 of the writer's token and 13 of its deadline. How a place
//! is written stands in `variant.lua`; its entry is `D`, two generations, 20 digits of the version, 16 of when its
//! fetch began (in microseconds), 13 each of until when it is fresh and of until when it does, 32 of the only
//! credential that may see it (or zeros), and the sealed answer. Times are those of the server, in milliseconds where
//! nothing else is said.

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
    pub fn run(&self, keys: &[&str], arguments: &[impl AsRef<[u8]>]) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.sha.as_str()).arg(keys.len()).arg(keys);
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        command
    }
}

fn sha(text: &str) -> String {
    redis::Script::new(text).get_hash().to_owned()
}

macro_rules! scripts {
    ($($name:ident $($part:expr),+;)*) => {
        $(pub(super) static $name: Script = Script::new(concat!($($part),+), || sha(concat!($($part),+)));)*

        /// Every script.
        pub(super) static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    ACQUIRE "#!lua\n", include_str!("place.lua"), include_str!("tenants.lua"), include_str!("acquire.lua");
    FILL include_str!("place.lua"), include_str!("fill.lua");
    RETIRE include_str!("place.lua"), include_str!("retire.lua");
    RELEASE include_str!("place.lua"), include_str!("release.lua");
    OPEN include_str!("open.lua");
    BEGIN include_str!("begin.lua");
    END include_str!("tenants.lua"), include_str!("end.lua");
    DELETED "#!lua\n", include_str!("tenants.lua"), include_str!("deleted.lua");
    BEAT include_str!("beat.lua");
}
