//! How the world talks to the vault: the use cases, the client of OAuth and OpenID providers, the
//! two HTTP surfaces, and the server that runs them.

pub mod application;
pub mod apply;
pub mod config;
pub mod health_check;
mod hex;
pub mod http;
pub mod keys;
pub mod logging;
pub mod metrics;
pub mod panics;
pub mod random;
pub mod return_url;
pub mod schema;
pub mod server;
pub mod session_tokens;
pub mod source;
pub mod upstream;
pub mod user_context;
pub mod workers;
