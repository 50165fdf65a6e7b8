//! The pages say everything, and man has nothing to complain about.

use std::process::Command;

use crate::{programs, write_all};

#[test]
fn every_option_and_every_setting_is_in_its_page_and_in_the_completions() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for program in programs() {
        let name = program.get_name();
        let page = read(&format!("man/{name}.8")).replace("\\-", "-");
        let completions = [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")];
        for option in program.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{option}")), "--{option} is not in {name}.8");
            for file in &completions {
                assert!(read(&format!("completions/{file}")).contains(option), "--{option} is not in {file}");
            }
        }
    }
    let page = read("man/pyzord.conf.5");
    for setting in pyzord::settings::names() {
        assert!(page.contains(setting), "{setting} is not in pyzord.conf.5");
    }
}

#[test]
fn man_renders_every_page_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    for entry in std::fs::read_dir(folder.path().join("man")).unwrap() {
        let path = entry.unwrap().path();
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&path);
        let output = man.env("MANROFFSEQ", "").env("LC_ALL", "C.UTF-8").output().expect("man is installed");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
        assert!(output.stdout.len() > 2000, "{}", path.display());
    }
}
