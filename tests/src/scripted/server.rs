//! HTTP/1.1 by hand: one request, one answer or a fault, then the connection is closed.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::{Shared, Wire, account, token};

/// A request, read to its end.
#[derive(Debug)]
pub(super) struct HttpRequest {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    query: Vec<(String, String)>,
}

/// An answer, not yet written.
#[derive(Debug)]
pub(super) struct HttpReply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl HttpRequest {
    pub(super) fn query(&self, name: &str) -> Option<String> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

impl HttpReply {
    pub(super) fn new(status: u16, content_type: &str, body: String) -> HttpReply {
        HttpReply {
            status,
            headers: vec![("content-type", content_type.to_owned())],
            body,
        }
    }

    pub(super) fn json(status: u16, body: &Value) -> HttpReply {
        HttpReply::new(status, "application/json", body.to_string())
    }

    pub(super) fn redirect(location: &str) -> HttpReply {
        HttpReply {
            status: 302,
            headers: vec![("location", location.to_owned())],
            body: String::new(),
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: String) -> HttpReply {
        self.headers.push((name, value));
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.extend([
            "content-length: ",
            &self.body.len().to_string(),
            "\r\n\r\n",
            &self.body,
        ]);
        head.into_bytes()
    }
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let url = request.url.clone();
    shared.state.lock().unwrap().urls.push(url);
    let (reply, wire) = if request.path == "/token" && request.method == "POST" {
        token::answer(&shared, &request).await
    } else if request.path.starts_with("/account") {
        account::answer(&shared, &request).await
    } else {
        (shared.answer(&request), Wire::Whole)
    };
    write(stream, &reply.bytes(), wire).await;
}

/// Reads a request; `None` when the client leaves before its end.
pub(super) async fn read(stream: &mut TcpStream) -> Option<HttpRequest> {
    let mut received = Vec::new();
    let end_of_head = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, &mut received).await?;
    };
    let head = String::from_utf8(received[..end_of_head].to_vec()).ok()?;
    let mut lines = head.lines();
    let (method, target) = lines.next()?.split_once(' ')?;
    let (method, target) = (method.to_owned(), target.split(' ').next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    while received.len() < end_of_head + length {
        more(stream, &mut received).await?;
    }
    let body = String::from_utf8(received[end_of_head..].to_vec()).ok()?;
    let url = Url::parse("http://provider").ok()?.join(&target).ok()?;
    let query = url.query_pairs().into_owned().collect();
    Some(HttpRequest {
        method,
        path: url.path().to_owned(),
        url: target,
        headers,
        body,
        query,
    })
}

async fn more(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let count = stream.read(&mut chunk).await.ok()?;
    received.extend_from_slice(&chunk[..count]);
    (count > 0).then_some(())
}

/// Writes as much as is to arrive. The client may be gone, which is its own affair.
pub(super) async fn write(mut stream: TcpStream, bytes: &[u8], wire: Wire) {
    match wire {
        Wire::Whole => {
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
        }
        Wire::ClosedBefore => {
            let _ = stream.shutdown().await;
        }
        Wire::ClosedMidway => {
            let _ = stream.write_all(&bytes[..bytes.len() - 10]).await;
            let _ = stream.shutdown().await;
        }
        Wire::Reset => {
            let _ = stream.set_zero_linger();
        }
        // The client hangs up when it has waited long enough.
        Wire::Silence => {
            let _ = stream.read(&mut [0; 1]).await;
        }
    }
}
