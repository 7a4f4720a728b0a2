//! What the evaluator asks of storage, and the limits under which it asks.

mod guard;
mod memory;
mod segments;

use binnacle_proto::Labels;

pub use guard::{Guard, GuardLimits, LimitError};
pub use memory::MemorySource;
pub use segments::Segments;
pub(crate) use segments::differ;

use crate::Error;

/// Widths in milliseconds of the buckets in which storage sums samples up, the widest first, with what
/// `explain` calls them.
pub(crate) const BUCKETS: [(i64, &str); 2] = [(3_600_000, "1h"), (300_000, "5m")];

/// A condition on one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    /// Label name; `__name__` for the metric's name.
    pub name: String,
    /// How the value is compared. An absent label compares as the empty string.
    pub test: MatchTest,
}

/// How a label value is compared.
#[derive(Debug, Clone)]
pub enum MatchTest {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`, anchored at both ends.
    Regex(regex::Regex),
    /// `!~`, anchored at both ends.
    NotRegex(regex::Regex),
}

/// Which samples a selector needs. Both ends are inclusive: the evaluator has already turned
/// left-open ranges, look-back, offsets and `@` into them.
#[derive(Debug, Clone)]
pub struct Select {
    /// All must hold. An empty list is refused by the parser, not here.
    pub matchers: Vec<Matcher>,
    /// First instant wanted, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Last instant wanted, in milliseconds since the epoch.
    pub end_ms: i64,
    /// What will be done with the samples, so that storage may answer from a rollup.
    pub hints: Hints,
}

/// How the samples will be used; storage may ignore all of it.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Distance of evaluation steps in milliseconds; 0 for an instant query.
    pub step_ms: i64,
    /// Length of the range selector in milliseconds; 0 for an instant selector.
    pub range_ms: i64,
    /// Innermost function applied, e.g. `rate`.
    pub function: Option<String>,
    /// Width in milliseconds of buckets from which the function can be answered as well, because all
    /// windows begin and end where such buckets do; 0 when there are none.
    pub bucket_ms: i64,
}

/// Series found, without their samples yet.
pub struct Selected {
    /// One label set a series, in no particular order, no two equal.
    pub series: Vec<Labels>,
    /// Reads the samples of `series[i]`, from any thread.
    pub reader: Box<dyn ReadSeries>,
    /// What the user must know of the answer, e.g. that a block was corrupt.
    pub warnings: Vec<String>,
}

/// Reads samples of selected series.
pub trait ReadSeries: Send + Sync {
    /// Appends the samples of series `index` within the selection's bounds to `out`, timestamps
    /// strictly ascending, staleness markers included.
    ///
    /// # Errors
    /// When storage fails or a limit of `guard` is reached.
    fn read(&self, index: usize, guard: &Guard, out: &mut Points) -> Result<(), Error>;

    /// Whether [`ReadSeries::read_segments`] spares work: some of the time is summed up in buckets as wide
    /// as [`Hints::bucket_ms`].
    fn has_segments(&self) -> bool {
        false
    }

    /// Appends the same samples to `out`, summed up in buckets of [`Hints::bucket_ms`]; false, and `out`
    /// undefined, when that is not possible for this series.
    ///
    /// # Errors
    /// As [`ReadSeries::read`].
    fn read_segments(&self, _index: usize, _guard: &Guard, _out: &mut Segments) -> Result<bool, Error> {
        Ok(false)
    }

    /// What made the reads so far doubtful. Ask after reading.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Something that PromQL can be evaluated over.
pub trait Source: Send + Sync {
    /// Finds the series that match.
    ///
    /// # Errors
    /// When storage fails or a limit of `guard` is reached.
    fn select(&self, select: &Select, guard: &Guard) -> Result<Selected, Error>;
}

/// Float samples of one series, as columns. Native histograms will be a third column with timestamps
/// of its own, so nothing may assume that these are all samples of the series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Points {
    /// Milliseconds since the epoch, strictly ascending.
    pub timestamps: Vec<i64>,
    /// One value for each timestamp.
    pub values: Vec<f64>,
}

impl Points {
    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Empties both columns and keeps their memory.
    pub fn clear(&mut self) {
        self.timestamps.clear();
        self.values.clear();
    }

    /// Appends one sample. The caller keeps timestamps ascending.
    pub fn push(&mut self, t_ms: i64, value: f64) {
        self.timestamps.push(t_ms);
        self.values.push(value);
    }
}

impl Matcher {
    /// Whether a label set satisfies the condition.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.name).unwrap_or_default())
    }

    /// Whether a value satisfies the condition; pass the empty string for an absent label.
    pub fn matches_value(&self, value: &str) -> bool {
        match &self.test {
            MatchTest::Equal(want) => value == want,
            MatchTest::NotEqual(want) => value != want,
            MatchTest::Regex(regex) => regex.is_match(value),
            MatchTest::NotRegex(regex) => !regex.is_match(value),
        }
    }

    /// Builds a regex condition: `pattern` is anchored at both ends, as PromQL wants it, and its
    /// compiled size is bounded.
    ///
    /// # Errors
    /// When the pattern is not a regex or too large; the text says which.
    pub fn anchored(pattern: &str) -> Result<regex::Regex, regex::Error> {
        regex::RegexBuilder::new(&format!("^(?s:{pattern})$")).size_limit(REGEX_SIZE_LIMIT).build()
    }
}

/// Largest compiled regex of a matcher, in bytes.
const REGEX_SIZE_LIMIT: usize = 4 << 20;
