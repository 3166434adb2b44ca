//! HTTP/1.1 by hand over one kept connection: cheap enough to drive thousands of requests a second beside the server.

use std::io::{Error, ErrorKind, Result};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

/// How long an answer may take before it counts as none.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// One connection to one surface.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    host: String,
    received: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Wire {
    /// Connects to the surface at `base`.
    ///
    /// # Errors
    /// The socket's.
    pub async fn connect(base: &Url) -> Result<Wire> {
        let host = format!(
            "{}:{}",
            base.host_str().unwrap_or_default(),
            base.port().unwrap_or(80)
        );
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream,
            host,
            received: Vec::with_capacity(4096),
        })
    }

    /// Sends a request, with JSON unless that is empty, and reads its answer.
    ///
    /// # Errors
    /// The connection broke, or ten seconds passed ([`ErrorKind::TimedOut`]).
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        key: Option<&str>,
        json: &str,
    ) -> Result<Reply> {
        let key = key.map_or_else(String::new, |key| format!("x-api-key: {key}\r\n"));
        let kind = if json.is_empty() {
            ""
        } else {
            "content-type: application/json\r\n"
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{key}{kind}content-length: {}\r\n\r\n{json}",
            self.host,
            json.len()
        );
        let exchange = async {
            self.stream.write_all(request.as_bytes()).await?;
            self.read().await
        };
        let within = tokio::time::timeout(ANSWER_WITHIN, exchange).await;
        within.unwrap_or_else(|_| Err(Error::from(ErrorKind::TimedOut)))
    }

    async fn read(&mut self) -> Result<Reply> {
        let end_of_head = loop {
            if let Some(end) = self
                .received
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break end + 4;
            }
            self.more().await?;
        };
        let head = std::str::from_utf8(&self.received[..end_of_head])
            .map_err(|_| ErrorKind::InvalidData)?;
        let status = head
            .get(9..12)
            .and_then(|status| status.parse().ok())
            .ok_or(ErrorKind::InvalidData)?;
        let length = head.lines().filter_map(|line| line.split_once(':'));
        let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let length: usize = length
            .next()
            .and_then(|(_, value)| value.trim().parse().ok())
            .unwrap_or(0);
        while self.received.len() < end_of_head + length {
            self.more().await?;
        }
        let body = self.received[end_of_head..end_of_head + length].to_vec();
        self.received.drain(..end_of_head + length);
        Ok(Reply { status, body })
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
