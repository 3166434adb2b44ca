//! The application that people come back to.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use url::Url;

use super::reply::Wire;
use super::server::{self, HttpReply};

/// An application's server on a loopback port. It shows everybody the same page, and listens until it is dropped.
#[derive(Debug)]
pub struct ScriptedApplication {
    url: Url,
    visits: Arc<Mutex<Vec<Visit>>>,
    task: JoinHandle<()>,
}

/// A request that reached the application.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub url: String,
    /// Its headers, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

impl Visit {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl ScriptedApplication {
    /// Starts one.
    pub async fn start() -> ScriptedApplication {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let visits = Arc::<Mutex<Vec<Visit>>>::default();
        let task = tokio::spawn(listen(listener, Arc::clone(&visits)));
        ScriptedApplication {
            url: format!("http://{address}/done?keep=1")
                .parse()
                .expect("a URL"),
            visits,
            task,
        }
    }

    /// Where people come back to; has a query of its own.
    pub fn return_url(&self) -> &Url {
        &self.url
    }

    /// Every request so far but those for an icon, in order.
    pub fn visits(&self) -> Vec<Visit> {
        let visits = self.visits.lock().unwrap();
        let pages = visits.iter().filter(|visit| visit.url != "/favicon.ico");
        pages.cloned().collect()
    }
}

impl Drop for ScriptedApplication {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, visits: Arc<Mutex<Vec<Visit>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(converse(stream, Arc::clone(&visits)));
    }
}

async fn converse(mut stream: TcpStream, visits: Arc<Mutex<Vec<Visit>>>) {
    let Some(request) = server::read(&mut stream).await else {
        return;
    };
    visits.lock().unwrap().push(Visit {
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: request.body,
    });
    let page = "<!doctype html><html lang=en><title>The application</title><h1>Welcome back</h1>";
    let reply = HttpReply::new(200, "text/html; charset=utf-8", page.to_owned());
    server::write(stream, &reply.bytes(), Wire::Whole).await;
}
