//! A line as words: quotation marks hold a word together, `%name%` stands for a value, comments are no words.

use crate::parser::ParseError;

/// What stands for the values of variables.
pub trait Variables {
    /// The value of a variable, whose name has no case.
    fn value(&self, name: &str) -> Option<String>;
}

/// No variables at all.
impl Variables for () {
    fn value(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Splits a line. A comment and an empty line have no words.
///
/// A value never falls apart into several words, whatever it holds, and a percent sign that stands alone, or twice, is one.
///
/// # Errors
/// [`ParseError::OpenQuotation`], [`ParseError::UnknownVariable`].
pub fn split(line: &str, variables: &dyn Variables) -> Result<Vec<String>, ParseError> {
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or_default();
    if line.starts_with('#') || first.eq_ignore_ascii_case("rem") {
        return Ok(Vec::new());
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut is_quoted = false;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '%' => {
                let (value, after) = percent(rest.as_str(), variables)?;
                word.get_or_insert_default().push_str(&value);
                rest = after.chars();
            }
            c if c.is_whitespace() && !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if is_quoted {
        return Err(ParseError::OpenQuotation);
    }
    words.extend(word);
    Ok(words)
}

/// What a percent sign begins, given what follows it; and what follows that.
fn percent<'a>(after: &'a str, variables: &dyn Variables) -> Result<(String, &'a str), ParseError> {
    match after.split_once('%') {
        None => Ok(("%".to_owned(), after)),
        Some(("", rest)) => Ok(("%".to_owned(), rest)),
        Some((name, rest)) => match variables.value(name) {
            Some(value) => Ok((value, rest)),
            None => Err(ParseError::UnknownVariable { name: name.to_owned() }),
        },
    }
}

/// A word as [`split`] reads it back.
pub(crate) fn written(word: &str) -> String {
    let word = word.replace('%', "%%");
    if word.is_empty() || word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word }
}
