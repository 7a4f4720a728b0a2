//! Join tokens: how they are written and read.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::Fingerprint;

/// Bytes of a token's public id and of its secret.
const ID_LEN: usize = 6;
const SECRET_LEN: usize = 16;

/// A join token. Its `Debug` hides the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The authority that the server must show.
    pub authority: Fingerprint,
    /// The public id.
    id: [u8; ID_LEN],
    secret: [u8; SECRET_LEN],
}

/// Why a text is not a join token. The text itself is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a join token: it must be the one line that `binnacle token create` printed")]
pub struct TokenError;

impl Token {
    /// A token from random bytes.
    pub fn new(authority: Fingerprint, random: [u8; ID_LEN + SECRET_LEN]) -> Self {
        let (mut id, mut secret) = ([0; ID_LEN], [0; SECRET_LEN]);
        id.copy_from_slice(&random[..ID_LEN]);
        secret.copy_from_slice(&random[ID_LEN..]);
        Self { authority, id, secret }
    }

    /// The public id, by which a token is listed and revoked.
    pub fn id(&self) -> String {
        hex(&self.id)
    }

    /// What goes to the server: id and secret.
    pub fn credential(&self) -> String {
        format!("{}.{}", hex(&self.id), hex(&self.secret))
    }

    /// The whole token as one line. Show it once, to who asked for it.
    pub fn reveal(&self) -> String {
        format!("{}.{}", self.authority, self.credential())
    }

    /// Takes a credential apart: the id, and the SHA-256 of the whole as it is stored.
    pub fn read_credential(credential: &str) -> Option<(String, String)> {
        let (id, secret) = credential.split_once('.')?;
        unhex::<ID_LEN>(id)?;
        unhex::<SECRET_LEN>(secret)?;
        let digest = ring::digest::digest(&ring::digest::SHA256, credential.as_bytes());
        Some((id.to_owned(), hex(digest.as_ref())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('.');
        let (Some(authority), Some(id), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError);
        };
        Ok(Self {
            authority: Fingerprint(unhex(authority).ok_or(TokenError)?),
            id: unhex(id).ok_or(TokenError)?,
            secret: unhex(secret).ok_or(TokenError)?,
        })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new(Fingerprint::of(b"authority"), std::array::from_fn(|at| at as u8))
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = token();
        assert_eq!(format!("{}\n", token.reveal()).parse::<Token>().unwrap(), token);
        assert_eq!(token.id(), "000102030405");
        let (id, hash) = Token::read_credential(&token.credential()).unwrap();
        assert_eq!((id.as_str(), hash.len()), ("000102030405", 64));
    }

    #[test]
    fn anything_else_is_refused() {
        let good = token().reveal();
        let bad = [String::new(), "a.b.c".into(), good[1..].into(), format!("{good}.x"), good.to_uppercase()];
        for bad in bad {
            assert_eq!(bad.parse::<Token>(), Err(TokenError), "{bad}");
        }
        for bad in ["", ".", "000102030405", "../../etc.00", "000102030405.zz"] {
            assert_eq!(Token::read_credential(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let token = token();
        let secret = token.credential().split_once('.').unwrap().1.to_owned();
        assert!(!format!("{token:?}").contains(&secret));
    }
}
