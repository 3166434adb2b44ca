//! What every door of both surfaces has in common: errors and their envelope, request ids, JSON bodies, API keys,
//! the request's context, logging.

mod access;
pub mod auth;
mod client_ip;
pub mod context;
pub mod denied;
pub mod doors;
pub mod error;
pub mod fallback;
mod form;
pub mod headers;
mod html;
pub mod json;
mod known;
pub mod log;
pub mod page;
pub mod request_id;
mod segment;
pub mod serve;
mod shown;
pub mod stack;
