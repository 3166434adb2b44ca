//! What only PostgreSQL has: a network between, other nodes, and roles.
//!
//! Run by `scripts/postgres run -- cargo test -p nexus-ledger`.

#[cfg(test)]
mod postgres {
    mod commits;
    mod nodes;
    mod opening;
    mod outages;
    mod proxy;
    mod server;
}
