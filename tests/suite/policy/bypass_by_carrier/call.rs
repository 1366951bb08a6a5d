//! A write of a session as each carrier encodes it, and ways to damage it.

use super::path;
use crate::harness::grpc::{field, frame};
use crate::harness::{Frame, read_frame};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};

/// A column of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Auth0,
    /// A refresh token instead of a session.
    Auth0Token,
    Rest,
    Grpc,
    GrpcWeb,
    ConnectJson,
    ConnectProto,
}

impl Column {
    pub const ALL: [Column; 7] = [
        Column::Auth0,
        Column::Auth0Token,
        Column::Rest,
        Column::Grpc,
        Column::GrpcWeb,
        Column::ConnectJson,
        Column::ConnectProto,
    ];

    pub fn is_auth0(self) -> bool {
        matches!(self, Column::Auth0 | Column::Auth0Token)
    }

    pub fn is_framed(self) -> bool {
        matches!(self, Column::Grpc | Column::GrpcWeb)
    }

    /// Whether it is a remote procedure call.
    pub fn is_call(self) -> bool {
        !self.is_auth0() && self != Column::Rest
    }

    /// Whether its usual body is JSON.
    pub fn is_json(self) -> bool {
        self.is_auth0() || matches!(self, Column::Rest | Column::ConnectJson)
    }
}

/// A cell, and the key that it sets.
pub struct Case {
    pub column: Column,
    pub beta: bool,
    pub key: &'static str,
    pub token: String,
    pub host: String,
}

/// How a body is framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// By its length.
    Length,
    /// In chunks, with these trailers.
    Chunked(&'static str),
    /// By headers of the row, or not at all.
    None,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    pub column: Column,
    pub version: &'static str,
    pub method: String,
    pub target: String,
    /// The target in its only canonical spelling.
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// Whether it is meant to change the session.
    pub changes: bool,
}

impl Case {
    pub fn path(&self) -> String {
        path(self.column, self.beta)
    }

    /// The change, in the carrier's usual encoding.
    pub fn call(&self) -> Call {
        let content_type = match self.column {
            Column::Auth0 | Column::Auth0Token | Column::Rest | Column::ConnectJson => "application/json",
            Column::Grpc => "application/grpc",
            Column::GrpcWeb => "application/grpc-web+proto",
            Column::ConnectProto => "application/proto",
        };
        let message = if self.column.is_json() { self.json().into_bytes() } else { self.proto() };
        let mut headers = vec![
            ("Host".to_owned(), self.host.clone()),
            ("Authorization".to_owned(), format!("Bearer {}", self.token)),
            ("Content-Type".to_owned(), content_type.to_owned()),
        ];
        if self.column == Column::Grpc {
            headers.push(("te".into(), "trailers".into()));
        }
        Call {
            column: self.column,
            version: "HTTP/1.1",
            method: if self.column.is_call() { "POST" } else { "PATCH" }.into(),
            target: self.path(),
            path: self.path(),
            headers,
            body: if self.column.is_framed() { frame(&message) } else { message },
            framing: Framing::Length,
            changes: true,
        }
    }

    /// The member with the metadata.
    pub fn member(&self) -> &'static str {
        match self.column {
            Column::Auth0 => "session_metadata",
            Column::Auth0Token => "refresh_token_metadata",
            _ => "metadata",
        }
    }

    /// A value of the metadata as JSON writes it.
    pub fn value(&self, value: &str) -> String {
        if self.column.is_auth0() { format!("\"{value}\"") } else { format!("\"{}\"", STANDARD.encode(value)) }
    }

    /// An object with the key.
    pub fn object(&self) -> String {
        format!("{{\"{}\":{}}}", self.key, self.value("blue"))
    }

    /// The part of every message besides the change.
    pub fn members(&self) -> &'static str {
        match self.column {
            Column::Auth0 | Column::Auth0Token => "",
            Column::Rest => "\"sessionToken\":\"t\",",
            _ => "\"sessionId\":\"s1\",\"sessionToken\":\"t\",",
        }
    }

    pub fn json(&self) -> String {
        format!("{{{}\"{}\":{}}}", self.members(), self.member(), self.object())
    }

    /// An entry of the metadata.
    pub fn entry(&self, key: &str) -> Vec<u8> {
        field(4, &[field(1, key.as_bytes()), field(2, b"blue")].concat())
    }

    /// The session and its token.
    pub fn named() -> Vec<u8> {
        [field(1, b"s1"), field(2, b"t")].concat()
    }

    pub fn proto(&self) -> Vec<u8> {
        [Case::named(), self.entry(self.key)].concat()
    }

    /// The change with this JSON, in every carrier that has some.
    pub fn with_json(&self, text: impl AsRef<[u8]>) -> Call {
        let mut call = self.call();
        let text = text.as_ref();
        call.body = if self.column.is_framed() { frame(text) } else { text.to_vec() };
        match self.column {
            Column::Grpc => call.with("Content-Type", "application/grpc+json"),
            Column::GrpcWeb => call.with("Content-Type", "application/grpc-web+json"),
            _ => call,
        }
    }

    /// The same without the part before the metadata.
    pub fn with_members(&self, members: &str) -> Call {
        self.with_json(format!("{{{}{members}}}", self.members()))
    }

    /// The change with this message.
    pub fn with_proto(&self, message: &[u8]) -> Call {
        let mut call = self.call();
        call.body = if self.column.is_framed() { frame(message) } else { message.to_vec() };
        call
    }

    /// The change with more behind the usual message.
    pub fn with_more(&self, more: &[u8]) -> Call {
        self.with_proto(&[self.proto(), more.to_vec()].concat())
    }
}

