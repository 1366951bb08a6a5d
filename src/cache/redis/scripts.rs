//! The Lua scripts that the servers run. Each executes one step of [`crate::coherence`] atomically, uses keys of one
//! hash tag only, and may be executed late, twice or not at all without harm.
//!
//! Format of a state: 32 digits of its generation (or of the one before its only mark, or `-`), 20 of its floor, 13 of
//! the time until which it counts as deleted, and 29 per mark: 16 of the write's token and 13 of its deadline.
//! `variant.lua` has the format of a variant, `right.lua` that of a right. Its entry is `D`, two generations, 20
//! digits of the version, 16 of the start of its fetch (microseconds), 13 each of the ends of freshness and staleness,
//! 32 of the only credential that may see it (or zeros), 16 of the digest, and the encrypted response. Times are the
//! server's, in milliseconds unless stated otherwise.

use redis::Cmd;
use std::sync::LazyLock;

/// A script, with the SHA-1 hash by which servers know it.
pub(super) struct Script {
    /// The source.
    pub text: &'static str,
    sha: LazyLock<String>,
}

impl Script {
    const fn new(text: &'static str, sha: fn() -> String) -> Script {
        Script { text, sha: LazyLock::new(sha) }
    }

    /// The `EVALSHA` command.
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

/// Not one of all: a server that knows it is one whose rights count. Scripts are neither saved nor replicated (Redis
/// 7.0 and later).
pub(super) static KNOWN: Script = Script::new(include_str!("known.lua"), || sha(include_str!("known.lua")));

macro_rules! scripts {
    ($($name:ident $($part:expr),+;)*) => {
        $(pub(super) static $name: Script = Script::new(concat!($($part),+), || sha(concat!($($part),+)));)*

        /// Every script.
        pub(super) static ALL: &[&Script] = &[$(&$name),*];
    };
}

scripts! {
    ACQUIRE "#!lua\n", include_str!("variant.lua"), include_str!("tenants.lua"), include_str!("acquire.lua");
    FILL include_str!("variant.lua"), include_str!("fill.lua");
    RETIRE include_str!("variant.lua"), include_str!("retire.lua");
    RELEASE include_str!("variant.lua"), include_str!("release.lua");
    OPEN include_str!("open.lua");
    BEGIN include_str!("begin.lua");
    END include_str!("tenants.lua"), include_str!("end.lua");
    DELETED "#!lua\n", include_str!("tenants.lua"), include_str!("deleted.lua");
    RIGHT include_str!("right.lua");
    BEAT include_str!("beat.lua");
}
