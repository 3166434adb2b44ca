//! axum with nothing behind it: the ceiling that everything else is compared with.

use std::path::PathBuf;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file whose bytes are every answer's body.
    #[arg(long)]
    body: PathBuf,
}

pub(crate) async fn run(arguments: Arguments) {
    let body = Bytes::from(std::fs::read(arguments.body).expect("the body"));
    let answer = move || {
        let body = body.clone();
        async move { ([(CONTENT_TYPE, "application/json")], body) }
    };
    serve(Router::new().fallback(get(answer))).await;
}

/// Serves on a free loopback port, and says on which.
pub(crate) async fn serve(router: Router) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    println!("ready http://{}", listener.local_addr().expect("bound"));
    axum::serve(listener, router).await.expect("it serves");
}
