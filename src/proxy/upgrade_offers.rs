//! Offers to switch protocols (`Upgrade`). A server may ignore them and continue in HTTP/1.1 (RFC 9110, section 7.8);
//! some clients always send one, such as `h2c`. The gateway forwards offers of a WebSocket and ignores all others.

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, Method, Version};
use pingora::Result;
use pingora::http::RequestHeader;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Removes ignored offers, with all headers that belong to them. An offer of a WebSocket stays, alone or among others:
/// its client may send something other than HTTP.
pub(super) fn ignore(request: &mut RequestHeader) -> Result<()> {
    let settings = request.remove_header(&HTTP2_SETTINGS).is_some();
    let offers = request.headers.contains_key(UPGRADE);
    if !settings && !offers {
        return Ok(());
    }
    let socket = elements(request, &UPGRADE).any(is_web_socket);
    if !socket {
        request.remove_header(&UPGRADE);
    }
    let dropped = |name: &[u8]| {
        name.eq_ignore_ascii_case(HTTP2_SETTINGS.as_str().as_bytes())
            || !socket && name.eq_ignore_ascii_case(b"upgrade")
    };
    if !elements(request, &CONNECTION).any(dropped) {
        return Ok(());
    }
    let left: Vec<Vec<u8>> = elements(request, &CONNECTION).filter(|name| !dropped(name)).map(<[u8]>::to_vec).collect();
    request.remove_header(&CONNECTION);
    if !left.is_empty() {
        request.insert_header(CONNECTION, left.join(&b", "[..]))?;
    }
    Ok(())
}

/// Removes an offer of a WebSocket that has no effect: a server ignores one that `Connection` does not name, but
/// Pingora would treat it as a WebSocket request.
pub(super) fn ignore_empty(request: &mut RequestHeader) {
    let mut offers = request.headers.get_all(UPGRADE).iter();
    let (Some(offer), other) = (offers.next(), offers.next()) else {
        return;
    };
    let named = elements(request, &CONNECTION).any(|name| name.eq_ignore_ascii_case(b"upgrade"));
    let socket = other.is_none() && offer.as_bytes().eq_ignore_ascii_case(b"websocket");
    if !named || !socket || request.method != Method::GET || request.version != Version::HTTP_11 {
        request.remove_header(&UPGRADE);
    }
}

/// The list elements of all headers with this name.
fn elements<'r>(request: &'r RequestHeader, name: &'r HeaderName) -> impl Iterator<Item = &'r [u8]> {
    let values = request.headers.get_all(name).iter();
    let parts = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// Whether an offer is for a WebSocket, of any version.
fn is_web_socket(offer: &[u8]) -> bool {
    let name = offer.split(|byte| *byte == b'/').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(b"websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `Upgrade` and of `Connection`.
    fn left(fields: &[(&'static str, &'static str)]) -> (Vec<String>, Vec<String>) {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in fields {
            request.append_header(*name, *value).unwrap();
        }
        ignore(&mut request).unwrap();
        assert!(!request.headers.contains_key(HTTP2_SETTINGS), "{fields:?}");
        let all = |name| {
            let values = request.headers.get_all(name).iter();
            values.map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        (all(UPGRADE), all(CONNECTION))
    }

    #[test]
    fn unsupported_offers_are_removed_with_their_headers() {
        let none = (Vec::<String>::new(), Vec::<String>::new());
        for offers in [
            &[("Upgrade", "h2c")][..],
            &[("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAAQAAP__")],
            &[("Upgrade", "TLS/1.2, h2c,, irc/6.9")],
            &[("Upgrade", "h2c"), ("Upgrade", "TLS/1.2")],
            &[("Upgrade", "")],
            &[("Upgrade", "websockets, xwebsocket")],
            &[("HTTP2-Settings", "AAMAAABkAAQAAP__")],
        ] {
            assert_eq!(left(offers), none, "{offers:?}");
        }
        let offer = [("Upgrade", "h2c"), ("HTTP2-Settings", "AA")];
        let with = |connection: &[&'static str]| {
            let lines = connection.iter().map(|value| ("Connection", *value));
            left(&offer.into_iter().chain(lines).collect::<Vec<_>>()).1
        };
        assert_eq!(with(&["Upgrade, HTTP2-Settings"]), none.1);
        assert_eq!(with(&["upgrade", "http2-settings"]), none.1);
        assert_eq!(with(&["Upgrade, close, HTTP2-Settings"]), ["close"]);
        assert_eq!(with(&["keep-alive, x-own", "Upgrade"]), ["keep-alive, x-own"]);
        assert_eq!(with(&["keep-alive"]), ["keep-alive"]);
    }

    #[test]
    fn websocket_offer_stays_without_http2_settings() {
        for offer in ["websocket", "WebSocket", "websocket/13", "h2c, websocket", "websocket , h2c"] {
            let fields = [("Upgrade", offer), ("Connection", "Upgrade, HTTP2-Settings"), ("HTTP2-Settings", "AA")];
            assert_eq!(left(&fields), (vec![offer.to_owned()], vec!["Upgrade".to_owned()]), "{offer}");
        }
        assert_eq!(left(&[("Upgrade", "h2c"), ("Upgrade", "websocket")]).0, ["h2c", "websocket"]);
    }
}
