//! `pyzorctl backup`, beside a running server and without one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::{Guarded, Home, Server, digest, field, request, wait_for};
use crate::pyzorctl::{KEEP, at, ctl, feed, lines, printed, stderr};

/// The engines whose database is a file.
const ENGINES: &[&str] = &[
    "gdbm",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

/// Returns a home directory whose configuration names the engine, with this number of records.
fn home_with(engine: &str, count: u32) -> Home {
    let home = Home::new();
    home.write("config", format!("[server]\nEngine = {engine}\nCleanupAge = 0\n"));
    let line = |number| format!("{},{},1600000000.25,1700000000,0,,\n", digest(number), number % 7 + 1);
    let text: String = (1..=count).map(line).collect();
    printed(&feed(&home, &["import"], &text));
    home
}

/// Returns the names in a folder, sorted.
fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_beside_a_running_server_can_take_the_databases_place() {
    for &engine in ENGINES {
        let server = Server::on(home_with(engine, 3000), &["-e", engine]);
        let client = server.client();
        let folder = Home::new();
        let file = folder.path("copy");
        let path = file.to_str().unwrap();
        // Reports go on meanwhile; each that had its reply before the backup began is in it.
        client.ask(request("report", &[&digest(9000)]));
        let stop = std::sync::atomic::AtomicBool::new(false);
        let more = std::thread::scope(|scope| {
            let reports = scope.spawn(|| {
                let client = server.client();
                let mut count = 0;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = client.ask(request("report", &[&digest(8000 + count % 500)]));
                    count += u32::from(field(&reply, "Code") == "200");
                }
                count
            });
            let at = at(&server);
            let said =
                ctl(&server.home, &[&at.each_ref().map(String::as_str)[..], &["backup", path]].concat());
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            let said = printed(&said);
            assert!(said.starts_with(&format!("{path}: 3")) && said.contains(" records"), "{said}");
            reports.join().unwrap()
        });
        assert!(more > 0);
        assert_eq!(names(folder.dir()), ["copy"], "{engine}");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let restored = Server::start(&["-e", engine, "--dsn", path, KEEP[0], KEEP[1]]);
        let copied = restored.client();
        for number in [1, 2, 3000, 9000] {
            assert_eq!(copied.check(&digest(number)), client.check(&digest(number)), "{engine}");
        }
        assert_eq!(field(&copied.ask(request("report", &[&digest(9000)])), "Code"), "200");
        assert_eq!(copied.check(&digest(9000)), (2, 0));
        drop(restored.stop());

        // It is not overwritten without being told.
        let before = fs::read(&file).unwrap();
        let refused = ctl(&server.home, &["backup", path]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(stderr(&refused).contains("exists already; --replace replaces it"), "{refused:?}");
        assert_eq!(fs::read(&file).unwrap(), before);
        printed(&ctl(&server.home, &["backup", path, "--replace"]));
        assert_eq!(
            lines(&ctl(&server.home, &["export", "--dsn", path])),
            lines(&ctl(&server.home, &["export"]))
        );
        // A look at the copy does not keep the next one from its place.
        printed(&ctl(&server.home, &["backup", path, "--replace"]));
    }
}

#[test]
fn a_backup_without_a_server_is_the_database() {
    for &engine in ENGINES {
        let home = home_with(engine, 500);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyzorctl"));
        command.arg("--homedir").arg(home.dir()).args(["backup", "copy"]);
        let folder = Home::new();
        let said = printed(&command.current_dir(folder.dir()).output().unwrap());
        assert!(said.starts_with("copy: 500 records"), "{said}");
        assert_eq!(names(folder.dir()), ["copy"], "a relative name is relative to the current folder");
        let copy = folder.path("copy");
        let exported = lines(&ctl(&home, &["export", "--dsn", copy.to_str().unwrap()]));
        assert_eq!((exported.len(), exported), (500, lines(&ctl(&home, &["export"]))));
    }
}

#[test]
fn a_backup_that_cannot_be_is_refused_and_leaves_nothing() {
    for &engine in ENGINES {
        let home = home_with(engine, 20);
        let database = if engine == "gdbm" { "pyzord.db" } else { "pyzord.sqlite" };
        let own = home.path(database).to_str().unwrap().to_owned();
        let before = (names(home.dir()), fs::read(home.path(database)).unwrap());
        std::os::unix::fs::symlink(database, home.path("link")).unwrap();
        let [link, folder] = ["link", ""].map(|name| home.path(name).to_str().unwrap().to_owned());
        for (arguments, cause) in [
            (["backup", &own, "--replace"], "it is the database itself"),
            (["backup", &link, "--replace"], "it is the database itself"),
            (["backup", &folder, "--replace"], "it is no regular file"),
            (["backup", "/no-such-folder/copy", "--replace"], "No such file or directory"),
            (["backup", "/dev/null", "--replace"], "it is no regular file"),
        ] {
            let output = ctl(&home, &arguments);
            let error = stderr(&output);
            assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{output:?}");
            assert!(error.contains(cause), "{error}");
        }
        fs::remove_file(home.path("link")).unwrap();
        assert_eq!((names(home.dir()), fs::read(home.path(database)).unwrap()), before);
        // Nothing to copy, and no database is made.
        let empty = Home::new();
        let output = ctl(&empty, &["-e", engine, "backup", empty.path("copy").to_str().unwrap()]);
        assert_eq!((output.status.code(), names(empty.dir()).len()), (Some(1), 0), "{output:?}");
    }
    for (engine, dsn, tools) in
        [("redis", "127.0.0.1,1", "redis-cli --rdb"), ("mysql", "127.0.0.1:1,u,secret,d,t", "mariadb-dump")]
    {
        let output = ctl(&Home::new(), &["-e", engine, "--dsn", dsn, "backup", "/tmp/none"]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(tools) && !stderr(&output).contains("secret"), "{output:?}");
    }
}

/// Starts a backup, and waits until it has written something, or is done.
fn begin(home: &Home, file: &std::path::Path) -> Guarded {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pyzorctl"));
    command.arg("--homedir").arg(home.dir()).arg("backup").arg(file).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Guarded(child);
    let folder = file.with_extension("partial");
    wait_for("the first bytes", || {
        let found = |folder| fs::read_dir(folder).ok()?.next()?.ok()?.metadata().ok();
        let begun = found(&folder).is_some_and(|found| found.len() > 0);
        (begun || child.0.try_wait().unwrap().is_some()).then_some(())
    });
    child
}

/// Whatever the moment, the name has a whole copy or none.
#[test]
fn an_interrupted_backup_leaves_no_half_file() {
    for &engine in ENGINES {
        let home = home_with(engine, 30_000);
        let folder = Home::new();
        let file = folder.path("copy");
        let whole = || {
            let exported = ctl(&home, &["export", "--dsn", file.to_str().unwrap()]);
            assert_eq!(lines(&exported).len(), 30_000, "{engine}");
        };
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL] {
            let mut backup = begin(&home, &file);
            if backup.0.try_wait().unwrap().is_none() {
                kill(Pid::from_raw(i32::try_from(backup.0.id()).unwrap()), signal).unwrap();
            }
            let status = backup.0.wait().unwrap();
            assert_eq!(status.success(), file.exists(), "{status}");
            match names(folder.dir()).as_slice() {
                [] => assert_ne!(signal, Signal::SIGKILL),
                [name] if name == "copy" => whole(),
                [name] if name == "copy.partial" => assert_eq!(signal, Signal::SIGKILL),
                other => panic!("{signal}: {other:?}"),
            }
            // A look at a sqlite database leaves the empty files of a log.
            names(folder.dir()).iter().filter(|name| *name != "copy.partial").for_each(|name| {
                fs::remove_file(folder.path(name)).unwrap();
            });
        }
        // The next one removes what the killed one left.
        printed(&ctl(&home, &["backup", file.to_str().unwrap()]));
        assert_eq!(names(folder.dir()), ["copy"]);
        whole();
    }
}

#[test]
fn a_full_disk_ends_a_backup_and_leaves_nothing() {
    for &engine in ENGINES {
        let home = home_with(engine, 20_000);
        let folder = Home::new();
        let file = folder.path("copy");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -f 800; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_pyzorctl"),
            "--homedir",
        ]);
        let output = command.arg(home.dir()).arg("backup").arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = stderr(&output);
        let cause = if engine == "gdbm" { "File too large" } else { "a limit of file sizes" };
        assert!(error.contains(cause) && error.contains("; nothing was written\n"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(names(folder.dir()).len(), 0);
        let size = home.path("pyzord.db").metadata().map_or(0, |found| found.size());
        assert!(engine != "gdbm" || size > 800 * 512);
    }
}
