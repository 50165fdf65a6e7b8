use std::path::Path;

use pyzord::fuzzing::{self, Entry, Message, SettingValues};

/// Any configuration file gives settings in their ranges, or an error of one line with the name of the setting.
/// Settings that are written again are parsed to the same values.
pub fn configuration(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = lines(&text);
    match fuzzing::entries(&text, "server") {
        Err(line) => assert!((1..=lines).contains(&line), "{line}"),
        Ok(entries) => {
            let numbers = entries.iter().map(|entry| entry.line);
            assert!(numbers.clone().is_sorted() && numbers.clone().all(|line| (1..=lines).contains(&line)));
            assert!(pairs(&fuzzing::entries(&written(&entries), "server").unwrap_or_default()).eq(pairs(&entries)));
        }
    }
    match settings(&text) {
        Err(Message(error)) => assert!(error.len() <= 4096 + 10 * text.len() && !error.contains('\n'), "{error:?}"),
        Ok(settings) => {
            assert!((1..=1024).contains(&settings.workers), "{}", settings.workers);
            assert!((1..=1024).contains(&settings.connections), "{}", settings.connections);
            assert!(settings.notes.len() <= 5, "{:?}", settings.notes);
        }
    }
}

fn settings(text: &str) -> Result<SettingValues, Message> {
    let configuration = fuzzing::configuration(Path::new("/etc/pyzor"), text, 4)?;
    let warnings = configuration.warnings;
    let one_line = |warning: &String| warning.starts_with("configuration file /etc/pyzor/config, line ");
    // Of a value: a comment, quotes, a placeholder, a flag, a sign, another line; and a repetition, a mark.
    assert!(warnings.iter().all(one_line) && warnings.len() <= 8 * lines(text));
    assert!(!configuration.printed.is_empty());
    configuration.settings
}

/// Returns the number of lines, which end with LF, CR LF or CR.
fn lines(text: &str) -> usize {
    1 + text.replace("\r\n", "\n").matches(['\n', '\r']).count()
}

fn pairs(entries: &[Entry]) -> impl Iterator<Item = (&str, &str)> {
    entries.iter().map(|entry| (&*entry.name, &*entry.value))
}

fn written(entries: &[Entry]) -> String {
    let line = |entry: &Entry| format!("{}= {}\n", entry.name, entry.value.replace('\n', "\n "));
    entries.iter().map(line).fold("[server]\n".to_owned(), |text, line| text + &line)
}
