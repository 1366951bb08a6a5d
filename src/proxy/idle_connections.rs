//! Connections to providers that wait for their next request.
//!
//! Pingora's own pool has a task for each of them, which costs a tenth of a forwarded request. Here they wait without
//! one: a connection that the provider has closed is found when it is taken, or by the sweep.

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::task::unconstrained;

/// The interval of sweeps.
const SWEEP: Duration = Duration::from_secs(1);

/// The connections, by what they are good for.
pub(super) struct IdleConnections {
    /// The most connections.
    most: usize,
    pools: Mutex<Pools>,
}

#[derive(Default)]
struct Pools {
    /// The newest of each pool is the last.
    by_key: HashMap<u64, VecDeque<Idle>>,
    count: usize,
}

/// A connection, since when it waits, and until when it is kept.
struct Idle {
    stream: Stream,
    since: Instant,
    until: Instant,
}

impl IdleConnections {
    /// Keeps up to `most` connections. Call inside a tokio runtime.
    pub fn new(most: usize) -> Arc<IdleConnections> {
        let idle = Arc::new(IdleConnections { most, pools: Mutex::default() });
        tokio::spawn(watch(Arc::downgrade(&idle)));
        idle
    }

    /// A connection for this key: the one that was used last, since the provider closes it last.
    pub fn take(&self, key: u64) -> Option<Stream> {
        loop {
            let Idle { mut stream, until, .. } = self.pools.lock().take(key)?;
            if until > Instant::now() && is_quiet(&mut stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection whose last response has been read, for this long at most. If there are too many, another one
    /// is closed: otherwise those of one provider would keep out all others.
    pub fn put(&self, key: u64, mut stream: Stream, keepalive: Duration) {
        if self.most == 0 || keepalive.is_zero() || !is_quiet(&mut stream) {
            return;
        }
        let since = Instant::now();
        let idle = Idle { stream, since, until: since + keepalive };
        let mut pools = self.pools.lock();
        if pools.count >= self.most {
            pools.close_one();
        }
        pools.by_key.entry(key).or_default().push_back(idle);
        pools.count += 1;
    }

    /// Closes the connections whose time is over, or that the provider has closed.
    fn sweep(&self) {
        let now = Instant::now();
        let mut pools = self.pools.lock();
        let Pools { by_key, count } = &mut *pools;
        by_key.retain(|_, pool| {
            let before = pool.len();
            pool.retain_mut(|idle| idle.until > now && is_quiet(&mut idle.stream));
            *count -= before - pool.len();
            !pool.is_empty()
        });
    }
}

impl Pools {
    fn take(&mut self, key: u64) -> Option<Idle> {
        let idle = self.by_key.get_mut(&key)?.pop_back()?;
        self.count -= 1;
        Some(idle)
    }

    /// Closes the connection that was not used for the longest time. By the ends of their times, those of providers with
    /// a short one would keep each other out.
    fn close_one(&mut self) {
        let oldest = self.by_key.values_mut().filter_map(|pool| Some((pool.front()?.since, pool)));
        if let Some((_, pool)) = oldest.min_by_key(|(since, _)| *since) {
            pool.pop_front();
            self.count -= 1;
        }
    }
}

/// Whether a connection is open, and the provider has sent nothing: no response is due.
fn is_quiet(stream: &mut Stream) -> bool {
    // Without a budget: a task that has used its own up would find every connection quiet.
    unconstrained(stream.read(&mut [0])).now_or_never().is_none()
}

/// Sweeps until the connections are dropped.
async fn watch(idle: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        match idle.upgrade() {
            Some(idle) => idle.sweep(),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pingora::protocols::l4::stream::Stream as Socket;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    const LONG: Duration = Duration::from_secs(3600);
    const TEST_TIMEOUT: Duration = Duration::from_secs(20);

    /// A connection, and the provider's end of it.
    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream: Stream = Box::new(Socket::from(connected));
        (stream, listener.accept().await.unwrap().0)
    }

    /// Waits until a connection is no longer quiet.
    async fn until_noticed(stream: &mut Stream) {
        let noticed = async {
            while is_quiet(stream) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, noticed).await.unwrap();
    }

    #[tokio::test]
    async fn newest_connection_of_a_key_is_taken() {
        let idle = IdleConnections::new(2);
        let [(first, _a), (second, _b)] = [connection().await, connection().await];
        let ids = [first.id(), second.id()];
        idle.put(1, first, LONG);
        idle.put(1, second, LONG);
        assert!(idle.take(2).is_none());
        assert_eq!(idle.take(1).unwrap().id(), ids[1]);
        assert_eq!(idle.take(1).unwrap().id(), ids[0]);
        assert!(idle.take(1).is_none());
    }

    #[tokio::test]
    async fn full_pool_closes_its_oldest_connection() {
        let idle = IdleConnections::new(2);
        let [(first, mut closed), (second, _b), (other, _c)] =
            [connection().await, connection().await, connection().await];
        let ids = [second.id(), other.id()];
        idle.put(1, first, LONG);
        idle.put(1, second, LONG);
        // Those of one provider keep no other one out.
        idle.put(2, other, LONG);
        assert_eq!(closed.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(idle.take(2).unwrap().id(), ids[1]);
        assert_eq!(idle.take(1).unwrap().id(), ids[0]);
        assert!(idle.take(1).is_none());
        assert_eq!(idle.pools.lock().count, 0);
        // Neither do those that are kept for longer.
        let idle = IdleConnections::new(4);
        let mut others = Vec::new();
        for (key, keepalive) in [(1, LONG), (2, LONG / 60)] {
            for _ in 0..4 {
                let (stream, other) = connection().await;
                idle.put(key, stream, keepalive);
                others.push(other);
            }
        }
        assert!((0..4).all(|_| idle.take(2).is_some()) && idle.take(1).is_none());
        let (none, mut closed) = connection().await;
        IdleConnections::new(0).put(1, none, LONG);
        assert_eq!(closed.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn unusable_connections_are_not_kept_or_taken() {
        let idle = IdleConnections::new(8);
        let (mut closed, other) = connection().await;
        drop(other);
        until_noticed(&mut closed).await;
        idle.put(1, closed, LONG);
        let (unkept, _other) = connection().await;
        idle.put(1, unkept, Duration::ZERO);
        assert!(idle.take(1).is_none());
        // A byte that no request has asked for.
        let (stream, mut other) = connection().await;
        let id = stream.id();
        idle.put(1, stream, LONG);
        other.write_all(b"x").await.unwrap();
        let noticed = async {
            loop {
                match idle.take(1) {
                    Some(stream) => {
                        assert_eq!(stream.id(), id);
                        idle.put(1, stream, LONG);
                    }
                    None => break,
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(TEST_TIMEOUT, noticed).await.unwrap();
        assert_eq!(idle.pools.lock().count, 0);
    }

    #[tokio::test]
    async fn sweep_closes_what_is_over() {
        let idle = IdleConnections::new(8);
        let [(kept, _kept), (late, mut other)] = [connection().await, connection().await];
        let id = kept.id();
        idle.put(1, late, Duration::from_millis(1));
        idle.put(2, kept, LONG);
        // The task does it.
        let closed = tokio::time::timeout(TEST_TIMEOUT, other.read(&mut [0])).await.unwrap();
        assert_eq!(closed.unwrap(), 0);
        let left = {
            let pools = idle.pools.lock();
            (pools.by_key.len(), pools.count)
        };
        assert_eq!(left, (1, 1));
        assert_eq!(idle.take(2).unwrap().id(), id);
    }
}
