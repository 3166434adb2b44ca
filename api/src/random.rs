//! The process's one source of randomness: the operating system's generator.
//!
//! Everything that has to be unguessable (keys, states, connection ids) or merely unique (request ids) takes its
//! bytes from here, so that pure code receives them as arguments.

use uuid::Uuid;

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system's random generator failed")]
pub struct RandomnessUnavailable(#[source] getrandom::Error);

/// `N` bytes from the operating system's generator.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the application's one source"
)]
pub fn make_bytes<const N: usize>() -> Result<[u8; N], RandomnessUnavailable> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(RandomnessUnavailable)?;
    Ok(bytes)
}

/// A random `UUIDv4` (RFC 9562 §5.4): 122 random bits.
pub fn make_uuid() -> Result<Uuid, RandomnessUnavailable> {
    Ok(uuid::Builder::from_random_bytes(make_bytes()?).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(make_bytes::<32>().unwrap(), make_bytes::<32>().unwrap());
    }

    #[test]
    fn a_made_uuid_is_a_random_one() {
        assert_eq!(make_uuid().unwrap().get_version_num(), 4);
    }
}
