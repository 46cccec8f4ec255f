//! The forms of a report, by their names on a command line.

use std::fmt;
use std::str::FromStr;

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Text, for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
    /// `JUnit`'s XML, for continuous integration.
    Junit,
    /// A page with the timeline of each sequence drawn, which needs nothing but itself.
    Html,
}

/// A text that names no form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no report as {0:?}; the forms are text, json, junit and html")]
pub struct UnknownForm(
    /// The text.
    String,
);

impl Form {
    /// All forms.
    pub const ALL: &[Self] = &[Self::Text, Self::Json, Self::Junit, Self::Html];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Junit => "junit",
            Self::Html => "html",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Form {
    type Err = UnknownForm;

    fn from_str(text: &str) -> Result<Self, UnknownForm> {
        let named = Self::ALL.iter().find(|form| form.name() == text);
        named.copied().ok_or_else(|| UnknownForm(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read_by_their_names() {
        for form in Form::ALL {
            assert_eq!(form.to_string().parse(), Ok(*form));
        }
        assert!("pdf".parse::<Form>().unwrap_err().to_string().contains("text, json, junit and html"));
    }
}
