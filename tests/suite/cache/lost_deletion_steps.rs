//! Steps of a deletion that are lost on the way to Redis: what readers get once the deletion is acknowledged.

use crate::harness::replica::{Provider, Replica, path};
use crate::harness::{RedisServer, Request, redis_installed, wait_for};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const END: &str =
    concat!(include_str!("../../../src/cache/redis/tenants.lua"), include_str!("../../../src/cache/redis/end.lua"));

/// Runs before the first END of a write is executed.
type Before = Box<dyn Fn() + Send>;

/// Hands bytes on to a server and back; once it is armed, it lets one end of a write pass and loses every later one,
/// with what comes after it on the same connection.
struct Losing {
    port: u16,
    armed: Arc<Mutex<Option<Before>>>,
    /// How many ends have come since.
    ends: Arc<AtomicUsize>,
}

impl Losing {
    fn start(server: u16) -> Losing {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let losing = Losing { port, armed: Arc::default(), ends: Arc::default() };
        let (armed, ends) = (losing.armed.clone(), losing.ends.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
                let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    to.shutdown(Shutdown::Both)
                });
                let (armed, ends) = (armed.clone(), ends.clone());
                thread::spawn(move || hand_on(client, server, &armed, &ends));
            }
        });
        losing
    }

    fn arm(&self, before: impl Fn() + Send + 'static) {
        *self.armed.lock().unwrap() = Some(Box::new(before));
    }
}

fn hand_on(
    mut client: TcpStream,
    mut server: TcpStream,
    armed: &Mutex<Option<Before>>,
    ends: &AtomicUsize,
) -> io::Result<()> {
    let sha = redis::Script::new(END).get_hash().to_owned();
    let (mut part, mut lost) = ([0; 65_536], false);
    loop {
        let length = client.read(&mut part)?;
        if length == 0 {
            return server.shutdown(Shutdown::Both);
        }
        let is_end = part[..length].windows(sha.len()).any(|text| text == sha.as_bytes());
        if let Some(before) = armed.lock().unwrap().as_ref().filter(|_| is_end) {
            match ends.fetch_add(1, Ordering::SeqCst) {
                0 => before(),
                _ => lost = true,
            }
        }
        if !lost {
            server.write_all(&part[..length])?;
        }
    }
}

struct World {
    server: Arc<RedisServer>,
    losing: Losing,
    _provider: Provider,
    /// Its commands go through what loses them.
    one: Replica,
    other: Replica,
}

impl World {
    /// A provider that lags behind its own acknowledgements, and replicas that have both read.
    fn start() -> World {
        let (server, provider) = (Arc::new(RedisServer::start()), Provider::start());
        let losing = Losing::start(server.port());
        let store = format!("url: \"redis://127.0.0.1:{}\", seal_keys: [{{ env: SEAL }}]", losing.port);
        let one = Replica::start(&provider.config("{ ttl: 5m }", &store), &provider.recorder.token());
        let other = provider.replica(&server, "{ ttl: 5m }");
        one.get();
        one.wait_hit();
        other.wait_hit();
        World { server, losing, _provider: provider, one, other }
    }

    fn delete(&self) -> u16 {
        Request::new("DELETE", &path()).bearer(&self.one.token).send(&self.one.gateway.url()).status
    }
}

/// As another replica does it; those that have not looked since do not know.
fn purge(server: &RedisServer) {
    let epochs: Vec<String> = server.keys().into_iter().filter(|key| key.ends_with("}:e")).collect();
    let [epoch] = &epochs[..] else { panic!("{epochs:?}") };
    let floor = "0".repeat(20);
    let _: i64 = server.ask(&["EVAL", END, "1", epoch, "00000000000000ee", &floor, "", "purged", "7200000"]);
}

#[test]
fn deletion_after_a_purge_holds_if_later_steps_are_lost() {
    if !redis_installed() {
        return;
    }
    let world = World::start();
    purge(&world.server);
    world.losing.arm(|| ());
    assert_eq!(world.delete(), 200);
    assert_eq!(world.other.get().status, 404, "the deletion was acknowledged");
    assert!(world.losing.ends.load(Ordering::SeqCst) > 0);
}

/// A purge interrupts the deletion, which is recorded again; that step is lost, and no mark remains.
#[test]
fn deletion_that_a_purge_may_have_undone_is_not_acknowledged_at_once() {
    if !redis_installed() {
        return;
    }
    let world = World::start();
    // The server ends with the test, also where it fails.
    let server = Arc::downgrade(&world.server);
    world.losing.arm(move || purge(&server.upgrade().unwrap()));
    assert_eq!(world.delete(), 200);
    assert!(world.losing.ends.load(Ordering::SeqCst) > 2, "it is tried again before it is acknowledged");
    assert_eq!(world.one.event("unconfirmed"), 1);
    // The store is there again.
    *world.losing.armed.lock().unwrap() = None;
    wait_for("the deletion", || (world.other.get().status == 404).then_some(()));
}
