//! Parts of documentation that measurements write.

use std::path::Path;

use anyhow::Context;

/// The page of measurements.
const PAGE: &str = "docs/performance.md";

/// Writes the part below a heading of the second level, and leaves the others as they are.
///
/// # Errors
/// If the page cannot be written.
pub(crate) fn write_part(root: &Path, heading: &str, text: &str) -> anyhow::Result<()> {
    let page = root.join(PAGE);
    let before = std::fs::read_to_string(&page).unwrap_or_else(|_| "# Performance\n".to_owned());
    std::fs::write(&page, with_part(&before, heading, text)).with_context(|| page.display().to_string())
}

/// The page with its part replaced, or added at the end.
fn with_part(page: &str, heading: &str, text: &str) -> String {
    let part = format!("{heading}\n\n{text}");
    let Some(start) = page.find(heading) else { return format!("{}\n\n{part}", page.trim_end()) };
    let rest = &page[start + heading.len()..];
    let after = rest.find("\n## ").map_or("", |next| &rest[next..]);
    format!("{}{part}{after}", &page[..start])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_and_the_others_stay() {
        let heading = "## Part";
        assert_eq!(with_part("# P\n", heading, "new\n"), "# P\n\n## Part\n\nnew\n");
        let page = "# P\n\n## Part\n\nold\n\n## Other\n\ntext\n";
        assert_eq!(with_part(page, heading, "new\n"), "# P\n\n## Part\n\nnew\n\n## Other\n\ntext\n");
    }
}
