//! The pages describe every option and setting, and man renders them without a warning.

use std::process;

use clap::Command;

use crate::files::write_all;

#[test]
fn every_option_and_every_setting_is_in_its_page_and_in_the_completions() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    for program in pyzord::commands() {
        let name = program.get_name();
        let page = read(&format!("man/{name}.8")).replace("\\-", "-");
        let named = page.matches("\n\\fB--homedir\\fR").count();
        assert!(named <= 1, "{name}.8 describes the program's options {named} times");
        let completions = [format!("{name}.bash"), format!("_{name}"), format!("{name}.fish")];
        let completions = completions.map(|file| (read(&format!("completions/{file}")), file));
        // The text between a command's heading and the next one describes that command.
        let about = |command: &Command| {
            let heading = format!("\n.SS \"{name} {}", command.get_name());
            let (_, after) =
                page.split_once(&heading).unwrap_or_else(|| panic!("{heading} is not in {name}.8"));
            after.split("\n.S").next().unwrap().to_owned()
        };
        let of_commands = program.get_subcommands().map(|command| (about(command), command));
        for (text, command) in of_commands.chain([(page.clone(), &program)]) {
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                let of = command.get_name();
                assert!(text.contains(&format!("--{option}")), "--{option} of {of} is not in {name}.8");
                for (completions, file) in &completions {
                    assert!(completions.contains(option), "--{option} of {of} is not in {file}");
                }
            }
        }
    }
    let page = read("man/pyzor-migrate.8").replace("\\-", "-");
    for name in ["--se", "--sd", "--de", "--dd"] {
        assert!(page.contains(&format!("Short: {name}.")), "{name} is not in pyzor-migrate.8");
    }
    let page = read("man/pyzord.conf.5");
    for setting in pyzord::setting_names() {
        assert!(page.contains(setting), "{setting} is not in pyzord.conf.5");
    }
}

#[test]
fn man_renders_every_page_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    for entry in std::fs::read_dir(folder.path().join("man")).unwrap() {
        let path = entry.unwrap().path();
        // Those of section 1 lead to others of an installed package.
        if path.extension().is_some_and(|section| section == "1") {
            continue;
        }
        let mut man = process::Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&path);
        let output = man.env("MANROFFSEQ", "").env("LC_ALL", "C.UTF-8").output().expect("man is installed");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
        assert!(output.stdout.len() > 2000, "{}", path.display());
        let lint = process::Command::new("mandoc").args(["-Tlint", "-Wwarning"]).arg(&path).output();
        let complaints = String::from_utf8(lint.expect("mandoc is installed").stdout).unwrap();
        assert!(complaints.is_empty(), "{complaints}");
    }
}

#[test]
fn every_page_has_its_sections_and_names_the_others() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    for page in
        ["pyzord.8", "pyzorctl.8", "pyzor-migrate.8", "pyzord.conf.5", "pyzord.access.5", "pyzord.passwd.5"]
    {
        let text = std::fs::read_to_string(folder.path().join("man").join(page)).unwrap();
        let of_programs: &[&str] =
            if page.ends_with('8') { &["OPTIONS", "EXIT STATUSES", "FILES", "EXAMPLES"] } else { &[] };
        for section in [&["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"], of_programs].concat() {
            let heading = |line: &str| line.trim_start_matches(".SH ").trim_matches('"') == section;
            assert!(text.lines().any(heading), "{page} has no section {section}");
        }
        assert_eq!(text.lines().filter(|line| line.starts_with(".TH ")).count(), 1, "{page}");
    }
    for program in ["pyzord", "pyzorctl", "pyzor-migrate"] {
        let link = std::fs::read_link(folder.path().join("bin").join(program)).unwrap();
        assert_eq!(link, std::path::Path::new("../sbin").join(program));
        let page = std::fs::read_to_string(folder.path().join(format!("man/{program}.1"))).unwrap();
        assert_eq!(page, format!(".so man8/{program}.8\n"));
    }
    // A second run finds the files of the first.
    write_all(folder.path()).unwrap();
}

#[test]
fn completions_offer_the_values_of_an_option() {
    let folder = tempfile::tempdir().unwrap();
    write_all(folder.path()).unwrap();
    for (program, values) in [
        (
            "pyzord",
            &["gdbm sqlite redis redis_v0 mysql", "std smol", "deferred strict", "first-match last-match"][..],
        ),
        ("pyzorctl", &["gdbm sqlite redis redis_v0 mysql", "first-match last-match"]),
        ("pyzor-migrate", &["gdbm sqlite redis redis_v0 mysql", "keep replace add"]),
    ] {
        let path = folder.path().join(format!("completions/{program}.bash"));
        let text = std::fs::read_to_string(path).unwrap();
        for values in values {
            assert!(text.contains(&format!("compgen -W \"{values}\"")), "{program} does not offer {values}");
        }
    }
}
