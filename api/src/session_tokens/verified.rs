//! Tokens whose signature was verified a moment ago. Verifying one anew tells nothing new, and takes longer than
//! everything else that is asked of a token.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};

use super::{Claims, InvalidToken};

/// How much memory they may take, bytes.
const BYTES: u64 = 8 << 20;
/// How many that holds, about.
const TOKENS: usize = 8_000;
/// What one takes beside its texts, bytes, about.
const ENTRY_BYTES: u64 = 300;

/// SHA-256 of a token: the tokens themselves are not kept.
type Fingerprint = [u8; 32];

/// What verified tokens say. Keys and times are not looked at here.
pub(super) struct Verified(Cache<Fingerprint, Arc<Claims>, ByMemory>);

#[derive(Clone)]
struct ByMemory;

impl Weighter<Fingerprint, Arc<Claims>> for ByMemory {
    fn weight(&self, _: &Fingerprint, claims: &Arc<Claims>) -> u64 {
        let optional = [&claims.tenant_id, &claims.clearance_level];
        let optional = optional.into_iter().flatten();
        let texts = [&claims.sub, &claims.client_id, &claims.jti, &claims.scope];
        let bytes = texts.into_iter().chain(optional).map(String::len);
        ENTRY_BYTES + bytes.sum::<usize>() as u64
    }
}

impl Default for Verified {
    fn default() -> Self {
        Self(Cache::with_weighter(TOKENS, BYTES, ByMemory))
    }
}

impl Verified {
    /// What a token says, by `verify` unless that is known. A token that `verify` refuses is not remembered.
    pub(super) fn claims(
        &self,
        token: &str,
        verify: impl FnOnce() -> Result<Claims, InvalidToken>,
    ) -> Result<Arc<Claims>, InvalidToken> {
        let fingerprint = Sha256::digest(token).into();
        if let Some(claims) = self.0.get(&fingerprint) {
            return Ok(claims);
        }
        let claims = Arc::new(verify()?);
        self.0.insert(fingerprint, Arc::clone(&claims));
        Ok(claims)
    }
}
