//! How the world talks to the vault.

pub mod random;
pub mod return_url;
pub mod schema;
