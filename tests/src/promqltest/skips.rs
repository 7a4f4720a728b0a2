//! The list of evaluations that are skipped, each with its reason.

use std::collections::BTreeMap;

/// Skips by script and line; line 0 stands for the whole script.
#[derive(Debug, Default)]
pub struct Skips(BTreeMap<(String, usize), String>);

impl Skips {
    /// Reads lines of `script.test:LINE reason`, or `script.test:* reason` for a whole script; `#` begins
    /// a comment.
    ///
    /// # Errors
    /// With the line that cannot be read.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut skips = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let entry = line.split_once(' ').and_then(|(place, reason)| {
                let (script, at) = place.rsplit_once(':')?;
                let at = if at == "*" { 0 } else { at.parse().ok()? };
                Some(((script.to_owned(), at), reason.trim().to_owned()))
            });
            let (place, reason) = entry.ok_or_else(|| format!("cannot read the skip {line:?}"))?;
            skips.insert(place, reason);
        }
        Ok(Self(skips))
    }

    /// The reason to skip the evaluation at a line, and whether that line itself is listed.
    pub(super) fn reason(&self, script: &str, line: usize) -> Option<(&str, bool)> {
        let of = |line| self.0.get(&(script.to_owned(), line)).map(String::as_str);
        of(line).map(|reason| (reason, true)).or_else(|| of(0).map(|reason| (reason, false)))
    }
}
