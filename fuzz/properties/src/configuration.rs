use std::path::{Path, PathBuf};

use pyzord::home::Home;
use pyzord::ini::{self, Entry};
use pyzord::settings::{Settings, Sources};

/// Any configuration file gives settings in their ranges or an error of one line that names it; what was read is read
/// again when it is written.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().count();
    match ini::parse(&text, "server") {
        Err(error) => assert!((1..=lines).contains(&error.line), "{error:?}"),
        Ok(entries) => {
            let numbers = entries.iter().map(|entry| entry.line);
            assert!(numbers.clone().is_sorted() && numbers.clone().all(|line| (1..=lines).contains(&line)));
            assert!(pairs(&ini::parse(&written(&entries), "server").unwrap_or_default()).eq(pairs(&entries)));
        }
    }
    match settings(&text) {
        Err(error) => assert!(error.len() <= 4096 + 10 * text.len() && !error.contains('\n'), "{error:?}"),
        Ok(settings) => {
            assert!((1..=1024).contains(&settings.workers), "{}", settings.workers);
            assert!((1..=1024).contains(&settings.connections), "{}", settings.connections);
            assert!(settings.notes.len() <= 5, "{:?}", settings.notes);
        }
    }
}

fn settings(text: &str) -> Result<Settings, String> {
    let sources = Sources::of_file(PathBuf::from("/etc/pyzor/config"), text)?;
    let one_line = |warning: &String| warning.starts_with("configuration file /etc/pyzor/config, line ");
    assert!(sources.warnings().iter().all(one_line) && sources.warnings().len() <= text.lines().count());
    assert!(!sources.to_string().is_empty());
    Settings::new(&sources, &Home::new(Some(Path::new("/etc/pyzor")))?, 4)
}

fn pairs(entries: &[Entry]) -> impl Iterator<Item = (&str, &str)> {
    entries.iter().map(|entry| (&*entry.name, &*entry.value))
}

fn written(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{}= {}\n", entry.name, entry.value.replace('\n', "\n "));
    entries.iter().map(line).fold("[server]\n".to_owned(), |text, line| text + &line)
}
