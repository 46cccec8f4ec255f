//! A sequence drawn as SVG: a line for each span, in the order of their beginnings, on one axis of time.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use crate::spans::{Kind, Span};

const ROW: usize = 16;
const LABEL: u64 = 330;
const WIDTH: u64 = 560;
const RIGHT: u64 = 90;

/// How many spans are drawn; the rest is counted.
const ROWS_AT_MOST: usize = 60;

pub(super) fn draw(spans: &[Span]) -> String {
    if spans.is_empty() {
        return String::new();
    }
    let shown = &spans[..spans.len().min(ROWS_AT_MOST)];
    let end_us = shown.iter().map(|span| span.start_us + span.duration_us).max().unwrap_or(1).max(1);
    let height = (shown.len() + 1) * ROW + 4;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"timeline of {} spans in {} µs\">",
        LABEL + WIDTH + RIGHT,
        shown.len(),
        end_us
    );
    for (row, span) in shown.iter().enumerate() {
        draw_span(&mut svg, span, row * ROW, end_us);
    }
    let foot = match spans.len() - shown.len() {
        0 => format!("0 to {}", time(end_us)),
        more => format!("0 to {}; {more} more are not drawn", time(end_us)),
    };
    let y = shown.len() * ROW + 12;
    push(&mut svg, format_args!("<text class=\"axis\" x=\"{LABEL}\" y=\"{y}\">{foot}</text></svg>"));
    svg
}

fn draw_span(svg: &mut String, span: &Span, top: usize, end_us: u64) {
    let place = |us: u64| LABEL + us.saturating_mul(WIDTH) / end_us;
    let (from, to) = (place(span.start_us), place(span.start_us + span.duration_us));
    let (width, baseline) = ((to - from).max(2), top + 12);
    let title = escape(format!("{} at {}, {}", span.label, time(span.start_us), time(span.duration_us))).into_owned();
    let short: String = span.label.chars().take(46).collect();
    let label = escape(if short.len() < span.label.len() { format!("{short}…") } else { short }).into_owned();
    let class = span.kind.name();
    push(svg, format_args!("<g><title>{title}</title><text x=\"0\" y=\"{baseline}\" class=\"{class}\">{label}</text>"));
    if span.kind == Kind::Event {
        push(svg, format_args!("<circle class=\"{class}\" cx=\"{from}\" cy=\"{}\" r=\"4\"/></g>", top + 8));
        return;
    }
    push(svg, format_args!("<rect class=\"{class}\" x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"10\"/>", top + 3));
    let after = from + width + 4;
    push(
        svg,
        format_args!("<text class=\"axis\" x=\"{after}\" y=\"{baseline}\">{}</text></g>", time(span.duration_us)),
    );
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("strings take everything");
}

fn time(us: u64) -> String {
    if us < 1000 { format!("{us} µs") } else { format!("{}.{:03} ms", us / 1000, us % 1000) }
}
