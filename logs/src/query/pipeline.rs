//! Pipelines ready to run: what happens to one line.

mod labels;
mod parsers;

use std::borrow::Cow;

use super::fields::Fields;
use super::filter::LineTest;
use super::json;
use super::level::{self, DETECTED_LEVEL};
use super::pattern::Pattern;
use super::template::Template;
use crate::Error;
use crate::logql::{FormatValue, LabelFilter, NameFilter, Stage};

pub(in crate::query) use labels::{LabelTest, holds, label_test, parse_number};

/// A line on its way.
pub(crate) struct Row<'a> {
    /// Nanoseconds since the epoch.
    pub time_ns: i64,
    /// The line.
    pub line: Cow<'a, [u8]>,
    /// Its labels.
    pub fields: Fields<'a>,
}

/// Which labels a query can make use of; parsers leave out the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Any.
    All,
    /// These.
    Only(Vec<String>),
}

enum Step {
    Line(LineTest),
    Json,
    JsonPaths(Vec<(String, Vec<json::Step>)>),
    Logfmt { strict: bool, keep_empty: bool, keys: Vec<(String, String)> },
    Regexp(regex::Regex),
    Pattern(Pattern),
    Unpack,
    Decolorize,
    Label(LabelTest),
    LineFormat(Template),
    LabelFormat(Vec<(String, Format)>),
    Drop(Vec<NameFilter>),
    Keep(Vec<NameFilter>),
}

enum Format {
    Rename(String),
    Template(Template),
}

/// A pipeline ready to run.
pub(crate) struct Pipeline {
    /// Line filters that see the line as it was stored; they come first, whatever their place.
    pub first: Vec<LineTest>,
    steps: Vec<Step>,
    needs: Needs,
    detect_level: bool,
}

impl Pipeline {
    /// Prepares stages. `wanted` are the labels that the query uses after the pipeline.
    ///
    /// # Errors
    /// When a stage is not acceptable.
    pub fn new(stages: &[Stage], wanted: Needs, always_detect_level: bool) -> Result<Self, Error> {
        let mut needs = wanted;
        let mut detects = false;
        let mut first = Vec::new();
        let mut steps = Vec::new();
        let mut line_is_stored = true;
        for stage in stages {
            let step = step(stage).map_err(Error::BadInput)?;
            names_used(stage, &mut |name| {
                detects |= name == DETECTED_LEVEL;
                if let Needs::Only(names) = &mut needs {
                    names.push(name.to_owned());
                }
            });
            line_is_stored &= !matches!(step, Step::LineFormat(_) | Step::Unpack | Step::Decolorize);
            match step {
                Step::Line(test) if line_is_stored => first.push(test),
                step => steps.push(step),
            }
        }
        if let Needs::Only(names) = &needs {
            detects |= names.iter().any(|name| name == DETECTED_LEVEL);
        }
        Ok(Self { first, steps, needs, detect_level: detects || always_detect_level })
    }

    /// Whether lines pass unseen and labels stay as they are.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && !self.has_steps()
    }

    /// Whether labels or lines may change, or labels decide.
    pub fn has_steps(&self) -> bool {
        !self.steps.is_empty() || self.detect_level
    }

    /// Runs all but the first line filters; `false` drops the line.
    pub fn run<'a>(&'a self, row: &mut Row<'a>) -> bool {
        if self.detect_level && !row.fields.has(DETECTED_LEVEL) {
            let level = level::detect(&row.fields, &text(&row.line));
            row.fields.add_metadata(DETECTED_LEVEL, level);
        }
        self.steps.iter().all(|step| self.apply(step, row))
    }

    fn wants(&self, name: &str, as_parent: bool) -> bool {
        match &self.needs {
            Needs::All => true,
            Needs::Only(names) => names.iter().any(|wanted| {
                // A field that the stream has too is asked for under its other name.
                let wanted_name = wanted.strip_suffix("_extracted").unwrap_or(wanted);
                if as_parent {
                    wanted.len() > name.len()
                        && wanted.starts_with(name)
                        && wanted.as_bytes()[name.len()] == b'_'
                } else {
                    wanted == name || wanted_name == name
                }
            }),
        }
    }

    fn apply<'a>(&'a self, step: &'a Step, row: &mut Row<'a>) -> bool {
        match step {
            Step::Line(test) => return test.passes(&row.line),
            Step::Label(test) => return test.passes(&mut row.fields),
            Step::Json => self.json(row),
            Step::JsonPaths(paths) => parsers::json_paths(paths, row),
            Step::Logfmt { strict, keep_empty, keys } => self.logfmt(*strict, *keep_empty, keys, row),
            Step::Regexp(regex) => parsers::regexp(regex, row),
            Step::Pattern(pattern) => parsers::pattern(pattern, row),
            Step::Unpack => parsers::unpack(row),
            Step::Decolorize => parsers::decolorize(row),
            Step::LineFormat(template) => match template.render(row.time_ns, &text(&row.line), &row.fields) {
                Ok(line) => row.line = Cow::Owned(line.into_bytes()),
                Err(reason) => row.fields.fail("TemplateFormatErr", &reason),
            },
            Step::LabelFormat(formats) => {
                formats.iter().for_each(|(name, format)| reformat(name, format, row))
            }
            Step::Drop(names) => {
                for name in names {
                    drop_label(name, &mut row.fields);
                }
            }
            Step::Keep(names) => keep_labels(names, &mut row.fields),
        }
        true
    }
}

