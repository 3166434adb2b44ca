//! The provider: whom users' accounts are connected at, and how.
//!
//! Its settings are public but for its secrets, which are sealed: see [`ProviderSecrets`].

mod command;
mod decide;
mod error;
mod event;
mod profile;
mod secrets;
mod state;
mod validate;

pub use command::{ProviderCommand, SecretChange};
pub use error::{InvalidProfile, ProviderError};
pub use event::{EVENT_TYPES, ProviderEvent};
pub use profile::{AuthType, NAMED_PARAMS, ProviderProfile};
pub(crate) use secrets::is_secret;
pub use secrets::{
    MASK, PRIVATE_KEY, ProviderSecrets, SECRET_PARAMS, carry_over, merge_secrets, split_secrets,
};
pub use state::{Provider, Status};

pub use crate::reference::ProviderId;
