//! `nexus health`: whether the vault that runs with these settings is healthy, for supervisors without an HTTP client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);
/// A status line is not longer.
const STATUS_LINE: u64 = 256;

/// Why it is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nobody answers.
    #[error("nobody answers at {0}")]
    Silent(SocketAddr, #[source] io::Error),
    /// It says that it is not.
    #[error("the vault at {0} is not healthy: {1}")]
    Unhealthy(SocketAddr, String),
}

/// Asks the Gateway that is bound to this address and port.
///
/// # Errors
/// [`HealthError`]
pub fn check_health(bound: IpAddr, port: u16) -> Result<(), HealthError> {
    let address = SocketAddr::new(reachable(bound), port);
    let line = status_line(address).map_err(|error| HealthError::Silent(address, error))?;
    if line.split_ascii_whitespace().nth(1) == Some("200") {
        Ok(())
    } else {
        Err(HealthError::Unhealthy(address, line))
    }
}

/// An address that leads to whoever is bound to this one.
fn reachable(bound: IpAddr) -> IpAddr {
    match bound {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(STATUS_LINE)).read_line(&mut line)?;
    Ok(line.trim().escape_debug().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_bound_to_every_address_is_asked_on_loopback() {
        for (bound, asked) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("127.0.0.2", "127.0.0.2"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            let asked: IpAddr = asked.parse().unwrap();
            assert_eq!(reachable(bound.parse().unwrap()), asked);
        }
    }
}
