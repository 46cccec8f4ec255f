//! Figures of all engines and rounds, and the tables that they become.

use std::fmt::Write as _;

use super::session::OTHER;

/// How many of an engine's values of one row.
type Values = Vec<f64>;

struct Row {
    section: String,
    label: String,
    /// One for each engine.
    values: Vec<Values>,
}

/// All that was measured.
pub(super) struct Figures {
    engines: Vec<&'static str>,
    /// The section whose rates are the limit of rows that the first engine has not in their own.
    base: &'static str,
    /// In the order in which they came first.
    rows: Vec<Row>,
}

impl Figures {
    /// No figures yet. The first engine is what the others are compared with; where it has no figure in a section, with its figure in the base.
    pub(super) const fn new(engines: Vec<&'static str>, base: &'static str) -> Self {
        Self { engines, base, rows: Vec::new() }
    }

    /// Adds what a round measured.
    pub(super) fn add(&mut self, section: &str, label: &str, engine: &str, value: f64) {
        println!("   {section}: {label}: {}", short(value));
        let Some(column) = self.engines.iter().position(|name| *name == engine) else { return };
        let known = self.rows.iter().position(|row| row.section == section && row.label == label);
        let at = known.unwrap_or_else(|| {
            let values = vec![Values::new(); self.engines.len()];
            self.rows.push(Row { section: section.to_owned(), label: label.to_owned(), values });
            self.rows.len() - 1
        });
        self.rows[at].values[column].push(value);
    }

    /// One table for each section: medians, and in brackets the least and the greatest; for rates, the part of the first engine's rate
    /// before a snapshot.
    pub(super) fn tables(&self) -> String {
        let mut sections: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !sections.contains(&row.section.as_str()) {
                sections.push(&row.section);
            }
        }
        // What is said once comes last.
        sections.sort_by_key(|section| *section == OTHER);
        let mut text = String::new();
        for section in sections {
            writeln!(text, "### {section}\n").expect("strings take everything");
            writeln!(text, "| | {} |", self.engines.join(" | ")).expect("strings take everything");
            writeln!(text, "| --- |{}", " ---: |".repeat(self.engines.len())).expect("strings take everything");
            for row in self.rows.iter().filter(|row| row.section == section) {
                let cells: Vec<String> = row.values.iter().map(|values| self.cell(row, values)).collect();
                writeln!(text, "| {} | {} |", row.label, cells.join(" | ")).expect("strings take everything");
            }
            text.push('\n');
        }
        text
    }

    fn cell(&self, row: &Row, values: &Values) -> String {
        let Some(middle) = median(values) else { return "–".to_owned() };
        let mut cell = short(middle);
        let limit = self.limit_of(row).filter(|_| row.label.ends_with("IOPS") || row.label.ends_with("MB/s"));
        if let Some(limit) = limit {
            write!(cell, " = {:.2}", middle / limit).expect("strings take everything");
        }
        let (least, most) =
            values.iter().fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(*value), most.max(*value)));
        if values.len() > 1 {
            write!(cell, " ({} to {})", short(least), short(most)).expect("strings take everything");
        }
        cell
    }

    /// The first engine's median of the same row, or else of that in the base.
    fn limit_of(&self, row: &Row) -> Option<f64> {
        let in_base = || self.rows.iter().find(|other| other.section == self.base && other.label == row.label);
        median(&row.values[0]).or_else(|| median(&in_base()?.values[0]))
    }
}

pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// A number with three digits or so.
fn short(value: f64) -> String {
    match value {
        value if value >= 10_000.0 => format!("{:.1}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// What the figures mean.
pub(super) fn explanation(rounds: u32, seconds: f64, lun_mib: u64) -> String {
    format!(
        "\
Measured by `cargo xtask bench store`: engine after engine in each of {rounds} rounds, each with a fresh LUN of {lun_mib} MiB that is \
written once in order; each load for {seconds} s. Medians of the rounds, behind `=` as a part of the raw file's, in brackets the least and \
the greatest.

* The raw file is on the file system below, written once before. XFS and btrfs are on a loop device (`--direct-io=on`) on such a file. qcow2 is \
behind `qemu-storage-daemon` (io_uring, extended L2 entries, clusters of 128 KiB), with an overlay for each snapshot. All these are under load \
by fio, by io_uring and without the page cache, qcow2 by NBD on a UNIX socket.
* Lunshadow is the pool as a library, on a file (`lunshadow pool create --preallocate`) and on a loop device as above, with the defaults of \
`lunshadow serve` but for a read cache, so that what is read comes from the disk, under load by `testing/pool-load`: tasks of tokio with one \
request in flight each, the same places, lengths and times. Before each load it puts in order what earlier ones have scattered, as it does by \
itself after 5 s of quiet; what that takes is in the last table. Its checksums are always on; of the others, only btrfs without nodatacow has some.
* *Flushed* is an `fdatasync` (for Lunshadow and NBD a flush) behind each write, QD32 being 32 writers; *QD* is how many requests are in \
flight. Sequential loads have 8. Percentiles are of requests without their flushes where fio measures them, with them for Lunshadow.
* *Right after a snapshot*: a fresh one before each load. A snapshot's time is from the request until it is durable: a clone and `fsync` \
(XFS), the command `btrfs subvolume snapshot` as a whole, `blockdev-snapshot` with the overlay at hand (qcow2), preparation and commit (Lunshadow). \
Deletion of overlays is `block-commit`.
* The tables of the three states are of loads minutes apart, in which the machine's mood changes by more than snapshots cost: what these cost is measured by turns, below.
* Space is what the file system (of qcow2 the files, of Lunshadow the pool) says is used, before and after: XFS may have set room aside for copies before, so that it seems to take \
less, or none.
* Group snapshots are taken while 32 writers keep all LUNs of the group busy.
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::session::BEFORE;
    use super::*;

    #[test]
    fn medians_become_tables_with_ratios() {
        let mut figures = Figures::new(vec!["raw", "ours"], BEFORE);
        for (engine, values) in [("raw", [100.0, 300.0, 200.0]), ("ours", [150.0, 100.0, 20_000.0])] {
            for value in values {
                figures.add(BEFORE, "write, IOPS", engine, value);
            }
        }
        figures.add("Later", "write, IOPS", "ours", 50.0);
        let tables = figures.tables();
        assert!(tables.contains("| write, IOPS | 200 = 1.00 (100 to 300) | 150 = 0.75 (100 to 20.0k) |"), "{tables}");
        assert!(
            tables.contains("### Later\n\n| | raw | ours |\n| --- | ---: | ---: |\n| write, IOPS | – | 50.0 = 0.25 |")
        );
    }

    #[test]
    fn what_is_measured_once_comes_last() {
        let mut figures = Figures::new(vec!["raw"], BEFORE);
        figures.add(OTHER, "space, %", "raw", 0.123);
        figures.add(BEFORE, "read, MB/s", "raw", 12.34);
        let tables = figures.tables();
        assert!(tables.find(BEFORE) < tables.find(OTHER), "{tables}");
        assert!(tables.contains("| space, % | 0.12 |"), "{tables}");
    }
}
