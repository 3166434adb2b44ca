//! How the world talks to the vault.

pub mod config;
pub mod http;
pub mod keys;
pub mod random;
pub mod return_url;
pub mod schema;
pub mod upstream;
