//! What it was measured on.

use std::fs;
use std::path::Path;

/// One line: version, processor, memory, kernel, and the file system of the folder that frames are
/// stored in, if they are stored in one.
pub(crate) fn describe(folder: Option<&Path>) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "framelane {}, both ends on {cores} processors of {}, {} GB of memory, Linux {}, {}.",
        env!("CARGO_PKG_VERSION"),
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        memory_gigabytes(),
        fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        stored_on(folder),
    )
}

/// The value behind `name :` in a file of such lines.
fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim().to_owned())
}

fn memory_gigabytes() -> u64 {
    let total = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let kib = total.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
    (kib.unwrap_or(0) as f64 * 1_024.0 / 1e9).round() as u64
}

fn stored_on(folder: Option<&Path>) -> String {
    match folder {
        Some(folder) => file_system(folder).unwrap_or_else(|| "an unknown file system".to_owned()),
        None => "frames stored in memory".to_owned(),
    }
}

/// The type of the file system that holds `folder`: that of the longest mount point above it.
fn file_system(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(point).then(|| (point.len(), kind.to_owned()))
    });
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}
