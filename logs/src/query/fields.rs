//! The labels of a line on its way through a pipeline.

use std::borrow::Cow;

use binnacle_proto::Labels;

/// Name of the label that says what went wrong.
pub(crate) const ERROR: &str = "__error__";
/// Name of the label that says more about it.
pub(crate) const ERROR_DETAILS: &str = "__error_details__";

/// Where a label comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The stream.
    Stream,
    /// Structured metadata.
    Metadata,
    /// The pipeline.
    Parsed,
}

/// One label.
#[derive(Debug, Clone)]
pub(crate) struct Field<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: Cow<'a, str>,
    /// Where it comes from.
    pub kind: Kind,
}

/// The labels of a line; no name twice.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a> {
    items: Vec<Field<'a>>,
    error: Option<&'static str>,
    details: String,
}

impl<'a> Fields<'a> {
    /// Starts with the labels of the stream and the metadata of the record.
    pub fn reset(&mut self, stream: &'a Labels, metadata: Option<&'a Labels>) {
        self.items.clear();
        self.error = None;
        let field =
            |(name, value), kind| Field { name: Cow::Borrowed(name), value: Cow::Borrowed(value), kind };
        self.items.extend(stream.iter().map(|pair| field(pair, Kind::Stream)));
        if let Some(metadata) = metadata {
            for (name, value) in metadata.iter() {
                if self.find(name).is_none() {
                    self.items.push(field((name, value), Kind::Metadata));
                }
            }
        }
    }

    #[inline]
    fn find(&self, name: &str) -> Option<usize> {
        self.items.iter().position(|field| field.name == name)
    }

    /// The value of a label; empty when it is absent.
    #[inline]
    pub fn get(&self, name: &str) -> &str {
        match name {
            ERROR => self.error.unwrap_or_default(),
            ERROR_DETAILS if self.error.is_some() => &self.details,
            _ => self.find(name).map_or("", |at| &self.items[at].value),
        }
    }

    /// Whether there is such a label.
    pub fn has(&self, name: &str) -> bool {
        if name == ERROR { self.error.is_some() } else { self.find(name).is_some() }
    }

    /// Sets a label that a parser found. One that the stream has keeps its name there, and the new one
    /// gets the suffix `_extracted`.
    pub fn extract(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match self.find(&name) {
            Some(at) if self.items[at].kind == Kind::Parsed => self.items[at].value = value,
            Some(_) => {
                let name = format!("{name}_extracted");
                self.set(Cow::Owned(name), value);
            }
            None => self.items.push(Field { name, value, kind: Kind::Parsed }),
        }
    }

    /// Sets a label, wherever it came from.
    pub fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        match self.find(&name) {
            Some(at) => {
                self.items[at].value = value;
                self.items[at].kind = Kind::Parsed;
            }
            None => self.items.push(Field { name, value, kind: Kind::Parsed }),
        }
    }

    /// Adds a label as if the record had come with it.
    pub fn add_metadata(&mut self, name: &'static str, value: &'static str) {
        self.items.push(Field {
            name: Cow::Borrowed(name),
            value: Cow::Borrowed(value),
            kind: Kind::Metadata,
        });
    }

    /// Removes a label and answers it.
    pub fn take(&mut self, name: &str) -> Option<Field<'a>> {
        match name {
            ERROR => {
                self.error = None;
                None
            }
            _ => self.find(name).map(|at| self.items.remove(at)),
        }
    }

    /// Keeps labels for which `keep` says yes.
    pub fn retain(&mut self, keep: impl FnMut(&mut Field<'a>) -> bool) {
        self.items.retain_mut(keep);
    }

    /// Notes what went wrong; the first error stays.
    pub fn fail(&mut self, error: &'static str, details: &str) {
        if self.error.is_none() {
            self.error = Some(error);
            self.details.clear();
            self.details.push_str(details);
        }
    }

    /// What went wrong.
    pub fn error(&self) -> Option<&'static str> {
        self.error
    }

    /// All labels but the error.
    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.items.iter()
    }

    /// The labels of some kinds, and the error's with those of the pipeline.
    pub fn labels(&self, wanted: impl Fn(Kind) -> bool) -> Labels {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(self.items.len() + 2);
        pairs.extend(self.items.iter().filter(|field| wanted(field.kind)).map(|f| (&*f.name, &*f.value)));
        if let Some(error) = self.error
            && wanted(Kind::Parsed)
        {
            pairs.push((ERROR, error));
            if !self.details.is_empty() {
                pairs.push((ERROR_DETAILS, &self.details));
            }
        }
        // Names are unique and not empty: parsers make sure of it.
        Labels::from_pairs(pairs).unwrap_or_default()
    }
}
