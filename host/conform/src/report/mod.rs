//! What a run came to: for people as text and as a page, for programs as JSON and as JUnit's XML.

mod drawing;
mod form;
mod html;
mod junit;
mod text;

pub use form::{Form, UnknownForm};

use serde::Serialize;

use crate::broken::Fault;
use crate::finding::Verdict;
use crate::orders::Order;
use crate::recorder::Sequence;
use crate::statements::{Level, Statement};

/// What became of one statement.
#[derive(Debug, Clone, Serialize)]
pub struct StatementReport {
    /// The statement.
    #[serde(flatten)]
    pub statement: Statement,
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub evidence: String,
    /// What was called for it. Empty for statements that are judged over all calls.
    pub sequence: Sequence,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The provider.
    pub provider: String,
    /// The fault that was planted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The statements that were to be judged, by number.
    pub statements: Vec<StatementReport>,
    /// The orders that were run.
    pub orders: Vec<Order>,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// As JSON.
    #[error("the report cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    /// As XML.
    #[error("the report cannot be written as XML")]
    Xml(#[from] std::io::Error),
}

impl Report {
    /// How many statements have a verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.statements.iter().filter(|report| report.verdict == verdict).count()
    }

    /// The most binding level of which a statement is broken.
    #[must_use]
    pub fn worst(&self) -> Option<Level> {
        let broken = self.statements.iter().filter(|report| report.verdict == Verdict::Broken);
        broken.map(|report| report.statement.level).max()
    }

    /// In any form.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn in_form(&self, form: Form) -> Result<String, ReportError> {
        match form {
            Form::Text => Ok(self.text()),
            Form::Json => self.json(),
            Form::Junit => self.junit(),
            Form::Html => Ok(self.html()),
        }
    }

    /// As text, a line or two for each statement.
    #[must_use]
    pub fn text(&self) -> String {
        text::write(self)
    }

    /// As one JSON document.
    ///
    /// # Errors
    /// [`ReportError::Json`].
    pub fn json(&self) -> Result<String, ReportError> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// As the XML that continuous integration reads from tests.
    ///
    /// # Errors
    /// [`ReportError::Xml`].
    pub fn junit(&self) -> Result<String, ReportError> {
        junit::write(self)
    }

    /// As a page that needs nothing but itself, with a drawing of each sequence.
    #[must_use]
    pub fn html(&self) -> String {
        html::write(self)
    }

    /// The run in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let count = |verdict: Verdict| format!("{} {}", self.count(verdict), verdict.name());
        let all = [Verdict::Held, Verdict::Broken, Verdict::NotApplicable, Verdict::NotTested].map(count);
        let fault = self.fault.map(|fault| format!(", with the fault {}", fault.name())).unwrap_or_default();
        format!("{}{fault}: {}", self.provider, all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use lunshadow_vss::{HResult, Method};
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;
    use crate::bed::Gravity;
    use crate::recorder::{CallRecord, Ending, EventRecord};
    use crate::statements::statements;

    const EVIDENCE: &str = "it is <b> & \"quoted\"";

    fn report(broken: u16) -> Report {
        let call = CallRecord {
            method: Method::LocateLuns,
            start_us: 5,
            duration_us: 1500,
            ending: Ending::Code(HResult::VSS_E_PROVIDER_VETO),
            began: 1,
            ended: 3,
        };
        let event = EventRecord { gravity: Gravity::Error, text: "<why>".to_owned(), at_us: 7, at: 2 };
        let items = statements().into_iter().take(31).map(|statement| {
            let is_broken = statement.number.0 == broken;
            let verdict = if is_broken { Verdict::Broken } else { Verdict::NotTested };
            let sequence = Sequence { calls: vec![call.clone()], events: vec![event.clone()] };
            StatementReport { statement, verdict, evidence: EVIDENCE.to_owned(), sequence }
        });
        Report { provider: "P & Q".to_owned(), fault: None, statements: items.collect(), orders: Vec::new() }
    }

    fn elements(xml: &str, name: &str) -> Vec<Vec<(String, String)>> {
        let mut reader = Reader::from_str(xml);
        let mut found = Vec::new();
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => return found,
                Event::Start(element) | Event::Empty(element) if element.name().as_ref() == name => {
                    let attributes = element.attributes().map(|attribute| {
                        let attribute = attribute.unwrap();
                        let key = attribute.key.as_ref().to_owned();
                        (key, quick_xml::escape::unescape(&attribute.value).unwrap().into_owned())
                    });
                    found.push(attributes.collect());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_broken_must_fails_a_build_and_nothing_else_does() {
        let failing = report(1).junit().unwrap();
        let failures = elements(&failing, "failure");
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0][0], ("message".to_owned(), EVIDENCE.to_owned()));
        assert_eq!(elements(&failing, "testcase").len(), 31);
        assert_eq!(elements(&failing, "skipped").len(), 30);
        let suite = &elements(&failing, "testsuite")[0];
        assert_eq!(suite[0].1, "P & Q");
        assert_eq!(suite[2], ("failures".to_owned(), "1".to_owned()));
        assert_eq!(elements(&report(3).junit().unwrap(), "failure").len(), 0);
        assert_eq!((report(1).worst(), report(3).worst()), (Some(Level::Must), Some(Level::Inferred)));
        assert_eq!(report(500).worst(), None);
    }

    #[test]
    fn the_page_has_a_drawing_of_each_sequence_and_escapes_what_it_shows() {
        let page = report(1).html();
        assert_eq!(page.matches("<svg").count(), 31);
        assert_eq!(page.matches("<details open>").count(), 1);
        assert!(page.contains("it is &lt;b&gt; &amp;") && !page.contains("<b>") && !page.contains("<why>"));
        assert!(page.contains("1.500 ms") && page.contains("VSS_E_PROVIDER_VETO"));
        assert!(!page.contains("http"), "nothing is loaded from elsewhere");
    }

    #[test]
    fn the_text_names_the_source_of_what_is_broken() {
        let text = report(26).text();
        assert!(text.contains("P-26   must     broken"), "{text}");
        assert_eq!(text.matches("source: ").count(), 1);
        assert!(text.ends_with("P & Q: 0 held, 1 broken, 0 not applicable, 30 not tested\n"), "{text}");
    }

    #[test]
    fn json_has_every_field() {
        let json: serde_json::Value = serde_json::from_str(&report(1).json().unwrap()).unwrap();
        let item = &json["statements"][0];
        assert_eq!((&item["number"], &item["level"], &item["verdict"]), (&1.into(), &"must".into(), &"broken".into()));
        assert_eq!(item["sequence"]["calls"][0]["ending"], "VSS_E_PROVIDER_VETO (0x80042306)");
        assert_eq!(item["sequence"]["events"][0]["gravity"], "error");
    }
}
