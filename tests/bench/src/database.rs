//! Databases of their own for what is measured.

use tokio_postgres::NoTls;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A URL whose role may create databases; its path is replaced by the new database's name.
    #[arg(long)]
    server: String,
    /// The new database's name, a plain identifier.
    #[arg(long)]
    name: String,
}

pub(crate) async fn run(arguments: Arguments) {
    let client = connect(&arguments.server).await;
    client
        .batch_execute(&format!("CREATE DATABASE {}", arguments.name))
        .await
        .expect("the database is created");
    let (server, _) = arguments
        .server
        .rsplit_once('/')
        .expect("a URL with a path");
    println!("{server}/{}", arguments.name);
}

/// A connection that ends with its client.
pub(crate) async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .expect("the server is there");
    tokio::spawn(connection);
    client
}
