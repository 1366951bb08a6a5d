//! Responses that say that a user is locked, or that a cookie's session has changed. Each invalidates all sessions of
//! the upstream, since it is unknown which they are. Password guessing causes many of them, so at most one invalidation
//! runs per second and scope, and the others wait for it.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The least time between two steps.
const INTERVAL: Duration = Duration::from_secs(1);

/// The steps of each scope.
#[derive(Debug, Default)]
pub struct Lockouts {
    scopes: Mutex<HashMap<u64, Steps>>,
}

#[derive(Debug, Default)]
struct Steps {
    /// When the last one began.
    last: Option<Instant>,
    /// The next one, which has not begun. It is done when its sender is dropped.
    next: Option<watch::Receiver<()>>,
}

/// Whose step it is.
enum Turn {
    /// Mine, at this time.
    Own(watch::Sender<()>, Instant),
    /// Another's, which begins later than now.
    Others(watch::Receiver<()>),
}

impl Lockouts {
    /// Runs `step` for a scope, or waits for another caller's step that starts after this call.
    pub async fn join(&self, scope: u64, step: impl Future<Output = ()>) {
        match self.turn(scope) {
            Turn::Others(mut next) => drop(next.changed().await),
            Turn::Own(over, at) => {
                tokio::time::sleep_until(at).await;
                if let Some(steps) = self.scopes.lock().get_mut(&scope) {
                    *steps = Steps { last: Some(Instant::now()), next: None };
                }
                step.await;
                drop(over);
            }
        }
    }

    fn turn(&self, scope: u64) -> Turn {
        let mut scopes = self.scopes.lock();
        let steps = scopes.entry(scope).or_default();
        // One whose owner has gone away will never begin.
        if let Some(next) = steps.next.as_ref().filter(|next| next.has_changed().is_ok()) {
            return Turn::Others(next.clone());
        }
        let (over, next) = watch::channel(());
        steps.next = Some(next);
        let now = Instant::now();
        Turn::Own(over, steps.last.map_or(now, |last| now.max(last + INTERVAL)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn many_lockouts_join_one_per_second_that_begins_later() {
        let (lockouts, steps) = (Arc::new(Lockouts::default()), Arc::new(AtomicUsize::new(0)));
        let joined = |scope: u64| {
            let (lockouts, steps) = (lockouts.clone(), steps.clone());
            tokio::spawn(async move {
                let before = steps.load(Ordering::SeqCst);
                let own = steps.clone();
                lockouts.join(scope, async move { _ = own.fetch_add(1, Ordering::SeqCst) }).await;
                assert!(steps.load(Ordering::SeqCst) > before, "it is over");
            })
        };
        joined(1).await.unwrap();
        let began = Instant::now();
        let many: Vec<_> = (0..100).map(|_| joined(1)).collect();
        for one in many {
            one.await.unwrap();
        }
        assert_eq!((steps.load(Ordering::SeqCst), began.elapsed().as_secs()), (2, 1));
        joined(2).await.unwrap();
        assert_eq!((steps.load(Ordering::SeqCst), began.elapsed().as_secs()), (3, 1), "another scope has its own");
        tokio::time::sleep(Duration::from_secs(5)).await;
        joined(1).await.unwrap();
        assert_eq!((steps.load(Ordering::SeqCst), began.elapsed().as_secs()), (4, 6), "nobody waits for nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn abandoned_join_blocks_no_other() {
        let lockouts = Arc::new(Lockouts::default());
        lockouts.join(1, async {}).await;
        let own = lockouts.clone();
        let given_up = tokio::spawn(async move { own.join(1, async {}).await });
        tokio::task::yield_now().await;
        given_up.abort();
        let _ = given_up.await;
        lockouts.join(1, async {}).await;
    }
}
