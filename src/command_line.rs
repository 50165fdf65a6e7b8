//! Parses the command line of this process. Its errors show no argument that may be a part of a DSN, with the password:
//! a DSN with blanks is several arguments.

use clap::Parser;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// What stands in the place of an argument.
const HIDDEN: &str = "(not shown)";

/// Parses the command line of this process; ends the process if it has an error, or asks for help or the version.
pub(crate) fn parse<P: Parser>() -> P {
    P::try_parse().unwrap_or_else(|error| without_secrets(error).exit())
}

/// Hides the arguments in an error that may hold a password.
fn without_secrets(mut error: Error) -> Error {
    let kinds = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand, ContextKind::InvalidValue];
    for kind in kinds {
        let Some(ContextValue::String(text)) = error.get(kind) else { continue };
        let shown = shown(&error, kind, text);
        if shown != text {
            let shown = shown.to_owned();
            error.insert(kind, ContextValue::String(shown));
            // The advice repeats the argument.
            error.insert(ContextKind::Suggested, ContextValue::None);
        }
    }
    error
}

/// Returns what an error may show of an argument.
fn shown<'a>(error: &Error, kind: ContextKind, text: &'a str) -> &'a str {
    let hidden = match (error.kind(), kind) {
        (ErrorKind::UnknownArgument, ContextKind::InvalidArg)
            // An option; what is longer with one dash comes from behind `--`.
            if text.starts_with("--") || text.len() == 2 && text.starts_with('-') =>
        {
            return text.split('=').next().unwrap_or_default();
        }
        (ErrorKind::UnknownArgument, ContextKind::InvalidArg) => true,
        (_, ContextKind::InvalidSubcommand) => error.get(ContextKind::SuggestedSubcommand).is_none(),
        (_, ContextKind::InvalidValue) => {
            error.kind() == ErrorKind::TooManyValues || text.contains([',', ';', '@']) || text.contains("://")
        }
        _ => false,
    };
    if hidden { HIDDEN } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::CommandLine;
    use crate::migrate::MigrateOptions;
    use crate::pyzorctl::PyzorctlOptions;

    fn error<P: Parser>(arguments: &[&str]) -> String {
        let parsed = P::try_parse_from([&["program"], arguments].concat());
        without_secrets(parsed.map(drop).unwrap_err()).to_string()
    }

    /// `--dsn h 1 secret 0` without quotes was answered with the argument that is too many.
    #[test]
    fn no_error_shows_a_part_of_a_dsn() {
        let server = [
            &["--dsn", "h", "secret"][..],
            &["--dsn", "h,1,", "secret,0"],
            &["redis://:secret@h"],
            &["--dsnn=redis://:secret@h"],
            &["--dsnn", "redis://:secret@h"],
            &["--check-config=redis://:secret@h"],
            &["--nice", "redis://:secret@h"],
            &["--nice=h,1,secret"],
            &["--dsn", "h", "--", "secret"],
            &["--dsn", "h", "--", "-secret"],
        ];
        let tool = [
            &["--dsn", "h", "secret", "status"][..],
            &["--dsn", "h", ":secret@h", "status"],
            &["redis://:secret@h"],
            &["status", "secret"],
            &["--dsn", "h", "set", "u:secret@h"],
            &["--dsnn=redis://:secret@h", "status"],
            &["status", "--json=h,1,secret"],
        ];
        let migrate = [
            &["--sd", "h", "1", "secret"][..],
            &["--sd", "h,1,", "secret,0"],
            &["--sdn=redis://:secret@h"],
            &["--sd", "h", "--dd", "secret"],
            &["--cleanup-age", "h;secret"],
        ];
        let errors = server.map(error::<CommandLine>).into_iter();
        let errors =
            errors.chain(tool.map(error::<PyzorctlOptions>)).chain(migrate.map(error::<MigrateOptions>));
        for error in errors {
            assert!(!error.contains("secret") && error.starts_with("error: "), "{error}");
        }
    }

    #[test]
    fn other_arguments_are_shown() {
        assert!(error::<CommandLine>(&["--prot=5"]).contains("'--prot'"));
        assert!(error::<CommandLine>(&["--nice", "much"]).contains("'much'"));
        assert!(error::<PyzorctlOptions>(&["lokup"]).contains("'lokup'"));
    }
}
