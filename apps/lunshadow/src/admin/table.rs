//! Columns of text.

/// Rows whose cells stand below each other. A row of one cell is a remark, which may be wider than its column.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let in_columns = || rows.iter().filter(|row| row.len() > 1);
    let width = |column: usize| in_columns().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A row of a table.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        let rows = [row(["HOST", "LUNS"]), row(["größe", "1"]), row(["  a remark"]), row(["a", ""])];
        assert_eq!(table(&rows), "HOST   LUNS\ngröße  1\n  a remark\na\n");
    }
}
