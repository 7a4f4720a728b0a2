//! From matchers to sets: look-ups where the values are known, scans of one label's values where not.

use roaring::RoaringBitmap;

use super::{Postings, regexes};
use crate::Error;
use crate::select::{Guard, MatchTest, Matcher};

/// How often a scan over values looks at the clock.
const CHECK_EVERY: usize = 1024;

/// How one matcher is answered.
enum Step<'a> {
    /// Series with one of these values.
    Include(&'a str, Vec<String>),
    /// Series without any of these values.
    Exclude(&'a str, Vec<String>),
    /// Series whose value starts with the prefix and satisfies the matcher, which an absent label does not.
    ScanIn(&'a Matcher, String),
    /// All but series with a value that does not satisfy the matcher, which an absent label does.
    ScanOut(&'a Matcher),
}

/// The plan of a selection; it is the same for every day.
pub(crate) struct Plan<'a> {
    /// What narrows first, then what only takes away.
    steps: Vec<Step<'a>>,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(matchers: &'a [Matcher]) -> Self {
        let mut steps: Vec<Step> = matchers.iter().map(step).collect();
        steps.sort_by_key(|step| match step {
            Step::Include(..) => 0,
            Step::ScanIn(..) => 1,
            Step::Exclude(..) => 2,
            Step::ScanOut(..) => 3,
        });
        Self { steps }
    }

    /// The series that satisfy all matchers.
    pub(crate) fn run(&self, postings: &dyn Postings, guard: &Guard) -> Result<RoaringBitmap, Error> {
        let mut found: Option<RoaringBitmap> = None;
        for step in &self.steps {
            guard.check()?;
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            match step {
                Step::Include(name, values) => {
                    narrow(&mut found, union(postings, name, values)?);
                }
                Step::ScanIn(matcher, prefix) => {
                    let set = scan(postings, matcher, prefix, true, guard)?;
                    narrow(&mut found, set);
                }
                Step::Exclude(name, values) => {
                    *or_all(&mut found, postings)? -= union(postings, name, values)?;
                }
                Step::ScanOut(matcher) => {
                    let out = scan(postings, matcher, "", false, guard)?;
                    *or_all(&mut found, postings)? -= out;
                }
            }
        }
        match found {
            Some(found) => Ok(found),
            None => Ok(postings.all()?),
        }
    }
}

fn step(matcher: &Matcher) -> Step<'_> {
    let name = matcher.name.as_str();
    match &matcher.test {
        MatchTest::Equal(value) if !value.is_empty() => Step::Include(name, vec![value.clone()]),
        MatchTest::NotEqual(value) if !value.is_empty() => Step::Exclude(name, vec![value.clone()]),
        MatchTest::Regex(regex) => match regexes::literals(regex.as_str()) {
            Some(values) if values.iter().all(|value| !value.is_empty()) => Step::Include(name, values),
            _ => scanned(matcher, regexes::prefix(regex.as_str())),
        },
        MatchTest::NotRegex(regex) => match regexes::literals(regex.as_str()) {
            Some(values) if values.iter().all(|value| !value.is_empty()) => Step::Exclude(name, values),
            _ => scanned(matcher, String::new()),
        },
        MatchTest::Equal(_) | MatchTest::NotEqual(_) => scanned(matcher, String::new()),
    }
}

fn scanned(matcher: &Matcher, prefix: String) -> Step<'_> {
    if matcher.matches_value("") { Step::ScanOut(matcher) } else { Step::ScanIn(matcher, prefix) }
}

fn narrow(found: &mut Option<RoaringBitmap>, set: RoaringBitmap) {
    match found {
        Some(found) => *found &= set,
        None => *found = Some(set),
    }
}

fn or_all<'f>(
    found: &'f mut Option<RoaringBitmap>,
    postings: &dyn Postings,
) -> Result<&'f mut RoaringBitmap, Error> {
    match found {
        Some(found) => Ok(found),
        None => Ok(found.insert(postings.all()?)),
    }
}

fn union(postings: &dyn Postings, name: &str, values: &[String]) -> Result<RoaringBitmap, Error> {
    let mut all = RoaringBitmap::new();
    for value in values {
        all |= postings.equal(name, value)?;
    }
    Ok(all)
}

/// Series with a value of the matcher's label for which it says `wanted`.
fn scan(
    postings: &dyn Postings,
    matcher: &Matcher,
    prefix: &str,
    wanted: bool,
    guard: &Guard,
) -> Result<RoaringBitmap, Error> {
    let mut all = RoaringBitmap::new();
    let (mut seen, mut stopped) = (0usize, Ok(()));
    postings.scan(&matcher.name, prefix, &mut |value, set| {
        seen += 1;
        if seen.is_multiple_of(CHECK_EVERY) {
            stopped = guard.check();
        }
        if matcher.matches_value(value) == wanted {
            all |= set.as_ref();
        }
        stopped.is_ok()
    })?;
    stopped?;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use binnacle_proto::Labels;
    use proptest::prelude::*;

    use super::*;
    use crate::index::MemoryIndex;
    use crate::select::GuardLimits;

    fn matcher() -> impl Strategy<Value = Matcher> {
        let values: &'static [&str] = &["", "a", "b", "ab", "c"];
        let patterns: &'static [&str] = &["", ".*", ".+", "a|b", "a.*", "a?b?", "(a|ab)", "[abc]", "a|", "x"];
        let test = prop_oneof![
            prop::sample::select(values).prop_map(|v| MatchTest::Equal(v.into())),
            prop::sample::select(values).prop_map(|v| MatchTest::NotEqual(v.into())),
            prop::sample::select(patterns).prop_map(|p| MatchTest::Regex(Matcher::anchored(p).unwrap())),
            prop::sample::select(patterns).prop_map(|p| MatchTest::NotRegex(Matcher::anchored(p).unwrap())),
        ];
        (prop::sample::select(vec!["x", "y", "z"]), test)
            .prop_map(|(name, test)| Matcher { name: name.into(), test })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_plan_finds_what_the_matchers_match(matchers in prop::collection::vec(matcher(), 0..4)) {
            let values = ["", "a", "b", "ab", "c"];
            let mut index = MemoryIndex::default();
            let mut sets = Vec::new();
            for x in values {
                for y in values {
                    let labels = Labels::from_pairs([("x", x), ("y", y)]).unwrap();
                    index.insert(sets.len() as u32, &labels);
                    sets.push(labels);
                }
            }
            #[expect(clippy::disallowed_methods, reason = "a guard needs an instant")]
            let guard = Guard::new(GuardLimits::default(), Instant::now());
            let found = Plan::new(&matchers).run(&index, &guard).unwrap();
            let want: RoaringBitmap = (0..sets.len() as u32)
                .filter(|id| matchers.iter().all(|matcher| matcher.matches(&sets[*id as usize])))
                .collect();
            prop_assert_eq!(found, want);
        }
    }
}
