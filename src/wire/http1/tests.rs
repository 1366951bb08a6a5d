use super::body::Framing;
use super::fields::is_authority;
use super::*;
use http::{HeaderMap, HeaderName};

const LIMITS: HeadLimits = HeadLimits { block: 256, count: 4, single: 64, target: 32 };

/// Parses a whole head.
fn read(text: &str) -> Result<Option<ParsedHead>, RequestError> {
    HeadParser::new(LIMITS).read(text.as_bytes())
}

fn fault(text: &str) -> RequestError {
    read(text).unwrap_err()
}

fn head(fields: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Parses a whole body. Returns the bytes that belong to it, and whether it is complete.
fn body(fields: &str, body: &str) -> Result<(usize, bool), RequestError> {
    let mut end = read(&head(fields))?.unwrap().body;
    let taken = end.take(body.as_bytes())?;
    // Byte by byte the result is the same.
    let mut slow = read(&head(fields))?.unwrap().body;
    let mut count = 0;
    for byte in body.as_bytes() {
        count += slow.take(&[*byte])?;
    }
    assert_eq!((count, slow.is_over()), (taken, end.is_over()));
    Ok((taken, end.is_over()))
}

#[test]
fn a_valid_head_parses_in_any_parts() {
    let text = "\r\nGET /x?y=`z HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 5\r\nX: \t\u{e9} ~\r\n\r\n";
    let whole = text.len();
    for cut in 0..whole {
        let mut head = HeadParser::new(LIMITS);
        assert_eq!(head.read(&text.as_bytes()[..cut]), Ok(None), "{cut}");
        let end = head.read(format!("{text}hello").as_bytes()).unwrap().unwrap();
        assert_eq!((end.length, end.body), (whole, BodyFraming(Framing::Length(5))), "{cut}");
    }
}

#[test]
fn headers_are_as_they_are_spelled() {
    let text = "\r\nGET /x: HTTP/1.1\r\nHOST:a\r\nX-a: \t\u{e9}: b \r\nx-A:\r\n\r\n";
    assert!(read(text).unwrap().is_some());
    let all: Vec<_> = fields(text.as_bytes()).map(|(name, value)| (str::from_utf8(name).unwrap(), value)).collect();
    assert_eq!(all, [("HOST", &b"a"[..]), ("X-a", "\u{e9}: b".as_bytes()), ("x-A", b"")]);
}

#[test]
fn an_error_is_found_at_its_byte() {
    for (text, expected) in [
        ("\x16\x03\x01", RequestError::Control),
        ("GET /x HTTP/1.1\n", RequestError::LineEnd),
        ("GET /x HTTP/1.1\r\nHost: a\n", RequestError::LineEnd),
        ("GET /x HTTP/1.1\r\nHost: a\rb", RequestError::LineEnd),
        ("\r\n\r\n", RequestError::RequestLine),
        ("GET /x HTTP/1.1\r\n X", RequestError::Name),
    ] {
        let text = if expected == RequestError::Name { format!("{text}\r\n") } else { text.to_owned() };
        assert_eq!(fault(&text), expected, "{text:?}");
    }
}

#[test]
fn a_request_line_has_three_parts() {
    let line = |line: &str| fault(&format!("{line}\r\nHost: a\r\n\r\n"));
    for text in ["GET /x", "GET", "GET /a b HTTP/1.1", " GET /x HTTP/1.1", "GET  /x HTTP/1.1", "GET /x HTTP/1.1 "] {
        assert_eq!(line(text), RequestError::RequestLine, "{text}");
    }
    for text in ["GE(T /x HTTP/1.1", "G\u{e9}T /x HTTP/1.1", "/ /x HTTP/1.1"] {
        assert_eq!(line(text), RequestError::Method, "{text}");
    }
    assert_eq!(line(&format!("{} /x HTTP/1.1", "M".repeat(33))), RequestError::Method);
    assert!(read(&format!("{} /x HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(32))).unwrap().is_some());
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.10", "http/1.1", "HTTP/1", "ICE/1.0", ""] {
        assert_eq!(line(&format!("GET /x {version}")), RequestError::Version, "{version}");
    }
    assert_eq!(line("CONNECT a:443 HTTP/1.1"), RequestError::Connect);
}

#[test]
fn a_target_is_a_path_or_a_whole_url() {
    let line = |target: &str| read(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    for target in ["/", "/x?a=`|^{}\\", "/%zz", "http://a/x", "HTTPS://a", "http://a?x", "//a/b"] {
        assert!(line(target).unwrap().is_some(), "{target}");
    }
    for target in
        ["x", "/#", "/x#y", "*", "?x", "/\u{e9}", "/`", "/\"", "/<", "/x?>", "/x?\"", "a:443", "ftp://a/", "http:/a"]
    {
        assert_eq!(line(target), Err(RequestError::Target), "{target}");
    }
    for target in ["http://b/", "http://a:80/", "http://", "http:///x", "http://u@a/", "http://a\\x/", "http://A/"] {
        assert_eq!(line(target), Err(RequestError::Host), "{target}");
    }
    assert!(read("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().is_some());
    assert_eq!(fault("GET http://a/ HTTP/1.0\r\n\r\n"), RequestError::Host);
}

#[test]
fn a_header_has_a_valid_name_and_value() {
    for field in ["X : a", " X: a", "\tX: a", ": a", "X", "X\u{e9}: a", "X(: a", "X\t: a", "\"X\": a"] {
        assert_eq!(fault(&head(&format!("{field}\r\n"))), RequestError::Name, "{field}");
    }
    for value in ["\0", "a\x01b", "\x1b", "\x7f", "\x0b", "\x0c"] {
        assert_eq!(fault(&head(&format!("X: {value}\r\n"))), RequestError::Control, "{value:?}");
    }
    for value in ["a\rb", "a\n b", "a\r b", "\n"] {
        assert_eq!(fault(&head(&format!("X: {value}\r\n"))), RequestError::LineEnd, "{value:?}");
    }
    for field in ["X:", "X: ", "X:\t a\t b \t", "!#$%&'*+-.^_`|~1a: \u{e9}"] {
        assert!(read(&head(&format!("{field}\r\n"))).unwrap().is_some(), "{field}");
    }
}

#[test]
fn aliases_of_critical_headers_are_rejected() {
    for (field, own) in [
        ("Content_Length", "content-length"),
        ("Transfer_Encoding", "transfer-encoding"),
        ("content_type", "content-type"),
        ("Content_encoding", "content-encoding"),
    ] {
        assert_eq!(fault(&head(&format!("{field}: 1\r\n"))), RequestError::Alias(own));
        let headers = HeaderMap::from_iter([(field.parse().unwrap(), "1".parse().unwrap())]);
        assert_eq!(check2(&headers, "/"), Err(RequestError::Alias(own)));
    }
    for field in ["X_Own", "content_lengt", "Content-Languag_", "_", "contentxlength"] {
        assert!(read(&head(&format!("{field}: 1\r\n"))).unwrap().is_some(), "{field}");
    }
}

#[test]
fn a_host_is_a_name_or_an_address() {
    for host in ["a", "a.b-c_d", "A.EXAMPLE", "127.0.0.1", "[::1]", "[::1]:8080", "a:1", "a:65535", &"a".repeat(63)] {
        assert!(is_authority(host.as_bytes()), "{host}");
    }
    assert!(!is_authority("a".repeat(64).as_bytes()));
    // With a trailing dot.
    for (host, plain) in [("a.", "a"), ("a.b.:80", "a.b:80"), ("A.EXAMPLE.", "A.EXAMPLE")] {
        assert!(is_authority(host.as_bytes()), "{host}");
        assert_eq!(without_root_dot(host).as_deref(), Some(plain));
    }
    for host in ["a", "a:80", "a.b", "[::1]", "[::1]:80", "", ".", "a..", ":80"] {
        assert_eq!(without_root_dot(host), None, "{host}");
    }
    for host in [
        "",
        ":",
        ":80",
        "a:",
        "a:b",
        "a:65536",
        "a:000080",
        "a:+1",
        "a:1:2",
        "a..b",
        ".a",
        "a..",
        ".",
        ".:80",
        "a.:b",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a@b",
        "a\\b",
        "a,b",
        "\u{e9}",
        "a%2fb",
        "[::1",
        "::1",
        "[a]",
        "[::1]x",
        "[::1%25eth0]",
        "[::1]:",
        "a;b",
    ] {
        assert!(!is_authority(host.as_bytes()), "{host}");
        assert_eq!(fault(&format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n")), RequestError::Host, "{host}");
    }
    assert_eq!(fault("GET /x HTTP/1.1\r\n\r\n"), RequestError::Host);
    assert_eq!(fault("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), RequestError::Host);
    assert!(read("GET /x HTTP/1.0\r\n\r\n").unwrap().is_some());
    assert_eq!(fault("GET /x HTTP/1.0\r\nHost:\r\n\r\n"), RequestError::Host);
}

#[test]
fn a_body_has_one_length_or_is_chunked() {
    for value in ["", "+3", "-1", "0x3", "3, 3", "3,", "03", "3 3", "3.0", "1e1", "9223372036854775808", "\u{b2}"] {
        assert_eq!(fault(&head(&format!("Content-Length: {value}\r\n"))), RequestError::Length, "{value}");
    }
    for value in
        ["", "identity", "gzip, chunked", "chunked, chunked", "chunked,", "\"chunked\"", "xchunked", "chunked;q=1"]
    {
        assert_eq!(fault(&head(&format!("Transfer-Encoding: {value}\r\n"))), RequestError::Coding, "{value}");
    }
    assert_eq!(fault(&head("Content-Length: 3\r\ncontent-length: 3\r\n")), RequestError::Length);
    assert_eq!(fault(&head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), RequestError::Coding);
    assert_eq!(fault(&head("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n")), RequestError::Length);
    assert_eq!(fault(&head("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n")), RequestError::Length);
    assert_eq!(fault("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), RequestError::Coding);
    assert_eq!(body("", "x"), Ok((0, true)));
    assert_eq!(body("Content-Length: 0\r\n", "x"), Ok((0, true)));
    assert_eq!(body("Content-Length:  3\t\r\n", "abcd"), Ok((3, true)));
    assert_eq!(body("Content-Length: 3\r\n", "ab"), Ok((2, false)));
    assert_eq!(body("Content-Length: 9223372036854775807\r\n", "ab"), Ok((2, false)));
    assert_eq!(body("TRANSFER-ENCODING: \tCHUNKED \r\n", "0\r\n\r\nG"), Ok((5, true)));
}

#[test]
fn chunks_are_strict() {
    let chunked = |text: &str| body("Transfer-Encoding: chunked\r\n", text);
    for (text, whole) in [
        ("3\r\nabc\r\n0\r\n\r\n", true),
        ("3;x=\"y z\"\r\nabc\r\n0;z\r\n\r\n", true),
        ("00aB\r\nabc", false),
        ("3\r\n\r\n\r\r\n0\r\n\r\n", true),
        ("0\r\nX: y\r\nY:\r\n\r\n", true),
        ("fffffffffffffff\r\nabc", false),
    ] {
        assert_eq!(chunked(text), Ok((text.len(), whole)), "{text:?}");
    }
    assert_eq!(chunked("0\r\n\r\nGET / HTTP/1.1"), Ok((5, true)));
    let long = format!("3;{}\r\n", "x".repeat(256));
    for text in [
        "\r\n",
        "zz\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x3\r\n",
        " 3\r\n",
        "3 \r\n",
        "3 ;x\r\n",
        "3\nabc",
        "3\rx",
        ";x\r\n",
        "3;a\nb\r\n",
        "3;a\0\r\n",
        "3;\u{e9}\r\n",
        "3\r\nabcd",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\rX",
        "0\r\nX\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX: \0\r\n",
        "0\r\nX : y\r\n",
        "0\r\n: y\r\n",
        "ffffffffffffffff\r\n",
        "0000000000000000\r\n",
        &long,
    ] {
        assert_eq!(chunked(text), Err(RequestError::Chunk), "{text:?}");
    }
    let fits = format!("3;{}\r\n", "x".repeat(255));
    assert_eq!(chunked(&fits), Ok((fits.len(), false)));
    let trailers = |count: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(count));
    assert!(chunked(&trailers(4)).unwrap().1);
    assert_eq!(chunked(&trailers(5)), Err(RequestError::Chunk));
}

/// Each limit is exact, whether or not the line has ended, and for HTTP/2 too.
#[test]
fn limits_are_exact() {
    let target = |length: usize| "/".repeat(length);
    assert!(read(&format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target(32))).unwrap().is_some());
    assert_eq!(fault(&format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target(33))), RequestError::TargetLength(32));
    assert_eq!(fault(&format!("GET {}", target(80))), RequestError::TargetLength(32));
    let field = |size: usize| format!("X: {}", "y".repeat(size - 3));
    assert!(read(&head(&format!("{}\r\n", field(64)))).unwrap().is_some());
    assert_eq!(fault(&head(&format!("{}\r\n", field(65)))), RequestError::Single(64));
    assert_eq!(read(&format!("GET / HTTP/1.1\r\n{}", field(64))), Ok(None));
    assert_eq!(read(&format!("GET / HTTP/1.1\r\n{}\r", field(64))), Ok(None));
    assert_eq!(fault(&format!("GET / HTTP/1.1\r\n{}", field(66))), RequestError::Single(64));
    // `Host: a` is one of them.
    assert!(read(&head(&"X: y\r\n".repeat(3))).unwrap().is_some());
    assert_eq!(fault(&head(&"X: y\r\n".repeat(4))), RequestError::Count(4));
    let block = |size: usize| {
        let limits = HeadLimits { block: 100, ..LIMITS };
        let rest = size - "Host: a\r\n".len() - 50 - 2;
        HeadParser::new(limits).read(head(&format!("{}\r\n{}\r\n", field(48), field(rest))).as_bytes())
    };
    assert!(block(100).unwrap().is_some());
    assert_eq!(block(101), Err(RequestError::Block(100)));
    let headers = |sizes: &[usize]| -> HeaderMap {
        let all = sizes.iter().map(|size| ("x".parse().unwrap(), "y".repeat(size - 3).parse().unwrap()));
        all.fold(HeaderMap::new(), |mut headers, (name, value): (http::HeaderName, http::HeaderValue)| {
            headers.append(name, value);
            headers
        })
    };
    let path = |length: usize| format!("/{}", "x".repeat(length - 1));
    assert_eq!(check2(&headers(&[64, 64, 64, 3]), &path(32)), Ok(None));
    assert_eq!(check2(&headers(&[64]), &path(33)), Err(RequestError::TargetLength(32)));
    assert_eq!(check2(&headers(&[65]), "/"), Err(RequestError::Single(64)));
    assert_eq!(check2(&headers(&[3; 5]), "/"), Err(RequestError::Count(4)), "crumbs count as well");
    assert_eq!(check2(&headers(&[64, 64, 64, 56]), "/"), Ok(None));
    assert_eq!(check2(&headers(&[64, 64, 64, 57]), "/"), Err(RequestError::Block(256)));
}

/// Checks an HTTP/2 request.
fn check2(headers: &HeaderMap, target: &str) -> Result<Option<u64>, RequestError> {
    check(
        Http2Head { method: "PATCH", target: target.as_bytes(), authority: Some(b"a"), host_optional: false, headers },
        LIMITS,
    )
}

/// A head that is rejected in one version is rejected in the other.
#[test]
fn both_versions_have_the_same_rules() {
    let large = "9".repeat(19);
    let method = "M".repeat(33);
    for (method, fields, fault) in [
        ("POST", vec![("content-length", "31")], None),
        ("POST", vec![("content-length", "0")], None),
        ("POST", vec![("content-length", "031")], Some(RequestError::Length)),
        ("POST", vec![("content-length", "00")], Some(RequestError::Length)),
        ("POST", vec![("content-length", "+3")], Some(RequestError::Length)),
        ("POST", vec![("content-length", "3, 3")], Some(RequestError::Length)),
        ("POST", vec![("content-length", "")], Some(RequestError::Length)),
        ("POST", vec![("content-length", &large)], Some(RequestError::Length)),
        ("POST", vec![("content-length", "3"), ("content-length", "3")], Some(RequestError::Length)),
        ("POST", vec![("content_length", "3")], Some(RequestError::Alias("content-length"))),
        ("POST", vec![("x\"y", "1")], Some(RequestError::Name)),
        ("POST", vec![("x!#$%&'*+-.^_`|~y", "1")], None),
        (&method, vec![], Some(RequestError::Method)),
        (&method[1..], vec![], None),
        ("CONNECT", vec![], Some(RequestError::Connect)),
        ("POST", vec![("host", "a"), ("host", "a")], Some(RequestError::Host)),
        ("POST", vec![("host", "a/b")], Some(RequestError::Host)),
    ] {
        let headers: HeaderMap = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_lowercase(name.as_bytes()).unwrap(), value.parse().unwrap()))
            .collect();
        let lines: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let host = if fields.iter().any(|(name, _)| *name == "host") { "" } else { "Host: a\r\n" };
        let first = HeadParser::new(LIMITS).read(format!("{method} /x HTTP/1.1\r\n{host}{lines}\r\n").as_bytes()).err();
        let authority = Some(&b"a"[..]).filter(|_| !host.is_empty());
        let second =
            check(Http2Head { method, target: b"/x", authority, host_optional: false, headers: &headers }, LIMITS)
                .err();
        assert_eq!((first, second), (fault, fault), "{method} {fields:?}");
    }
}

/// Headers that HTTP/2 forbids and HTTP/1 allows.
#[test]
fn http2_forbids_connection_specific_headers() {
    for (name, value, fault) in [
        ("connection", "x", Some(RequestError::OfConnection)),
        ("keep-alive", "timeout=5", Some(RequestError::OfConnection)),
        ("proxy-connection", "x", Some(RequestError::OfConnection)),
        ("transfer-encoding", "chunked", Some(RequestError::OfConnection)),
        ("upgrade", "websocket", Some(RequestError::OfConnection)),
        ("te", "gzip", Some(RequestError::OfConnection)),
        ("te", "trailers, gzip", Some(RequestError::OfConnection)),
        ("te", "trailers", None),
    ] {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(check2(&headers, "/x").err(), fault, "{name}: {value}");
    }
    let headers = HeaderMap::new();
    let parts = Http2Head { method: "GET", target: b"/x", authority: None, host_optional: false, headers: &headers };
    assert_eq!(check(parts, LIMITS), Err(RequestError::Host), "no authority and no host");
}

/// The placeholder of a rejected head is valid and keeps only valid parts.
#[test]
fn a_placeholder_is_a_valid_head() {
    for text in [
        "\x16\x03\x01garbage",
        "CONNECT a:1 HTTP/1.1\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web\r\nX: \n",
        "PATCH /x HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n",
        "GET http://b/y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/y HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET /x HTTP/1.1\r\nHost: a/b\r\n",
    ] {
        let mut head = HeadParser::new(LIMITS);
        assert!(head.read(text.as_bytes()).is_err(), "{text:?}");
        let placeholder = String::from_utf8(head.placeholder(text.as_bytes())).unwrap();
        let end = read(&placeholder).unwrap_or_else(|fault| panic!("{placeholder:?}: {fault}")).unwrap();
        assert_eq!((end.length, end.body.is_over()), (placeholder.len(), true), "{placeholder:?}");
        assert!(placeholder.contains("Connection: close\r\n"), "{placeholder:?}");
    }
    let placeholder = |text: &str| {
        let mut head = HeadParser::new(LIMITS);
        let _ = head.read(text.as_bytes());
        String::from_utf8(head.placeholder(text.as_bytes())).unwrap()
    };
    assert!(placeholder("HEAD /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n").starts_with("HEAD /x HTTP/1.1\r\n"));
    assert!(placeholder("CONNECT a:1 HTTP/1.1\r\n").starts_with("- / HTTP/1.1\r\n"));
}

#[test]
fn over_a_unix_socket_a_host_is_optional() {
    let read = |host: &str, target: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        HeadParser::new(LIMITS).host_optional(true).read(text.as_bytes())
    };
    for host in ["", "a", "run%2Fx.sock", "/run/x.sock", "unix:/x", "a b"] {
        assert!(read(host, "/x").unwrap().is_some(), "{host}");
    }
    assert_eq!(read("a@b", "/x"), Err(RequestError::Host));
    assert_eq!(read("a%2fb", "http://a%2fb/x"), Err(RequestError::Host), "in a URL it has to be one");
    assert_eq!(HeadParser::new(LIMITS).host_optional(true).read(b"GET / HTTP/1.1\r\n\r\n"), Err(RequestError::Host));
    assert_eq!(
        HeadParser::new(LIMITS).host_optional(true).read(b"GET / HTTP/1.1\r\nHost: %\r\nHost: %\r\n\r\n"),
        Err(RequestError::Host)
    );
    for (uri, expected) in [("http://a!b/x?y=z", Some("/x?y=z")), ("http://a/x", None), ("/x", None)] {
        let uri = uri.parse().unwrap();
        assert_eq!(without_invalid_authority(&uri).map(|uri| uri.to_string()).as_deref(), expected);
    }
}
