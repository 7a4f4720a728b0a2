//! Prometheus rule files: recording and alerting rules, evaluated over this database.
//!
//! ```text
//! files ─► file (YAML, expressions, templates) ─► manager ─► group ─► samples ─► db
//!                                                               └─► alert ─► notify ─► Alertmanager, webhooks
//! ```
//!
//! Rules of `log_files` differ in one thing: their expressions are evaluated by [`LogQueries`], which this
//! crate does not implement.

mod alert;
mod bounded;
mod file;
mod group;
mod manager;
mod notify;
mod scope;
mod template;
mod unit;
mod view;

pub use file::{Finding, MAX_FILE_BYTES, check};
pub(crate) use file::{Language, parse as parse_file};
pub use manager::{Handle, Manager, RulesConfig};
pub use notify::{
    Authorization, BasicAuth, HttpConfig, NotifierConfig, TlsConfig, WebhookConfig, WebhookFormat,
};
pub use scope::LogQueries;
pub(crate) use template::Template;
pub use unit::{UnitReport, unit_test};
pub use view::{AlertState, AlertView, GroupView, Health, ReloadStatus, RuleKind, RuleView};

pub(crate) use template::go_exponent;

#[cfg(test)]
mod tests;
