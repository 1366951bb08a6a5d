//! Servers and sentinels, and the way to them: their certificates may carry another name than the one by which they are
//! reached.

use crate::config::RedisAddress;
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisFuture, RedisResult, Role};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A server, or a sentinel.
pub(super) struct Node {
    client: Client,
    /// Where it is, where the client has the name of its certificate instead.
    resolve_to: Option<RedisAddress>,
}

/// Makes the way to a server that others name, by its host and its port.
pub(super) type Connect = Box<dyn Fn(&str, u16) -> Option<Node> + Send + Sync>;

/// Sentinels, which say which server it is now.
pub(super) struct Sentinels {
    /// The name by which they know it.
    pub service: String,
    /// Each of them.
    pub nodes: Vec<Node>,
    /// Makes the way to the server that they name.
    pub connect: Connect,
}

/// Finds one address, whatever is asked for: the library asks for the name in the certificate.
struct FixedResolver(RedisAddress);

impl AsyncDNSResolver for FixedResolver {
    fn resolve<'a, 'b: 'a>(
        &'a self,
        _: &'b str,
        _: u16,
    ) -> RedisFuture<'a, Box<dyn Iterator<Item = SocketAddr> + Send + 'a>> {
        Box::pin(async move {
            let RedisAddress { host, port } = &self.0;
            let found: Box<dyn Iterator<Item = SocketAddr> + Send> =
                Box::new(tokio::net::lookup_host((host.as_str(), *port)).await?);
            Ok(found)
        })
    }
}

impl Node {
    /// One that this client connects to, at this place where the client has another name for it.
    pub fn new(client: Client, resolve_to: Option<RedisAddress>) -> Node {
        Node { client, resolve_to }
    }

    /// Connects to it.
    pub async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let config = match &self.resolve_to {
            Some(resolve_to) => config.clone().set_dns_resolver(FixedResolver(resolve_to.clone())),
            None => config.clone(),
        };
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Sentinels {
    /// The connection to the server that the first sentinel names that answers: one that hangs keeps nobody from asking
    /// the others. Sentinels are asked over connections of this kind, and the server is connected to over one of that
    /// kind.
    pub async fn connect(
        self: &Arc<Sentinels>,
        sentinel_config: &AsyncConnectionConfig,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let mut asked = JoinSet::new();
        for at in 0..self.nodes.len() {
            let (sentinels, sentinel_config, config) = (self.clone(), sentinel_config.clone(), config.clone());
            asked.spawn(async move { sentinels.query(at, &sentinel_config, &config).await });
        }
        let mut rejected = sentinel_error("no sentinel answers");
        while let Some(response) = asked.join_next().await {
            match response {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => rejected = error,
                Err(_) => {}
            }
        }
        Err(rejected)
    }

    /// The connection to the server that one of them names.
    async fn query(
        &self,
        at: usize,
        sentinel_config: &AsyncConnectionConfig,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<MultiplexedConnection> {
        let node = self.nodes.get(at).ok_or_else(|| sentinel_error("there is no such sentinel"))?;
        let mut sentinel = node.connect(sentinel_config).await?;
        let master: HashMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg(&self.service).query_async(&mut sentinel).await?;
        let (host, port) = primary(&master)?;
        let server = (self.connect)(host, port).ok_or_else(|| sentinel_error("a sentinel names no address"))?;
        let mut connection = server.connect(config).await?;
        // A sentinel may not know yet that another server has taken over.
        let role: Role = redis::cmd("ROLE").query_async(&mut connection).await?;
        if matches!(role, Role::Primary { .. }) {
            Ok(connection)
        } else {
            Err(sentinel_error("the server that a sentinel names is no primary"))
        }
    }
}

/// Where the server is that a sentinel describes. Another one may take over at any moment from one that it takes for
/// down.
fn primary(master: &HashMap<String, String>) -> RedisResult<(&str, u16)> {
    let field = |name: &str| master.get(name).map_or("", String::as_str);
    let flags = || field("flags").split(',');
    if !flags().any(|flag| flag == "master") {
        return Err(sentinel_error("a sentinel knows of no primary"));
    }
    if flags().any(|flag| matches!(flag, "s_down" | "o_down")) {
        return Err(sentinel_error("a sentinel takes the server for down"));
    }
    let port = field("port").parse().map_err(|_| sentinel_error("a sentinel names no port"))?;
    Ok((field("ip"), port))
}

fn sentinel_error(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_a_sentinel_takes_for_down_is_no_primary() {
        let master = |flags: &str, port: &str| {
            let all = [("ip", "192.0.2.1"), ("port", port), ("flags", flags)];
            all.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect::<HashMap<_, _>>()
        };
        for flags in ["master", "master,failover_in_progress", "disconnected,master"] {
            assert_eq!(primary(&master(flags, "6379")).unwrap(), ("192.0.2.1", 6379), "{flags}");
        }
        for flags in ["s_down,master", "s_down,o_down,master,disconnected", "master,o_down", "slave", ""] {
            assert!(primary(&master(flags, "6379")).is_err(), "{flags}");
        }
        assert!(primary(&master("master", "x")).is_err());
        assert!(primary(&HashMap::new()).is_err());
    }
}
