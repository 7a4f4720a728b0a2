//! `ip("…")`: addresses, ranges and networks, found in text.

use std::net::IpAddr;

/// What `ip("…")` looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IpMatcher {
    first: IpAddr,
    last: IpAddr,
}

/// Whether `text` is an address, a range or a network.
pub(crate) fn check_ip(text: &str) -> Result<(), String> {
    IpMatcher::new(text).map(|_| ())
}

impl IpMatcher {
    /// Reads `192.168.4.5`, `192.168.4.1-192.168.4.9`, `192.168.4.0/24` and the same with IPv6.
    pub fn new(text: &str) -> Result<Self, String> {
        let bad = || format!("ip({text:?}): neither an address nor a range nor a network");
        let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| bad());
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            if first.is_ipv4() != last.is_ipv4() || first > last {
                return Err(bad());
            }
            return Ok(Self { first, last });
        }
        let Some((base, bits)) = text.split_once('/') else {
            let first = address(text)?;
            return Ok(Self { first, last: first });
        };
        let bits: u32 = bits.trim().parse().map_err(|_| bad())?;
        match address(base)? {
            IpAddr::V4(base) if bits <= 32 => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let base = u32::from(base) & !host;
                Ok(Self { first: IpAddr::V4(base.into()), last: IpAddr::V4((base | host).into()) })
            }
            IpAddr::V6(base) if bits <= 128 => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let base = u128::from(base) & !host;
                Ok(Self { first: IpAddr::V6(base.into()), last: IpAddr::V6((base | host).into()) })
            }
            _ => Err(bad()),
        }
    }

    /// Whether a text is such an address.
    pub fn is(&self, text: &str) -> bool {
        text.parse().is_ok_and(|ip| self.holds(ip))
    }

    fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.first.is_ipv4() && self.first <= ip && ip <= self.last
    }

    /// Whether there is such an address in a line.
    pub fn finds(&self, line: &[u8]) -> bool {
        let v4 = self.first.is_ipv4();
        let part = |b: &u8| {
            if v4 {
                b.is_ascii_digit() || *b == b'.'
            } else {
                b.is_ascii_hexdigit() || *b == b':' || *b == b'.'
            }
        };
        line.split(|b| !part(b)).any(|word| {
            // A sentence may end after an address, and an IPv4 address may be followed by a port.
            let text = std::str::from_utf8(word).unwrap_or_default();
            let text = if v4 { text.trim_matches('.') } else { text.trim_end_matches('.') };
            text.len() > 1 && (self.is(text) || self.is(text.trim_end_matches(':')))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_ranges_and_addresses_are_found_in_text() {
        let found = |ip: &str, line: &str| IpMatcher::new(ip).unwrap().finds(line.as_bytes());
        assert!(found("10.0.0.0/8", "from 10.1.2.3:8080 ok"));
        assert!(!found("10.0.0.0/8", "from 11.1.2.3 ok"));
        assert!(found("10.0.0.1-10.0.0.5", "a=10.0.0.5."));
        assert!(!found("10.0.0.1-10.0.0.5", "a=10.0.0.55"));
        assert!(found("::1", "[::1]:9090"));
        assert!(found("2001:db8::/32", "x 2001:db8::7 y"));
        assert!(found("0.0.0.0/0", "1.2.3.4"));
        assert!(IpMatcher::new("10.0.0").is_err() && IpMatcher::new("10.0.0.9-10.0.0.1").is_err());
        assert!(IpMatcher::new("10.0.0.0/33").is_err());
    }
}
