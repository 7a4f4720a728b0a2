//! Certificate signing requests (PKCS #10): only the key in them is of interest.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::der::{self, Reader};

/// `id-ecPublicKey` with the curve `prime256v1`, as an `AlgorithmIdentifier`.
const P256: [u8; 21] =
    [0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// `ecdsa-with-SHA256`, as an `AlgorithmIdentifier`.
const ECDSA_SHA256: [u8; 12] = [0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The bytes are not a request.
    #[error("not a certificate signing request")]
    NotARequest,
    /// The key is of another kind.
    #[error("the key of a request must be on the curve P-256, signed with ECDSA and SHA-256")]
    Algorithm,
    /// Who sends it does not have the key.
    #[error("the request is not signed with its own key")]
    Signature,
}

/// The public key in a request (DER), an uncompressed point on P-256, when the request is signed with it.
///
/// # Errors
/// When it is not a request, of another algorithm, or its signature does not hold.
pub fn requested_key(request: &[u8]) -> Result<Vec<u8>, RequestError> {
    let parts = read(request).ok_or(RequestError::NotARequest)?;
    if parts.key_algorithm != P256 || parts.signature_algorithm != ECDSA_SHA256 {
        return Err(RequestError::Algorithm);
    }
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, parts.key);
    key.verify(parts.signed, parts.signature).map_err(|_| RequestError::Signature)?;
    Ok(parts.key.to_vec())
}

struct Parts<'a> {
    signed: &'a [u8],
    key_algorithm: &'a [u8],
    key: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

fn read(request: &[u8]) -> Option<Parts<'_>> {
    let mut all = Reader::new(request);
    let mut outer = all.expect(der::SEQUENCE)?.inside();
    let info = outer.expect(der::SEQUENCE)?;
    let signature_algorithm = outer.expect(der::SEQUENCE)?.raw;
    let signature = outer.expect(der::BIT_STRING)?.bits()?;
    if !all.is_empty() || !outer.is_empty() {
        return None;
    }
    let mut fields = info.inside();
    let (_version, _subject) = (fields.expect(der::INTEGER)?, fields.expect(der::SEQUENCE)?);
    let mut key_info = fields.expect(der::SEQUENCE)?.inside();
    let key_algorithm = key_info.expect(der::SEQUENCE)?.raw;
    let key = key_info.expect(der::BIT_STRING)?.bits()?;
    Some(Parts { signed: info.raw, key_algorithm, key, signature_algorithm, signature })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};

    use super::*;

    fn request(key: &KeyPair) -> Vec<u8> {
        CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn the_key_of_a_request_is_found() {
        let key = KeyPair::generate().unwrap();
        assert_eq!(requested_key(&request(&key)).unwrap(), key.der_bytes());
    }

    #[test]
    fn a_request_that_was_tampered_with_is_refused_wherever_it_was() {
        let good = request(&KeyPair::generate().unwrap());
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(requested_key(&bad).is_err(), "byte {at}");
            assert_eq!(requested_key(&good[..at]), Err(RequestError::NotARequest));
        }
    }

    #[test]
    fn another_kind_of_key_is_refused_by_name() {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        assert_eq!(requested_key(&request(&key)), Err(RequestError::Algorithm));
    }
}
