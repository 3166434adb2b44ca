//! A TCP proxy before the server that loses a COMMIT, or the answer to one.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use url::Url;

/// The simple query as the client sends it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
/// The server's answer to it.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

/// What happens to the next COMMIT; the client learns of it once `then` is sent or dropped.
pub(crate) struct Fault {
    pub(crate) arrives: bool,
    pub(crate) then: oneshot::Receiver<()>,
}

pub(crate) struct Proxy {
    pub(crate) url: Url,
    state: Arc<State>,
}

struct State {
    server: String,
    fault: Mutex<Option<Fault>>,
    /// Told when a fault has happened to the server's side.
    happened: watch::Sender<u32>,
    /// While it is false, connections are cut and refused.
    up: watch::Sender<bool>,
}

impl Proxy {
    /// Before the server of `url`.
    pub(crate) async fn before(url: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let mut through = url.clone();
        through.set_host(Some("127.0.0.1")).unwrap();
        through
            .set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let state = State {
            server,
            fault: Mutex::new(None),
            happened: watch::Sender::new(0),
            up: watch::Sender::new(true),
        };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *shared.up.borrow() {
                    tokio::spawn(serve(client, Arc::clone(&shared)));
                }
            }
        });
        Self {
            url: through,
            state,
        }
    }

    /// Loses the next COMMIT, or only its answer when it `arrives`.
    pub(crate) fn lose_commit(&self, arrives: bool) -> Lost {
        let (go_on, then) = oneshot::channel();
        let happened = self.state.happened.subscribe();
        *self.state.fault.lock().unwrap() = Some(Fault { arrives, then });
        Lost { go_on, happened }
    }

    /// Cuts every connection and refuses new ones, or accepts them again.
    pub(crate) fn set_up(&self, up: bool) {
        self.state.up.send_replace(up);
    }
}

/// A loss that was ordered.
pub(crate) struct Lost {
    go_on: oneshot::Sender<()>,
    happened: watch::Receiver<u32>,
}

impl Lost {
    /// Waits until the server committed or gave up, while the client still waits for the answer.
    pub(crate) async fn happened(&mut self) {
        self.happened.changed().await.unwrap();
    }

    /// Cuts the client's connection.
    pub(crate) fn cut(self) {
        self.go_on.send(()).unwrap();
    }
}

async fn serve(mut client: TcpStream, state: Arc<State>) {
    let Ok(mut server) = TcpStream::connect(&state.server).await else {
        return;
    };
    let mut up = state.up.subscribe();
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    // The end of what was sent before: a message may come in two pieces.
    let mut before = Vec::new();
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                before.extend_from_slice(&asked[..length]);
                let fault = if contains(&before, COMMIT) { state.fault.lock().unwrap().take() } else { None };
                if let Some(fault) = fault {
                    return lose(client, server, &asked[..length], fault, &state).await;
                }
                before.drain(..before.len().saturating_sub(COMMIT.len() - 1));
                if server.write_all(&asked[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
            () = async { drop(up.wait_for(|up| !up).await) } => return,
        }
    }
}

async fn lose(client: TcpStream, mut server: TcpStream, asked: &[u8], fault: Fault, state: &State) {
    if fault.arrives {
        server.write_all(asked).await.unwrap();
        let (mut answer, mut piece) = (Vec::new(), vec![0; 65_536]);
        while !contains(&answer, COMMITTED) {
            let length = server.read(&mut piece).await.unwrap();
            assert_ne!(length, 0, "the server did not commit");
            answer.extend_from_slice(&piece[..length]);
        }
    }
    drop(server);
    state.happened.send_modify(|count| *count += 1);
    let _dropped_means_now = fault.then.await;
    drop(client);
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
