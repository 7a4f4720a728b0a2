//! Rules and alerts as the API shows them.

use binnacle_proto::Labels;

/// How the latest load of the rule files went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadStatus {
    /// Whether the files that are there now are the rules that run.
    pub successful: bool,
    /// When a load last succeeded, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// A group.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// The file it is from.
    pub file: String,
    /// Seconds between evaluations.
    pub interval_seconds: f64,
    /// Series a rule may give; 0 for any number.
    pub limit: usize,
    /// Its rules in order.
    pub rules: Vec<RuleView>,
    /// When it was last evaluated, in milliseconds since the epoch; 0 for never.
    pub last_evaluation_ms: i64,
    /// Seconds the latest evaluation took.
    pub evaluation_seconds: f64,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct RuleView {
    /// The series or alert it gives.
    pub name: String,
    /// Its expression.
    pub query: String,
    /// Labels it sets, before templates.
    pub labels: Vec<(String, String)>,
    /// How its latest evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// When it was last evaluated, in milliseconds since the epoch; 0 for never.
    pub last_evaluation_ms: i64,
    /// Seconds the latest evaluation took.
    pub evaluation_seconds: f64,
    /// Recording or alerting.
    pub kind: RuleKind,
}

/// What only one kind of rule has.
#[derive(Debug, Clone)]
pub enum RuleKind {
    /// Writes a series.
    Recording,
    /// Raises alerts.
    Alerting {
        /// `for`, in seconds.
        for_seconds: f64,
        /// `keep_firing_for`, in seconds.
        keep_firing_seconds: f64,
        /// Annotations, before templates.
        annotations: Vec<(String, String)>,
        /// Alerts that are pending or firing.
        alerts: Vec<AlertView>,
    },
}

/// How the latest evaluation of a rule went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    /// Well.
    Ok,
    /// With an error.
    Err,
}

impl Health {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ok => "ok",
            Self::Err => "err",
        }
    }
}

/// The state of an alert, the gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertState {
    /// No alert.
    Inactive,
    /// The expression holds, but not for long enough.
    Pending,
    /// It is an alert.
    Firing,
}

impl AlertState {
    /// The name in the API and in `ALERTS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One alert.
#[derive(Debug, Clone)]
pub struct AlertView {
    /// Its labels, `alertname` among them.
    pub labels: Labels,
    /// Its annotations, filled in.
    pub annotations: Vec<(String, String)>,
    /// Pending or firing.
    pub state: AlertState,
    /// Since when the expression holds, in milliseconds since the epoch.
    pub active_at_ms: i64,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since_ms: Option<i64>,
    /// The value of the expression.
    pub value: f64,
}

impl RuleView {
    /// The gravest state of its alerts; inactive for a recording rule.
    pub fn state(&self) -> AlertState {
        match &self.kind {
            RuleKind::Recording => AlertState::Inactive,
            RuleKind::Alerting { alerts, .. } => {
                alerts.iter().map(|alert| alert.state).max().unwrap_or(AlertState::Inactive)
            }
        }
    }
}
