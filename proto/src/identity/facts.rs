//! What a certificate says about its holder.

use std::net::IpAddr;

use super::der::{self, Element, Reader};
use super::{NODE_URI, SERVER_URI};
use crate::days_since_epoch;

/// Object identifier of the subject's alternative names, 2.5.29.17.
const ALTERNATIVE_NAMES: [u8; 3] = [0x55, 0x1d, 0x11];

/// What a certificate says about its holder. Nothing here is verified: TLS does that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Begin of its validity, milliseconds since the epoch.
    pub not_before_ms: i64,
    /// End of its validity, milliseconds since the epoch.
    pub not_after_ms: i64,
    /// Whether it is a certificate of the server.
    pub is_server: bool,
    /// Nodes that it names by URI.
    pub nodes: Vec<String>,
    /// Host names that it names.
    pub dns: Vec<String>,
    /// Addresses that it names.
    pub addresses: Vec<IpAddr>,
}

/// The bytes are not a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct NotACertificate;

impl Facts {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// When it is not a certificate.
    pub fn of(certificate: &[u8]) -> Result<Self, NotACertificate> {
        read(certificate).ok_or(NotACertificate)
    }
}

fn read(certificate: &[u8]) -> Option<Facts> {
    let mut all = Reader::new(certificate);
    let mut body = all.expect(der::SEQUENCE)?.inside().expect(der::SEQUENCE)?.inside();
    if !all.is_empty() {
        return None;
    }
    let version = 0xa0;
    body.optional(version);
    let mut facts = Facts { serial: body.expect(der::INTEGER)?.content.to_vec(), ..Facts::default() };
    let (_algorithm, _issuer) = (body.expect(der::SEQUENCE)?, body.expect(der::SEQUENCE)?);
    let mut validity = body.expect(der::SEQUENCE)?.inside();
    facts.not_before_ms = time_ms(validity.next()?)?;
    facts.not_after_ms = time_ms(validity.next()?)?;
    let (_subject, _key) = (body.expect(der::SEQUENCE)?, body.expect(der::SEQUENCE)?);
    while !body.is_empty() {
        let element = body.next()?;
        let extensions = 0xa3;
        if element.tag != extensions {
            continue;
        }
        let mut list = element.inside().expect(der::SEQUENCE)?.inside();
        while !list.is_empty() {
            let mut extension = list.expect(der::SEQUENCE)?.inside();
            if extension.expect(der::OBJECT)?.content != ALTERNATIVE_NAMES {
                continue;
            }
            let critical = 0x01;
            extension.optional(critical);
            let names = extension.expect(der::OCTET_STRING)?.inside().expect(der::SEQUENCE)?;
            take_names(names.inside(), &mut facts)?;
        }
    }
    Some(facts)
}

fn take_names(mut names: Reader<'_>, facts: &mut Facts) -> Option<()> {
    let (dns, uri, address) = (0x82, 0x86, 0x87);
    while !names.is_empty() {
        let name = names.next()?;
        if name.tag == dns {
            facts.dns.push(std::str::from_utf8(name.content).ok()?.to_owned());
        } else if name.tag == uri {
            let text = std::str::from_utf8(name.content).ok()?;
            facts.is_server |= text == SERVER_URI;
            facts.nodes.extend(text.strip_prefix(NODE_URI).map(str::to_owned));
        } else if name.tag == address {
            let v4 = <[u8; 4]>::try_from(name.content).map(IpAddr::from);
            facts.addresses.extend(v4.or_else(|_| <[u8; 16]>::try_from(name.content).map(IpAddr::from)));
        }
    }
    Some(())
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ` in milliseconds since the epoch.
fn time_ms(element: Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(element.content).ok()?.strip_suffix('Z')?;
    let text = match element.tag {
        // RFC 5280: two digits from 50 on are of the last century.
        der::UTC_TIME if text.len() == 12 => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        der::GENERALIZED_TIME if text.len() == 14 => text.to_owned(),
        _ => return None,
    };
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = number(8, 10)? * 3600 + number(10, 12)? * 60 + number(12, 14)?;
    Some((days_since_epoch(year, month, day) * 86_400 + seconds) * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_kinds_are_read() {
        let ms = |tag, text: &str| time_ms(Element { tag, content: text.as_bytes(), raw: &[] });
        assert_eq!(ms(der::UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(ms(der::UTC_TIME, "240229123456Z"), Some(1_709_210_096_000));
        assert_eq!(ms(der::GENERALIZED_TIME, "20991231235959Z"), Some(4_102_444_799_000));
        for bad in ["", "Z", "24022912345Z", "241329123456Z", "2402291234x6Z", "24022912345600"] {
            assert_eq!(ms(der::UTC_TIME, bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_an_error() {
        for bad in [&b""[..], b"-----BEGIN", &[0x30, 0x82, 0xff, 0xff], &[0x30, 2, 0x30, 0]] {
            assert_eq!(Facts::of(bad), Err(NotACertificate));
        }
    }
}
