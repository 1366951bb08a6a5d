//! The form of access tokens for a provider's API.

use http::Uri;

/// What is known of the `iss` and `aud` of access tokens. A configuration that differs only in a final slash is a
/// likely mistake: both are compared to the letter.
#[derive(Debug)]
pub struct TokenForm {
    /// Whether an issuer without a path ends with `/`.
    pub issuer_has_slash: bool,
    /// The path of the audience that stands for the API, with a final slash. Its host is the tenant's.
    pub audience_path: &'static str,
    /// How the hosts of tenants end that have no domain of their own.
    pub tenant_hosts: &'static str,
}

impl TokenForm {
    /// The issuer of the tenant with this origin, such as `https://acme.eu.auth0.com`.
    pub fn issuer(&self, origin: &str) -> String {
        format!("{origin}{}", if self.issuer_has_slash { "/" } else { "" })
    }

    /// The audience that stands for the API of the tenant with this origin, unless the tenant has a domain of its own:
    /// see [`TokenForm::is_tenant_host`].
    pub fn audience(&self, origin: &str) -> String {
        format!("{origin}{}", self.audience_path)
    }

    /// Whether this is the host of a tenant without a domain of its own, so that its audience has the same host.
    pub fn is_tenant_host(&self, host: &str) -> bool {
        host.to_ascii_lowercase().ends_with(self.tenant_hosts)
    }

    /// Whether this issuer can be in no token, because it lacks the final slash.
    pub fn lacks_issuer_slash(&self, issuer: &str) -> bool {
        let uri = issuer.parse::<Uri>();
        self.issuer_has_slash && !issuer.ends_with('/') && uri.is_ok_and(|uri| uri.path() == "/")
    }

    /// Whether this audience is the tenant's API but for the final slash. `hosts` are the tenant's, as far as they are
    /// known: the audience of a tenant with a domain of its own still has the provider's domain. Any other audience may
    /// be an API of the tenant's own, whose name is free.
    pub fn lacks_audience_slash(&self, audience: &str, hosts: &[&str]) -> bool {
        let Ok(uri) = audience.parse::<Uri>() else {
            return false;
        };
        let host = uri.host().unwrap_or_default();
        let is_tenant = hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) || self.is_tenant_host(host);
        let path = self.audience_path.strip_suffix('/');
        is_tenant && uri.scheme().is_some() && uri.query().is_none() && path == Some(uri.path())
    }
}
