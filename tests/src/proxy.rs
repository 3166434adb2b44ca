//! A proxy before PostgreSQL that can lose the answer to a COMMIT.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;

/// What the server says when a COMMIT has been done: `CommandComplete` with its tag.
const COMMITTED: &[u8] = b"COMMIT\0";

const OPEN: u8 = 0;
const ARMED: u8 = 1;
const SHUT: u8 = 2;

/// A listener that passes every connection on to one server. It listens until it is dropped.
#[derive(Debug)]
pub struct LossyProxy {
    url: String,
    mode: Arc<AtomicU8>,
    shut: watch::Sender<bool>,
    listening: JoinHandle<()>,
}

impl LossyProxy {
    /// Starts one before the server of this `DATABASE_URL`.
    pub async fn start(url: &str) -> LossyProxy {
        let mut url: Url = url.parse().expect("a URL");
        let host = url.host_str().expect("a host");
        let server = format!("{host}:{}", url.port().expect("a port"));
        let listener = TcpListener::bind((host, 0)).await.expect("a free port");
        url.set_port(Some(listener.local_addr().expect("an address").port()))
            .expect("a port");
        let mode = Arc::new(AtomicU8::new(OPEN));
        let (shut, _) = watch::channel(false);
        let listening = tokio::spawn(listen(listener, server, Arc::clone(&mode), shut.clone()));
        LossyProxy {
            url: url.to_string(),
            mode,
            shut,
            listening,
        }
    }

    /// Its `DATABASE_URL`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Passes everything on but the answer to the next COMMIT: then it cuts every connection and takes no new one for
    /// this long. Returns when it takes them again.
    pub async fn lose_the_next_commit(&self, away: Duration) {
        let mut shut = self.shut.subscribe();
        self.mode.store(ARMED, Ordering::SeqCst);
        shut.wait_for(|shut| *shut)
            .await
            .expect("the proxy listens");
        tokio::time::sleep(away).await;
        self.mode.store(OPEN, Ordering::SeqCst);
        self.shut.send_replace(false);
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(
    listener: TcpListener,
    server: String,
    mode: Arc<AtomicU8>,
    shut: watch::Sender<bool>,
) {
    while let Ok((client, _)) = listener.accept().await {
        if mode.load(Ordering::SeqCst) == SHUT {
            continue;
        }
        if let Ok(server) = TcpStream::connect(&server).await {
            tokio::spawn(pass(client, server, Arc::clone(&mode), shut.clone()));
        }
    }
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    mode: Arc<AtomicU8>,
    shut: watch::Sender<bool>,
) {
    let mut cut = shut.subscribe();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let there =
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = tokio::select! {
            read = from_server.read(&mut chunk) => read.unwrap_or(0),
            _ = cut.wait_for(|cut| *cut) => 0,
        };
        let said = &chunk[..count];
        let committed = said
            .windows(COMMITTED.len())
            .any(|window| window == COMMITTED);
        if committed
            && mode
                .compare_exchange(ARMED, SHUT, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        {
            shut.send_replace(true);
            break;
        }
        if count == 0 || to_client.write_all(said).await.is_err() {
            break;
        }
    }
    there.abort();
}
