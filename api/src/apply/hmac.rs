//! An HMAC (RFC 2104) of a request's body.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use http::HeaderValue;
use nexus_domain::strategy::{Encoding, HmacAlgo};
use sha1::Sha1;
use sha2::Sha256;

use super::ApplyError;
use super::header::sensitive;
use crate::hex::hex;

/// The signature of a body, as a header's value.
pub(super) fn signature(
    algo: HmacAlgo,
    encoding: Encoding,
    key: &str,
    body: &[u8],
) -> Result<HeaderValue, ApplyError> {
    let tag = match algo {
        HmacAlgo::Sha256 => tag::<Hmac<Sha256>>(key.as_bytes(), body),
        HmacAlgo::Sha1 => tag::<Hmac<Sha1>>(key.as_bytes(), body),
    };
    let text = match encoding {
        Encoding::Hex => hex(&tag?),
        Encoding::Base64 => BASE64_STANDARD.encode(tag?),
    };
    sensitive(&text).ok_or(ApplyError::Unsignable)
}

/// A key of any length will do.
pub(super) fn tag<M: Mac + KeyInit>(key: &[u8], body: &[u8]) -> Result<Vec<u8>, ApplyError> {
    let mac = <M as Mac>::new_from_slice(key).map_err(|_| ApplyError::Unsignable)?;
    Ok(mac.chain_update(body).finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HI: &[u8] = b"Hi There";
    const WANT: &[u8] = b"what do ya want for nothing?";
    const LARGER_KEY: &[u8] = b"Test Using Larger Than Block-Size Key - Hash Key First";

    fn counting() -> Vec<u8> {
        (1..=25).collect()
    }

    /// RFC 4231, section 4, the test cases with a whole tag.
    #[test]
    fn the_published_vectors_of_sha256_come_out() {
        let larger: &[u8] = b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.";
        for (key, body, expected) in [
            (
                vec![0x0b; 20],
                HI,
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe".to_vec(),
                WANT,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                vec![0xaa; 20],
                &[0xdd; 50],
                "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
            ),
            (
                counting(),
                &[0xcd; 50],
                "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
            ),
            (
                vec![0xaa; 131],
                LARGER_KEY,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                larger,
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            assert_eq!(hex(&tag::<Hmac<Sha256>>(&key, body).unwrap()), expected);
        }
    }

    /// RFC 2202, section 3, the test cases with a whole tag.
    #[test]
    fn the_published_vectors_of_sha1_come_out() {
        let larger: &[u8] =
            b"Test Using Larger Than Block-Size Key and Larger Than One Block-Size Data";
        for (key, body, expected) in [
            (
                vec![0x0b; 20],
                HI,
                "b617318655057264e28bc0b6fb378c8ef146be00",
            ),
            (
                b"Jefe".to_vec(),
                WANT,
                "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
            ),
            (
                vec![0xaa; 20],
                &[0xdd; 50],
                "125d7342b9ac11cd91a39af48aa17b4f63f175d3",
            ),
            (
                counting(),
                &[0xcd; 50],
                "4c9007f4026250c6bc8414f9bf50c86c2d7235da",
            ),
            (
                vec![0xaa; 80],
                LARGER_KEY,
                "aa4ae5e15272d00e95705637ce8a3b55ed402112",
            ),
            (
                vec![0xaa; 80],
                larger,
                "e8e99d0f45237d786d6bbaa7965c7808bbff1a91",
            ),
        ] {
            assert_eq!(hex(&tag::<Hmac<Sha1>>(&key, body).unwrap()), expected);
        }
    }

    #[test]
    fn a_signature_is_written_as_the_strategy_says() {
        let written = |algo, encoding| signature(algo, encoding, "Jefe", WANT).unwrap();
        let hex = written(HmacAlgo::Sha1, Encoding::Hex);
        assert_eq!(hex, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        let base64 = written(HmacAlgo::Sha256, Encoding::Base64);
        assert_eq!(base64, "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
        assert!(hex.is_sensitive() && base64.is_sensitive());
    }

    #[test]
    fn no_body_is_an_empty_one() {
        let signature = signature(HmacAlgo::Sha256, Encoding::Hex, "Jefe", b"").unwrap();
        assert_eq!(signature.len(), 64);
    }
}
