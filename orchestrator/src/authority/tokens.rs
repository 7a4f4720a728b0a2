//! Join tokens: made, listed, revoked, redeemed. A file each; of the secret only its hash is kept.

use std::fs;
use std::path::PathBuf;

use binnacle_proto::identity::{Token, node_uri};
use serde::{Deserialize, Serialize};

use super::issue::{bad_name, random};
use super::metrics::Reason;
use super::{Authority, Error, NodeRecord, files};

/// Most tokens that have not expired.
const MAX_TOKENS: usize = 1_000;
/// Most nodes that one token lets in.
pub(crate) const MAX_USES: u32 = 10_000;
/// Longest life of a token: a year.
const MAX_TTL_MS: i64 = 365 * 86_400_000;

/// What is kept of a token.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// SHA-256 of id and secret, hexadecimal.
    hash: String,
    /// The only node that may join with it.
    node: Option<String>,
    expires_ms: i64,
    /// How many nodes may join with it.
    uses: u32,
    /// Who did.
    used: Vec<Use>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Use {
    node: String,
    /// SHA-256 of the node's key, hexadecimal: the same key may ask again when the answer was lost.
    key: String,
    at_ms: i64,
}

/// What who wants to join says.
pub(super) struct Claim<'a> {
    /// Id and secret of the token.
    pub credential: &'a str,
    pub node: &'a str,
    /// SHA-256 of the key, hexadecimal.
    pub key: &'a str,
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub id: String,
    pub node: Option<String>,
    pub expires_ms: i64,
    pub uses: u32,
    /// Nodes that joined with it.
    pub used: Vec<String>,
}

impl Authority {
    /// Makes a token for `uses` nodes, or for `node` alone.
    pub(crate) fn create_token(
        &self,
        node: Option<String>,
        uses: u32,
        ttl_ms: i64,
        now_ms: i64,
    ) -> Result<Token, Error> {
        if let Some(node) = node.as_deref().filter(|node| node_uri(node).is_none()) {
            return Err(bad_name(node));
        }
        if !(1..=MAX_USES).contains(&uses) || (node.is_some() && uses > 1) {
            let text = format!("a token serves 1 to {MAX_USES} nodes, and one when it names the node");
            return Err(Error::Refused(text));
        }
        if !(1..=MAX_TTL_MS).contains(&ttl_ms) {
            return Err(Error::Refused("a token lives at most 365d".into()));
        }
        let _lock = self.lock()?;
        self.drop_expired(now_ms)?;
        if files::records(&self.tokens())?.len() >= MAX_TOKENS {
            return Err(Error::Refused(format!(
                "{MAX_TOKENS} tokens are valid already: revoke some with `binnacle token revoke ID`"
            )));
        }
        let token = Token::new(self.fingerprint(), random()?);
        let Some((id, hash)) = Token::read_credential(&token.credential()) else {
            return Err(Error::Crypto("a token that cannot be read".into()));
        };
        let record = Record { hash, node, expires_ms: now_ms + ttl_ms, uses, used: Vec::new() };
        files::write_record(&self.token_path(&id), &record)?;
        Ok(token)
    }

    /// All tokens that have not expired, those that are used up too.
    pub(crate) fn list_tokens(&self, now_ms: i64) -> Result<Vec<Listed>, Error> {
        let _lock = self.lock()?;
        self.drop_expired(now_ms)?;
        let mut listed = Vec::new();
        for (id, path) in files::records(&self.tokens())? {
            let Record { node, expires_ms, uses, used, .. } = files::read_record(&path)?;
            let used = used.into_iter().map(|one| one.node).collect();
            listed.push(Listed { id, node, expires_ms, uses, used });
        }
        Ok(listed)
    }

    /// Makes a token worthless. Nodes that have joined with it stay.
    pub(crate) fn revoke_token(&self, id: &str) -> Result<(), Error> {
        let _lock = self.lock()?;
        let known = files::records(&self.tokens())?.into_iter().find(|(known, _)| known == id);
        let (_, path) = known.ok_or_else(|| Error::Refused(format!("there is no token {id}")))?;
        fs::remove_file(&path).map_err(|error| Error::io(&path, error))
    }

    /// Uses a token up. `known` is what is kept of the node of that name: while an agent holds the name,
    /// or after it was thrown out, only a token for that very node will do. The caller holds the lock.
    pub(super) fn redeem(
        &self,
        claim: &Claim<'_>,
        known: Option<&NodeRecord>,
        now_ms: i64,
    ) -> Result<Result<(), Reason>, Error> {
        let Some((id, hash)) = Token::read_credential(claim.credential) else {
            return Ok(Err(Reason::TokenUnknown));
        };
        let path = self.token_path(&id);
        if !path.exists() {
            return Ok(Err(Reason::TokenUnknown));
        }
        let mut record: Record = files::read_record(&path)?;
        // Hashes are compared: how long that takes says nothing about the secret.
        if record.hash != hash {
            return Ok(Err(Reason::TokenUnknown));
        }
        if now_ms >= record.expires_ms {
            return Ok(Err(Reason::TokenExpired));
        }
        let revoked_ms = known.and_then(|known| known.revoked_ms);
        let repeats = |one: &Use| one.node == claim.node && one.key == claim.key;
        if record.used.iter().any(|one| repeats(one) && revoked_ms.is_none_or(|ms| ms < one.at_ms)) {
            return Ok(Ok(()));
        }
        if record.used.len() >= record.uses as usize {
            return Ok(Err(Reason::TokenUsed));
        }
        let taken = known.is_some_and(|known| known.holds(now_ms) || known.revoked_ms.is_some());
        match &record.node {
            Some(only) if only != claim.node => return Ok(Err(Reason::TokenNode)),
            None if taken => return Ok(Err(Reason::NameTaken)),
            _ => {}
        }
        record.used.push(Use { node: claim.node.into(), key: claim.key.into(), at_ms: now_ms });
        files::write_record(&path, &record)?;
        Ok(Ok(()))
    }

    fn drop_expired(&self, now_ms: i64) -> Result<(), Error> {
        for (_, path) in files::records(&self.tokens())? {
            if files::read_record::<Record>(&path)?.expires_ms <= now_ms {
                fs::remove_file(&path).map_err(|error| Error::io(&path, error))?;
            }
        }
        Ok(())
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// `id` is hexadecimal, as [`Token::read_credential`] has seen to.
    fn token_path(&self, id: &str) -> PathBuf {
        self.tokens().join(format!("{id}.json"))
    }
}
