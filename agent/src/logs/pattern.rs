//! Patterns of paths: `*` stands for anything but `/`.

/// Longest pattern, in bytes.
pub(super) const MAX_PATTERN: usize = 1024;

/// Whether `text` is what the pattern says. Takes at most the product of the two lengths in steps, however many stars
/// there are: patterns come from annotations.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), text.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if name_matches(pattern, name) => {}
            _ => return false,
        }
    }
}

/// The same for one name of a path.
pub(super) fn name_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where the last star is, and up to where it reaches.
    let mut star = None;
    while of < name.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, of));
            at += 1;
        } else if pattern.get(at) == Some(&name[of]) {
            at += 1;
            of += 1;
        } else if let Some((star_at, reach)) = star {
            star = Some((star_at, reach + 1));
            at = star_at + 1;
            of = reach + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Whether it can be the pattern of a file: absolute, without `..`, not too long.
pub(crate) fn is_path(pattern: &str) -> bool {
    pattern.len() <= MAX_PATTERN
        && pattern.starts_with('/')
        && !pattern.ends_with('/')
        && !pattern.contains('\0')
        && !pattern.split('/').any(|name| name == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_do_not_cross_directories() {
        assert!(matches("/var/*/a-*.log", "/var/x/a-1.log"));
        assert!(matches("/var/*", "/var/é.log") && matches("/a*b*c", "/a-b-b-c"));
        assert!(!matches("/var/*.log", "/var/x/a.log"));
        assert!(!matches("/var/a.log", "/var/a.log.1"));
        assert!(!matches("/a*b", "/a-b-"));
    }

    #[test]
    fn many_stars_take_no_time() {
        let (pattern, name) = (format!("/{}b", "*a".repeat(200)), format!("/{}", "a".repeat(250)));
        assert!(!matches(&pattern, &name));
    }

    #[test]
    fn paths_are_absolute_and_lead_nowhere_else() {
        assert!(is_path("/var/log/*.log"));
        for bad in ["", "a.log", "/a/../b", "/a/", "/a\0b", &format!("/{}", "x".repeat(MAX_PATTERN))] {
            assert!(!is_path(bad), "{bad:?}");
        }
    }
}
