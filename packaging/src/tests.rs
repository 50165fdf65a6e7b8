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
        let mut man = process::Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&path);
        let output = man.env("MANROFFSEQ", "").env("LC_ALL", "C.UTF-8").output().expect("man is installed");
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
        assert!(output.stdout.len() > 2000, "{}", path.display());
    }
}
