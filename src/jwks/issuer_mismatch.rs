//! An issuer whose discovery document names another one: typically, the configured value lacks the final slash.
//!
//! The document's `issuer` must be identical to the configured one, and to `iss` of the tokens (OpenID Connect Discovery
//! 1.0, section 4.3; RFC 8414, section 3.3). The rule protects clients that believe the document's `issuer`. The gateway
//! never does: `iss` must equal the configured value, and the keys come from its host. So its keys stay in use, and only
//! tokens with the configured `iss` are accepted.

use super::documents::{Discovery, for_log};
use crate::token::Expectations;
use std::fmt;

/// The discovery document names an issuer that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerMismatch {
    /// The configured issuer whose document it is.
    pub configured: String,
    /// The issuer that the document names. Bounded in length.
    pub discovered: String,
    /// Which option to change.
    pub hint: String,
}

impl IssuerMismatch {
    /// Compares a discovery document with the issuers that are accepted: the options at the path `auth`. A
    /// document without an `issuer` cannot be compared.
    pub fn of(discovery: &Discovery, expected: &Expectations, auth: &str) -> Option<IssuerMismatch> {
        let (discovered, configured) = (discovery.issuer()?, expected.issuers.first()?);
        if expected.issuers.iter().any(|accepted| accepted == discovered) {
            return None;
        }
        let shown = for_log(discovered);
        let option = format!("{auth}.issuer");
        let hint = match (discovered.strip_suffix('/'), configured.strip_suffix('/')) {
            (Some(rest), _) if rest == configured => {
                format!("set `{option}` to `{shown}`: the configured value lacks the final `/`")
            }
            (_, Some(rest)) if rest == discovered => {
                format!("set `{option}` to `{shown}`: the configured value has a final `/` too many")
            }
            _ => format!("if `{shown}` is your issuer, set `{option}` to it; otherwise correct the host or path there"),
        };
        Some(IssuerMismatch { configured: configured.clone(), discovered: shown, hint })
    }
}

impl fmt::Display for IssuerMismatch {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let IssuerMismatch { configured, discovered, hint } = self;
        write!(f, "the discovery document names the issuer `{discovered}`, not `{configured}`: {hint}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::ClaimNames;

    fn mismatch(configured: &[&str], document: &str) -> Option<IssuerMismatch> {
        let expected = Expectations {
            issuers: configured.iter().map(|issuer| (*issuer).to_owned()).collect(),
            audiences: Vec::new(),
            algorithms: Vec::new(),
            leeway: 0,
            claims: ClaimNames::default(),
            token_type: None,
        };
        IssuerMismatch::of(&serde_json::from_str(document).unwrap(), &expected, "upstreams.auth0.auth")
    }

    #[test]
    fn document_may_name_any_accepted_issuer_or_none() {
        let own = r#"{"jwks_uri": "https://i/k", "issuer": "https://i/"}"#;
        assert_eq!(mismatch(&["https://i/"], own), None);
        assert_eq!(mismatch(&["http://internal", "https://i/"], own), None);
        for document in [r#"{"jwks_uri": ""}"#, r#"{"jwks_uri": "", "issuer": 5}"#] {
            assert_eq!(mismatch(&["https://i/"], document), None, "{document}");
        }
    }

    #[test]
    fn hint_says_which_option_to_change_to_which_value() {
        let long = format!("https://i/{}", "x".repeat(1000));
        for (configured, discovered, hint) in [
            (
                "https://i",
                "https://i/",
                "set `upstreams.auth0.auth.issuer` to `https://i/`: the configured value lacks the final `/`",
            ),
            (
                "https://i/",
                "https://i",
                "set `upstreams.auth0.auth.issuer` to `https://i`: the configured value has a final `/` too many",
            ),
            (
                "https://i/a",
                "https://i/b",
                "if `https://i/b` is your issuer, set `upstreams.auth0.auth.issuer` to it; otherwise correct the host \
                 or path there",
            ),
        ] {
            let document = format!(r#"{{"jwks_uri": "", "issuer": "{discovered}"}}"#);
            assert_eq!(mismatch(&[configured], &document).unwrap().hint, hint);
        }
        let found = mismatch(&["https://i/"], &format!(r#"{{"jwks_uri": "", "issuer": "{long}"}}"#)).unwrap();
        assert!(found.to_string().len() < 1000, "bounded: {found}");
    }
}
