//! Rust source as a flat list of tokens, and the paths that it names. Comments and the insides of strings are no code.

use std::str::FromStr;

use proc_macro2::{Delimiter, LexError, TokenStream, TokenTree};

/// One token: an identifier, a literal, a delimiter or punctuation. `::` is one token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// As it stands in the source.
    pub(crate) text: String,
    /// Where, counted from 1.
    pub(crate) line: usize,
    /// Whether it is an identifier or keyword.
    pub(crate) is_ident: bool,
}

/// A path in code, such as `std::fs::read`. Groups in `use` are spread out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CodePath {
    /// Its segments, joined by `::`.
    pub(crate) text: String,
    /// Where it ends.
    pub(crate) line: usize,
}

/// Splits source into tokens.
pub(crate) fn tokens_of(source: &str) -> Result<Vec<Token>, LexError> {
    let mut tokens = Vec::new();
    flatten(TokenStream::from_str(source)?, &mut tokens);
    Ok(tokens)
}

/// Every path of the code, single names included.
pub(crate) fn paths_of(tokens: &[Token]) -> Vec<CodePath> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at].is_ident {
            at = spread(tokens, at, "", &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// The insides of every attribute, `#[…]` and `#![…]`, doc comments excepted.
pub(crate) fn attributes_of(tokens: &[Token]) -> Vec<&[Token]> {
    let mut attributes = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let is_next = |offset: usize, text: &str| tokens.get(at + offset).is_some_and(|next| next.text == text);
        let start = match token.text.as_str() {
            "#" if is_next(1, "[") => at + 2,
            "#" if is_next(1, "!") && is_next(2, "[") => at + 3,
            _ => continue,
        };
        let attribute = &tokens[start..start + len_of_group(&tokens[start..])];
        if attribute.first().is_some_and(|name| name.text != "doc") {
            attributes.push(attribute);
        }
    }
    attributes
}

/// How many tokens, from the one after an opening delimiter, come before the delimiter that closes it.
pub(crate) fn len_of_group(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                tokens.push(Token { text: open.to_owned(), line, is_ident: false });
                flatten(group.stream(), tokens);
                tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line, is_ident: false });
            }
            TokenTree::Ident(ident) => tokens.push(Token { text: ident.to_string(), line, is_ident: true }),
            TokenTree::Literal(literal) => tokens.push(Token { text: literal.to_string(), line, is_ident: false }),
            TokenTree::Punct(punct) => match tokens.last_mut() {
                Some(last) if punct.as_char() == ':' && last.text == ":" => last.text.push(':'),
                _ => tokens.push(Token { text: punct.to_string(), line, is_ident: false }),
            },
        }
    }
}

/// Adds the paths that begin at `at`, an identifier or the brace of a group, and returns where they end.
fn spread(tokens: &[Token], at: usize, prefix: &str, paths: &mut Vec<CodePath>) -> usize {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token| token.text == text);
    if is(at, "{") {
        let end = at + 1 + len_of_group(&tokens[at + 1..]);
        let mut inner = at + 1;
        while inner < end {
            let goes_on = tokens[inner].is_ident || is(inner, "{");
            inner = if goes_on { spread(tokens, inner, prefix, paths) } else { inner + 1 };
        }
        return end + 1;
    }
    let Token { text, line, .. } = &tokens[at];
    let text = if prefix.is_empty() { text.clone() } else { format!("{prefix}::{text}") };
    let goes_on = is(at + 1, "::") && tokens.get(at + 2).is_some_and(|next| next.is_ident || next.text == "{");
    if goes_on {
        return spread(tokens, at + 2, &text, paths);
    }
    paths.push(CodePath { text, line: *line });
    at + 1
}
