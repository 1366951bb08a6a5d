//! Servers and sentinels, and how to connect to them. Their certificates may have another name than their address.

use crate::config::RedisAddress;
use redis::aio::MultiplexedConnection;
use redis::io::AsyncDNSResolver;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisFuture, RedisResult, Role};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::task::JoinSet;

pub(super) struct Node {
    client: Client,
    /// The address to connect to, if the client has the certificate's name instead.
    resolve_to: Option<RedisAddress>,
}

/// Creates a node for a host and port that sentinels or the cluster name.
pub(super) type Connect = Box<dyn Fn(&str, u16) -> Option<Node> + Send + Sync>;

/// Sentinels, which name the current primary.
pub(super) struct Sentinels {
    /// The name of the service (`SENTINEL MASTER name`).
    pub service: String,
    /// The sentinels.
    pub nodes: Vec<Node>,
    /// Creates a node for the server that they name.
    pub connect: Connect,
}

/// Resolves every name to one address: the library looks up the name in the certificate.
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
    /// A node behind this client. `resolve_to` overrides the address.
    pub fn new(client: Client, resolve_to: Option<RedisAddress>) -> Node {
        Node { client, resolve_to }
    }

    pub async fn connect(&self, config: &AsyncConnectionConfig) -> RedisResult<MultiplexedConnection> {
        let config = match &self.resolve_to {
            Some(resolve_to) => config.clone().set_dns_resolver(FixedResolver(resolve_to.clone())),
            None => config.clone(),
        };
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Sentinels {
    /// Connects to the primary that the first responding sentinel names. All sentinels are queried at once, so one that
    /// hangs delays nothing. `sentinel_config` is for connections to sentinels, `config` for the server. Returns its
    /// address too.
    pub async fn connect(
        self: &Arc<Sentinels>,
        sentinel_config: &AsyncConnectionConfig,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<(MultiplexedConnection, String)> {
        let mut asked = JoinSet::new();
        for at in 0..self.nodes.len() {
            let (sentinels, sentinel_config, config) = (self.clone(), sentinel_config.clone(), config.clone());
            asked.spawn(async move { sentinels.query(at, &sentinel_config, &config).await });
        }
        let mut rejected = sentinel_error("no sentinel responds");
        while let Some(response) = asked.join_next().await {
            match response {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => rejected = error,
                Err(_) => {}
            }
        }
        Err(rejected)
    }

    /// Connects to the primary that one sentinel names.
    async fn query(
        &self,
        at: usize,
        sentinel_config: &AsyncConnectionConfig,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<(MultiplexedConnection, String)> {
        let node = self.nodes.get(at).ok_or_else(|| sentinel_error("no such sentinel"))?;
        let mut sentinel = node.connect(sentinel_config).await?;
        let master: HashMap<String, String> =
            redis::cmd("SENTINEL").arg("MASTER").arg(&self.service).query_async(&mut sentinel).await?;
        let (host, port) = primary(&master)?;
        let server =
            (self.connect)(host, port).ok_or_else(|| sentinel_error("a sentinel returned an invalid address"))?;
        let mut connection = server.connect(config).await?;
        // The sentinel may not know yet about a failover.
        let role: Role = redis::cmd("ROLE").query_async(&mut connection).await?;
        if matches!(role, Role::Primary { .. }) {
            Ok((connection, format!("{host}:{port}")))
        } else {
            Err(sentinel_error("the server that a sentinel returned is not a primary"))
        }
    }
}

/// The address of the primary in a sentinel's reply. A primary that the sentinel considers down may be replaced at any
/// moment, so it is an error.
fn primary(master: &HashMap<String, String>) -> RedisResult<(&str, u16)> {
    let field = |name: &str| master.get(name).map_or("", String::as_str);
    let flags = || field("flags").split(',');
    if !flags().any(|flag| flag == "master") {
        return Err(sentinel_error("a sentinel knows no primary"));
    }
    if flags().any(|flag| matches!(flag, "s_down" | "o_down")) {
        return Err(sentinel_error("a sentinel considers the server down"));
    }
    let port = field("port").parse().map_err(|_| sentinel_error("a sentinel returned no port"))?;
    Ok((field("ip"), port))
}

fn sentinel_error(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_that_a_sentinel_considers_down_is_not_primary() {
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
