use std::fmt;

/// What kept a plugin from being loaded or opened, or a batch from its stages.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    /// The stage, or at load the plugin, that it is about.
    name: String,
    message: String,
}

/// Who acts on it differs by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The engine itself.
    Engine,
    /// The component cannot be a plugin here: whoever wrote the configuration mends it.
    Load,
    /// The plugin refused its configuration or the table's shape, or gave a plan that cannot be.
    Open,
    /// The plugin failed as it was opened: it trapped, took too long or too much, or does not fit the contract.
    Broken,
    /// The guest asked for the batch again.
    Retry,
    /// The guest said that it cannot go on, or it fails for every row.
    Fatal,
    /// A column is read that was left out since nobody was to read it.
    LeftOut,
}

impl Error {
    pub(crate) fn new(kind: Kind, name: impl Into<String>, message: impl Into<String>) -> Error {
        Error { kind, name: name.into(), message: message.into() }
    }

    /// The plugin or the table or the configuration must change before anything can flow.
    pub fn is_refused(&self) -> bool {
        matches!(self.kind, Kind::Load | Kind::Open | Kind::Broken)
    }

    /// The plugin failed as it was opened, and said nothing of what was wrong with the table or the configuration.
    pub fn is_broken(&self) -> bool {
        self.kind == Kind::Broken
    }

    /// The same batch may pass later: run it again after a while.
    pub fn is_transient(&self) -> bool {
        self.kind == Kind::Retry
    }

    /// The stream pauses until somebody acts.
    pub fn is_fatal(&self) -> bool {
        self.kind == Kind::Fatal
    }

    /// A column is read that nobody was to read, and so has no values here. The stream pauses.
    pub fn is_left_out(&self) -> bool {
        self.kind == Kind::LeftOut
    }

    /// The stage that it is about, or at load the plugin.
    pub fn stage(&self) -> &str {
        &self.name
    }

    /// The message without the stage.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Engine => write!(f, "{}", self.message),
            Kind::Load => write!(f, "plugin `{}` {}", self.name, self.message),
            Kind::Open | Kind::Broken => write!(f, "stage `{}`: {}", self.name, self.message),
            Kind::Retry => write!(f, "stage `{}` asks for the batch again: {}", self.name, self.message),
            Kind::Fatal => write!(f, "stage `{}` cannot go on: {}", self.name, self.message),
            Kind::LeftOut if self.name.is_empty() => write!(f, "the documents show {}", self.message),
            Kind::LeftOut => write!(f, "stage `{}` reads {}", self.name, self.message),
        }
    }
}

impl std::error::Error for Error {}
