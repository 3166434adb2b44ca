//! Where a setting's value came from.

use std::collections::BTreeMap;
use std::fmt;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where a setting's value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave one.
    Default,
    /// An environment variable.
    Environment,
    /// A flag on the command line.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Source::Default => "default",
            Source::Environment => "environment",
            Source::Flag => "flag",
        })
    }
}

/// The source of every setting that somebody gave, by its environment variable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(BTreeMap<&'static str, Source>);

impl Sources {
    pub(super) fn of(matches: &ArgMatches, names: &[(&str, &'static str)]) -> Sources {
        let given = names
            .iter()
            .filter_map(|(id, name)| match matches.value_source(id)? {
                ValueSource::CommandLine => Some((*name, Source::Flag)),
                ValueSource::EnvVariable => Some((*name, Source::Environment)),
                _ => None,
            });
        Sources(given.collect())
    }

    /// A setting's value comes from where another one's does.
    pub(super) fn follow(&mut self, name: &'static str, other: &str) {
        let source = self.get(other);
        self.0.insert(name, source);
    }

    pub(super) fn get(&self, name: &str) -> Source {
        self.0.get(name).copied().unwrap_or(Source::Default)
    }
}