impl Call {
    /// This header, instead of others of its name.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Call {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.and(name, value)
    }

    /// One more header.
    pub fn and(mut self, name: &str, value: impl Into<String>) -> Call {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Call {
        self.headers.retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self
    }

    pub fn method(mut self, method: &str) -> Call {
        self.method = method.into();
        self
    }

    pub fn target(mut self, edit: impl Fn(&str) -> String) -> Call {
        self.target = edit(&self.target);
        self
    }

    pub fn body(mut self, edit: impl Fn(&[u8]) -> Vec<u8>) -> Call {
        self.body = edit(&self.body);
        self
    }

    pub fn framing(mut self, framing: Framing) -> Call {
        self.framing = framing;
        self
    }

    pub fn version(mut self, version: &'static str) -> Call {
        self.version = version;
        self
    }

    /// It is not meant to change the session.
    pub fn changing_nothing(mut self) -> Call {
        self.changes = false;
        self
    }

    /// As bytes of HTTP/1.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} {}\r\n", self.method, self.target, self.version).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match self.framing {
            Framing::Length => {
                write!(bytes, "Content-Length: {}\r\n\r\n", self.body.len()).unwrap();
                bytes.extend_from_slice(&self.body);
            }
            Framing::Chunked(trailers) => {
                write!(bytes, "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", self.body.len()).unwrap();
                bytes.extend_from_slice(&self.body);
                write!(bytes, "\r\n0\r\n{trailers}\r\n").unwrap();
            }
            Framing::None => {
                bytes.extend_from_slice(b"\r\n");
                bytes.extend_from_slice(&self.body);
            }
        }
        bytes
    }

    /// As a request of an HTTP/2 client; `None` if no client could send it.
    pub fn request(&self) -> Option<http::Request<()>> {
        let host = self.headers.iter().find(|(name, _)| name == "Host").map(|(_, value)| value.as_str());
        let plain = self.target.starts_with('/') && !self.target.contains(['#', ' ', '\\']) && self.method != "CONNECT";
        let uri: http::Uri = format!("http://{}{}", host.filter(|_| plain)?, self.target).parse().ok()?;
        let mut request = http::Request::builder().method(self.method.as_bytes()).uri(uri);
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "Host") {
            let of_http1 = ["connection", "upgrade", "transfer-encoding", "keep-alive"];
            if of_http1.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                return None;
            }
            request = request.header(name.to_ascii_lowercase(), value);
        }
        request.body(()).ok()
    }

    /// As frames that no client would send. Returns when the stream, or the connection, has ended.
    pub fn send_frames(&self, address: SocketAddr) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::harness::TIMEOUT)).unwrap();
        let authority = self.headers.iter().find(|(name, _)| name == "Host").map_or("", |(_, value)| value);
        let pseudo = [
            (":method", self.method.as_str()),
            (":scheme", "http"),
            (":authority", authority),
            (":path", &self.target),
        ];
        let own = self
            .headers
            .iter()
            .filter(|(name, _)| name != "Host")
            .map(|(name, value)| (name.to_ascii_lowercase(), value));
        let mut head = Vec::new();
        for (name, value) in
            pseudo.iter().map(|(name, value)| ((*name).to_owned(), *value)).chain(own.map(|(n, v)| (n, v.as_str())))
        {
            // Literals that are not indexed, without Huffman's code; none is so long that a length needs two bytes
            // more.
            head.push(0);
            for text in [name.as_str(), value] {
                let length = u8::try_from(text.len()).unwrap();
                if length < 127 {
                    head.push(length);
                } else {
                    head.extend([127, length - 127]);
                }
                head.extend_from_slice(text.as_bytes());
            }
        }
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        let mut push = |kind: u8, flags: u8, content: &[u8]| {
            bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes()[1..]);
            bytes.extend([kind, flags, 0, 0, 0, 1]);
            bytes.extend_from_slice(content);
        };
        push(1, 4, &head);
        push(0, 1, &self.body);
        // A gateway that rejects may close before it has read everything.
        let _ = stream.write_all(&bytes);
        while let Ok(Frame { kind, flags, stream: id, .. }) = read_frame(&mut stream) {
            let ends = (kind < 2 && flags & 1 == 1) || kind == 3;
            if (id == 1 && ends) || kind == 7 {
                return;
            }
        }
    }
}
