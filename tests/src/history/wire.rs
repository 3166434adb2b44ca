//! A wire to PostgreSQL that breaks at the worst moments.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

/// After so many milliseconds a COMMIT is the last thing that its connection carries, or the first that it does not.
const BREAKS_AFTER: std::ops::Range<u64> = 50..700;
/// After one break of so many nobody gets through for a while: longer than a writer looks for its answer.
const STAYS_BROKEN: u32 = 5;
const BROKEN_FOR: Duration = Duration::from_millis(1_300);

/// What all connections share.
struct Shared {
    rng: Mutex<Rng>,
    breaks_from: Mutex<Instant>,
    broken_until: Mutex<Instant>,
}

impl Shared {
    fn one_of(&self, number: u32) -> bool {
        self.rng.lock().unwrap().u32(0..number) == 0
    }

    /// Whether the next COMMIT breaks its connection; then it takes a while until one does again.
    fn breaks(&self) -> bool {
        let (now, mut from) = (Instant::now(), self.breaks_from.lock().unwrap());
        let breaks = now >= *from;
        if breaks {
            *from = now + Duration::from_millis(self.rng.lock().unwrap().u64(BREAKS_AFTER));
        }
        breaks
    }

    fn is_broken(&self) -> bool {
        Instant::now() < *self.broken_until.lock().unwrap()
    }
}

/// A wire to the server of `url`, for as long as the set lives; returns its own URL.
pub(super) async fn to(url: &str, rng: Rng) -> (String, JoinSet<()>) {
    let mut url: Url = url.parse().expect("a URL");
    let server = url.socket_addrs(|| Some(5_432)).expect("an address")[0];
    let listener = TcpListener::bind((server.ip(), 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    url.set_port(Some(port)).expect("a port");
    let shared = Arc::new(Shared {
        rng: Mutex::new(rng),
        breaks_from: Mutex::new(Instant::now()),
        broken_until: Mutex::new(Instant::now()),
    });
    let mut wire = JoinSet::new();
    wire.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            if !shared.is_broken() {
                connections.spawn(carry(client, server, Arc::clone(&shared)));
            }
        }
    });
    (url.into(), wire)
}

/// Carries one connection until either side ends it, or it breaks.
async fn carry(client: TcpStream, server: std::net::SocketAddr, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let ((from_client, mut to_client), (mut from_server, to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = asked(from_client, to_server, &shared) => {}
        _ = copy(&mut from_server, &mut to_client) => {}
    }
}

/// Carries what the client asks, up to a COMMIT.
async fn asked(mut client: OwnedReadHalf, mut server: OwnedWriteHalf, shared: &Shared) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = client.read(&mut buffer).await {
        let bytes = &buffer[..count];
        let breaks = bytes.ends_with(b"COMMIT\0") && shared.breaks();
        let arrives = !breaks || shared.one_of(2);
        if arrives && server.write_all(bytes).await.is_err() {
            return;
        }
        if breaks {
            if shared.one_of(STAYS_BROKEN) {
                *shared.broken_until.lock().unwrap() = Instant::now() + BROKEN_FOR;
            }
            return;
        }
    }
}
