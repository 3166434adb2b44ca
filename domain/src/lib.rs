//! What is true: the aggregates, their commands and events, and the sealing of secrets.
//!
//! Nothing here does I/O, reads a clock or makes a random number. Facts (the time, ids, sealed
//! secrets, a provider's settings) come in with the command; [`decider::Decider::decide`] turns a
//! command into events or a refusal, [`decider::Decider::evolve`] folds events into a state.
//!
//! Three aggregates have a state: [`connection`] (a user's account at a provider, and the credential
//! for it), [`provider`] (whom to connect to, and how) and [`agent`] (a program that acts, and the most it may do). Two streams have none and never
//! conflict: [`access`] (who was given which credential) and [`vault`] (what operators did).
//!
//! Secrets exist in clear only as [`secret::Secret`] and the types made of it. What is stored of
//! them is a [`sealing::SealedBlob`]; an event names it by a [`sealing::SealedRef`].

pub mod access;
pub mod agent;
pub mod connection;
pub mod credential;
pub mod credential_check;
pub mod decider;
pub mod metadata;
pub mod provider;
pub mod reference;
pub mod scope;
pub mod sealing;
pub mod secret;
pub mod session;
pub mod strategy;
pub mod stream;
pub mod time;
pub mod token_reading;
pub mod vault;

#[cfg(test)]
mod fixtures;
