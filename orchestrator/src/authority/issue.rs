//! Makes certificates: the authority's own, the server's, the nodes'.

use std::net::IpAddr;

use binnacle_proto::identity::{SERVER_URI, node_uri};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;

use super::{Authority, Error};

/// How long an authority lives: ten years.
const AUTHORITY_LIFE_MS: i64 = 3650 * 86_400_000;

/// Clocks may differ by so much: a certificate is valid from before its making, but never from longer
/// before than it lives.
const SKEW_MS: i64 = 300_000;

/// First byte of the serial numbers given here; the time of issue in milliseconds follows, then chance.
const SERIAL_MARK: u8 = 1;
const SERIAL_LEN: usize = 17;

/// A certificate with its key.
pub(crate) struct Issued {
    /// The certificate, then the authority's.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// A key that somebody else holds.
struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Fills with bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Crypto("no randomness".into()))?;
    Ok(bytes)
}

/// When a certificate with this serial number was issued, in milliseconds since the epoch; `None` when
/// it is not of this authority's making.
pub(super) fn issued_ms(serial: &[u8]) -> Option<i64> {
    if serial.len() != SERIAL_LEN || serial[0] != SERIAL_MARK {
        return None;
    }
    Some(i64::from_be_bytes(serial[1..9].try_into().ok()?))
}

/// A new authority: its key and its certificate in PEM.
pub(super) fn new_authority(now_ms: i64) -> Result<(KeyPair, String), Error> {
    let key = KeyPair::generate().map_err(crypto)?;
    let mut params = authority_params();
    set_validity(&mut params, now_ms, AUTHORITY_LIFE_MS)?;
    let pem = params.self_signed(&key).map_err(crypto)?.pem();
    Ok((key, pem))
}

/// What its certificates say of the authority: read from nowhere, so always the same.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Binnacle authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// A certificate for the server, with a new key. It proves the server to agents by its URI, and to
    /// other clients by host names and addresses.
    pub(crate) fn issue_server(
        &self,
        names: &[String],
        lifetime_ms: i64,
        now_ms: i64,
    ) -> Result<Issued, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Binnacle server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names.push(SanType::URI(SERVER_URI.try_into().map_err(crypto)?));
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(crypto)?),
            });
        }
        let key = KeyPair::generate().map_err(crypto)?;
        let certificate = self.sign(params, &key, lifetime_ms, now_ms)?;
        Ok(Issued { chain: vec![certificate.into(), self.certificate.clone()], key: key.into() })
    }

    /// A certificate (PEM) for the holder of `key`, an uncompressed point on P-256, as `node`.
    pub(super) fn issue_node(
        &self,
        node: &str,
        key: Vec<u8>,
        lifetime_ms: i64,
        now_ms: i64,
    ) -> Result<String, Error> {
        let uri = node_uri(node).ok_or_else(|| bad_name(node))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Binnacle node");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(crypto)?));
        Ok(self.sign(params, &PublicKey(key), lifetime_ms, now_ms)?.pem())
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        lifetime_ms: i64,
        now_ms: i64,
    ) -> Result<rcgen::Certificate, Error> {
        set_validity(&mut params, now_ms, lifetime_ms)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let mut serial = [SERIAL_MARK; SERIAL_LEN];
        serial[1..9].copy_from_slice(&now_ms.to_be_bytes());
        serial[9..].copy_from_slice(&random::<8>()?);
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        let issuer = Issuer::new(authority_params(), &self.key);
        params.signed_by(key, &issuer).map_err(crypto)
    }
}

/// The refusal of a node's name.
pub(super) fn bad_name(node: &str) -> Error {
    Error::Refused(format!(
        "{node:?} cannot be a node's name: letters, digits, `.`, `-` and `_`, at most 250"
    ))
}

fn set_validity(params: &mut CertificateParams, now_ms: i64, lifetime_ms: i64) -> Result<(), Error> {
    let time = |ms: i64| OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).map_err(crypto);
    params.not_before = time(now_ms - SKEW_MS.min(lifetime_ms))?;
    params.not_after = time(now_ms + lifetime_ms)?;
    Ok(())
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn crypto(error: impl std::fmt::Display) -> Error {
    Error::Crypto(error.to_string())
}