/// The line as text; what is not UTF-8 is replaced.
fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line)
}

fn reformat<'a>(name: &'a str, format: &'a Format, row: &mut Row<'a>) {
    match format {
        Format::Rename(from) => {
            if let Some(field) = row.fields.take(from) {
                row.fields.set(Cow::Borrowed(name), field.value);
            }
        }
        Format::Template(template) => match template.render(row.time_ns, &text(&row.line), &row.fields) {
            Ok(value) => row.fields.set(Cow::Borrowed(name), Cow::Owned(value)),
            Err(reason) => row.fields.fail("TemplateFormatErr", &reason),
        },
    }
}

fn drop_label(name: &NameFilter, fields: &mut Fields<'_>) {
    match name {
        NameFilter::Name(name) => drop(fields.take(name)),
        NameFilter::Match(matcher) => {
            let present = fields.has(&matcher.name);
            if present && matcher.matches_value(fields.get(&matcher.name)) {
                fields.take(&matcher.name);
            }
        }
    }
}

fn keep_labels(names: &[NameFilter], fields: &mut Fields<'_>) {
    fields.retain(|field| {
        names.iter().any(|name| match name {
            NameFilter::Name(name) => field.name == name.as_str(),
            NameFilter::Match(matcher) => {
                field.name == matcher.name.as_str() && matcher.matches_value(&field.value)
            }
        })
    });
}

fn step(stage: &Stage) -> Result<Step, String> {
    Ok(match stage {
        Stage::Line(filter) => Step::Line(LineTest::new(filter)?),
        Stage::Json(paths) if paths.is_empty() => Step::Json,
        Stage::Json(paths) => {
            let parse = |(name, path): &(String, String)| Ok((name.clone(), json::parse_path(path)?));
            Step::JsonPaths(paths.iter().map(parse).collect::<Result<_, String>>()?)
        }
        Stage::Logfmt { strict, keep_empty, fields } => {
            Step::Logfmt { strict: *strict, keep_empty: *keep_empty, keys: fields.clone() }
        }
        Stage::Regexp(text) => {
            let built = regex::RegexBuilder::new(text).size_limit(crate::matcher::REGEX_SIZE_LIMIT).build();
            Step::Regexp(built.map_err(|err| err.to_string())?)
        }
        Stage::Pattern(text) => Step::Pattern(Pattern::new(text, true)?),
        Stage::Unpack => Step::Unpack,
        Stage::Decolorize => Step::Decolorize,
        Stage::Label(filter) => Step::Label(label_test(filter)?),
        Stage::LineFormat(text) => Step::LineFormat(Template::new(text)?),
        Stage::LabelFormat(formats) => {
            let prepare = |(name, value): &(String, FormatValue)| {
                let format = match value {
                    FormatValue::Rename(from) => Format::Rename(from.clone()),
                    FormatValue::Template(text) => Format::Template(Template::new(text)?),
                };
                Ok((name.clone(), format))
            };
            Step::LabelFormat(formats.iter().map(prepare).collect::<Result<_, String>>()?)
        }
        Stage::Drop(names) => Step::Drop(names.clone()),
        Stage::Keep(names) => Step::Keep(names.clone()),
    })
}

/// Calls `each` with every label that a stage reads.
fn names_used(stage: &Stage, each: &mut dyn FnMut(&str)) {
    fn of_filter(filter: &LabelFilter, each: &mut dyn FnMut(&str)) {
        match filter {
            LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
                of_filter(left, each);
                of_filter(right, each);
            }
            LabelFilter::Text(matcher) => each(&matcher.name),
            LabelFilter::Number { name, .. } | LabelFilter::Ip { name, .. } => each(name),
        }
    }
    match stage {
        Stage::Label(filter) => of_filter(filter, each),
        Stage::LineFormat(text) => template_names(text, each),
        Stage::LabelFormat(formats) => {
            for (_, value) in formats {
                match value {
                    FormatValue::Rename(from) => each(from),
                    FormatValue::Template(text) => template_names(text, each),
                }
            }
        }
        _ => {}
    }
}

fn template_names(text: &str, each: &mut dyn FnMut(&str)) {
    if let Ok(template) = Template::new(text) {
        template.names(each);
    }
}
