//! Jitter: several processes that wait for the same must not ask the store in bursts.

use crate::coherence::Token;
use std::time::Duration;

/// A pause that is shorter or longer by up to one of `parts` of it.
pub(super) fn jittered(pause: Duration, parts: u32, random: Token) -> Duration {
    let part = pause / parts;
    pause - part + part.mul_f64((random.0 % 1024) as f64 / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_varies_by_one_part_to_both_sides() {
        let jittered = |parts, random| jittered(Duration::from_millis(80), parts, Token(random)).as_millis();
        assert_eq!((jittered(4, 0), jittered(4, 512), jittered(4, 1023)), (60, 80, 99));
        assert_eq!((jittered(2, 0), jittered(2, 512), jittered(2, 1024)), (40, 80, 40));
    }
}
