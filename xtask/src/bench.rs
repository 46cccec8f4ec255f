//! `cargo xtask bench`: runs all benchmarks, then prints their figures as the table that the README has.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use cargo_metadata::MetadataCommand;
use serde_json::Value;

use crate::command::{cargo, output_of, program, run};

/// One benchmark's result, in nanoseconds per operation: an element if the benchmark counts these, or else an iteration.
#[derive(Debug, PartialEq)]
struct Figure {
    name: String,
    median_ns: f64,
    /// The 95 % confidence interval of the median.
    interval_ns: (f64, f64),
    /// What the benchmark says of what gets done.
    throughput: Option<Throughput>,
}

#[derive(Debug, PartialEq)]
enum Throughput {
    /// The bytes of an operation.
    Bytes(f64),
    /// One element for each operation.
    Elements,
}

/// Runs the benchmarks and prints what they measured.
pub(crate) fn run_all() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata failed")?;
    let start = SystemTime::now();
    // Named one by one, since everything else would be built for nothing.
    let mut bench = cargo(&["bench"]);
    for package in metadata.workspace_packages() {
        for target in package.targets.iter().filter(|target| target.is_bench()) {
            bench.args(["--package", package.name.as_str(), "--bench", target.name.as_str()]);
        }
    }
    run(&mut bench)?;
    let results = metadata.target_directory.join("criterion");
    let mut figures = Vec::new();
    collect(results.as_std_path(), start, &mut figures)?;
    ensure!(!figures.is_empty(), "no benchmark left a result in {results}");
    figures.sort_by_cached_key(|figure| order_of(&figure.name));
    println!("\n{}\n", machine());
    println!("| benchmark | median of one | 95 % interval | rate |\n| --- | ---: | ---: | ---: |");
    for figure in &figures {
        println!("{}", row(figure));
    }
    Ok(())
}

/// Adds the results below a folder that are not older than `since`.
fn collect(folder: &Path, since: SystemTime, figures: &mut Vec<Figure>) -> anyhow::Result<()> {
    let estimates = folder.join("new/estimates.json");
    if estimates.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|modified| modified >= since) {
        let read = |path: &Path| -> anyhow::Result<Value> {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            serde_json::from_str(&text).with_context(|| path.display().to_string())
        };
        let figure = figure_of(&read(&folder.join("new/benchmark.json"))?, &read(&estimates)?);
        figures.push(figure.with_context(|| format!("{} is not as expected", estimates.display()))?);
    }
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), since, figures)?;
        }
    }
    Ok(())
}

fn figure_of(benchmark: &Value, estimates: &Value) -> Option<Figure> {
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let throughput = &benchmark["throughput"];
    let elements = throughput["Elements"].as_f64();
    let bytes = throughput["Bytes"].as_f64().map(Throughput::Bytes);
    let operations = elements.unwrap_or(1.0);
    Some(Figure {
        name: benchmark["full_id"].as_str()?.to_owned(),
        median_ns: median["point_estimate"].as_f64()? / operations,
        interval_ns: (interval["lower_bound"].as_f64()? / operations, interval["upper_bound"].as_f64()? / operations),
        throughput: bytes.or(elements.map(|_| Throughput::Elements)),
    })
}

/// The parts of a name, numbers among them by their value.
fn order_of(name: &str) -> Vec<(u64, String)> {
    name.split(['/', '_']).map(|part| (part.parse().unwrap_or(u64::MAX), part.to_owned())).collect()
}

fn row(figure: &Figure) -> String {
    let Figure { name, median_ns, interval_ns: (low, high), throughput } = figure;
    let rate = match throughput {
        Some(Throughput::Bytes(bytes)) => format!("{:.1} MiB/s", bytes / median_ns * 1e9 / f64::from(1 << 20)),
        Some(Throughput::Elements) => format!("{:.0}/s", 1e9 / median_ns),
        None => String::new(),
    };
    format!("| {name} | {} | {} to {} | {rate} |", duration(*median_ns), duration(*low), duration(*high))
}

fn duration(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// The machine and the date, in one line. What cannot be found out is left out.
pub(crate) fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    // The benchmarks put their pools where this variable says.
    let folder = std::env::var_os("LUNSHADOW_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = folder.to_string_lossy();
    let parts = [
        output_of(&mut program("date", &["-u", "+%F"])),
        first_value(&cpus, "model name"),
        std::thread::available_parallelism().ok().map(|count| format!("{count} processors")),
        first_value(&memory, "MemTotal").map(|size| format!("{size} of memory")),
        output_of(&mut program("uname", &["-sr"])),
        output_of(&mut program("stat", &["--file-system", "--format=%T", &folder]))
            .map(|kind| format!("pools on {kind}")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().map(|part| part.trim().to_owned()).collect();
    parts.join(", ")
}

/// The value of the first `key : value` line.
fn first_value(text: &str, key: &str) -> Option<String> {
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_become_rows() {
        let estimates = json!({"median": {
            "confidence_interval": {"confidence_level": 0.95, "lower_bound": 1900.0, "upper_bound": 2_500_000.0},
            "point_estimate": 2000.0,
        }});
        let benchmark = json!({"full_id": "commit/8", "throughput": null});
        let figure = figure_of(&benchmark, &estimates).expect("complete");
        assert_eq!(row(&figure), "| commit/8 | 2.0 µs | 1.9 µs to 2.50 ms |  |");
        let benchmark = json!({"full_id": "write", "throughput": {"Bytes": 4096}});
        let figure = figure_of(&benchmark, &estimates).expect("complete");
        assert_eq!(row(&figure), "| write | 2.0 µs | 1.9 µs to 2.50 ms | 1953.1 MiB/s |");
        let benchmark = json!({"full_id": "write", "throughput": {"Elements": 10}});
        let figure = figure_of(&benchmark, &estimates).expect("complete");
        assert_eq!(row(&figure), "| write | 200 ns | 190 ns to 250.0 µs | 5000000/s |");
    }

    #[test]
    fn numbers_in_names_are_ordered_by_value() {
        let mut names = ["commit/64", "write_4k/32_in_flight", "commit/8", "write_4k/1_with_flush"];
        names.sort_by_cached_key(|name| order_of(name));
        assert_eq!(names, ["commit/8", "commit/64", "write_4k/1_with_flush", "write_4k/32_in_flight"]);
    }

    #[test]
    fn results_without_a_median_are_refused() {
        assert_eq!(figure_of(&json!({"full_id": "x"}), &json!({"mean": {}})), None);
    }

    #[test]
    fn the_first_value_of_a_key_is_taken() {
        assert_eq!(
            first_value("processor : 0\nmodel name\t: Fast: 2\nmodel name : Slow", "model name").as_deref(),
            Some("Fast: 2")
        );
        assert_eq!(first_value("", "model name"), None);
    }
}
