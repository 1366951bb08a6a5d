//! A simulated ZITADEL instance.

use super::Gateway;
use sessiongate::sandbox::Zitadel;
use std::ops::Deref;
use tokio::runtime::Runtime;

/// A simulated ZITADEL instance, on a runtime of its own.
pub struct Instance {
    _runtime: Runtime,
    zitadel: Zitadel,
}

impl Instance {
    pub fn start() -> Instance {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let zitadel = runtime.block_on(Zitadel::start(([127, 0, 0, 1], 0).into(), Default::default(), None)).unwrap();
        Instance { _runtime: runtime, zitadel }
    }

    /// A gateway before it that verifies its JWTs, with further options of the upstream.
    pub fn gateway(&self, more: &str) -> Gateway {
        let (url, audience) = (self.zitadel.url(), self.zitadel.instance().audience());
        let gateway = Gateway::start(&format!(
            "upstreams:
  idp:
    dialect: zitadel
    url: {url}
    auth: {{ issuer: \"{url}\", audience: \"{audience}\", algorithms: [ES256] }}
{more}"
        ));
        gateway.ready();
        gateway
    }
}

impl Deref for Instance {
    type Target = Zitadel;

    fn deref(&self) -> &Zitadel {
        &self.zitadel
    }
}
