//! The service unit, as systemd rates it.

use std::process::Command;

/// The highest exposure that `systemd-analyze security` may find, times ten: of 100.
const MOST_EXPOSURE: &str = "15";

#[test]
fn the_unit_leaves_little_exposed() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib/systemd/pyzord.service");
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=true", "--no-pager", "--threshold", MOST_EXPOSURE, unit]);
    let output = analyze.output().expect("systemd-analyze is installed");
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && found.contains("Overall exposure level"), "{found}");
}
