//! Python's server and ours, one after the other on the same files.

use std::process::Stdio;

use crate::harness::{
    Client, Guarded, Home, Server, digest, field, request, run_python, wait_for, with_python_server,
};

/// Prints every key and value of a gdbm file, sorted, one pair per line.
const DUMP: &str = "import dbm.gnu, sys\n\
    db = dbm.gnu.open(sys.argv[1], 'r')\n\
    for key in sorted(db.keys()): print(key.decode('latin-1'), db[key].decode('latin-1'))";

fn report(client: &Client, digest: &str, times: u32) {
    for _ in 0..times {
        assert_eq!(field(&client.ask(request("report", &[digest])), "Code"), "200");
    }
}

#[test]
fn both_servers_take_turns_on_one_file_and_lose_nothing() {
    let home = Home::new();
    // Neither server removes anything, so that every difference is a loss.
    home.write("config", "[server]\nCleanupAge = 0\n");
    home.write("pyzord.access", "all : anonymous : allow\n");
    with_python_server(&home, &[], &[], |client| {
        (0..50).for_each(|number| report(client, &digest(number), 1 + number % 3));
        assert_eq!(field(&client.ask(request("whitelist", &[&digest(1)])), "Code"), "200");
    });
    let database = home.path("pyzord.db");
    let odd = "import dbm.gnu, sys\n\
        db = dbm.gnu.open(sys.argv[1], 'w')\n\
        db['%040x' % 1000] = '17,1300000000,1400000000'\n\
        db['%040x' % 1001] = '1,not,a,record,at,all,really'\n\
        db['%040x' % 1002] = b'\\xff\\x00\\xfe'\n\
        db['not a digest'] = '1,5,None,None,0,None,None'";
    run_python(odd, &[database.to_str().unwrap()]);
    let before = run_python(DUMP, &[database.to_str().unwrap()]);

    let server = Server::on(home, &[]);
    let client = server.client();
    for number in 0..50 {
        assert_eq!(client.check(&digest(number)), (u64::from(1 + number % 3), u64::from(number == 1)));
    }
    assert_eq!(client.check(&digest(1000)), (17, 0), "a record of the first version");
    for number in [1001, 1002] {
        let reply = client.ask(request("report", &[&digest(number)]));
        assert_eq!(field(&reply, "Code"), "500", "an unreadable value stays: {reply}");
    }
    report(&client, &digest(7), 5);
    report(&client, &digest(1000), 1);
    report(&client, &digest(2000), 1);
    let home = server.stop();

    let after = run_python(DUMP, &[database.to_str().unwrap()]);
    let touched = [digest(7), digest(1000), digest(2000)];
    let untouched = |dump: &str| -> Vec<String> {
        dump.lines()
            .filter(|line| !touched.iter().any(|key| line.starts_with(key.as_str())))
            .map(String::from)
            .collect()
    };
    assert_eq!(untouched(&after), untouched(&before), "records without a report stay the same, byte for byte");
    with_python_server(&home, &[], &[], |client| {
        assert_eq!(client.check(&digest(7)), (2 + 5, 0));
        assert_eq!(client.check(&digest(1000)), (18, 0));
        assert_eq!(client.check(&digest(2000)), (1, 0));
        let info = client.ask(request("info", &[&digest(1000)]));
        assert_eq!(field(&info, "Entered"), "1300000000");
        report(client, &digest(2000), 1);
    });
    assert_eq!(Server::on(home, &[]).client().check(&digest(2000)), (2, 0));
}

/// A configuration for Python's server with all of its settings.
#[test]
fn a_configuration_for_python_works_unchanged() {
    let home = Home::new();
    home.write(
        "config",
        "[client]\nServersFile = servers\n[server]\nport: 0\nLISTENADDRESS = 127.0.0.1\nEngine = gdbm\n\
         DigestDB = %(LogFile)s.db\nCleanupAge = 100\nThreads = True\nMaxThreads = 0\nProcesses = False\n\
         PreFork = 4\nGevent = true\nDBConnections = 10\nPasswdFile = pyzord.passwd\nAccessFile = pyzord.access\n\
         LogFile = server\nUsageLogFile = \nPidFile = ~/pyzord.pid\nSentryDSN = \nForwardClientHomeDir = \n",
    );
    let child = home.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _guard = Guarded(child);
    wait_for("serving", || home.read("server").contains("Listening on 127.0.0.1:").then_some(()));
    wait_for("the database", || home.path("server.db").exists().then_some(()));
    assert!(home.read("server").contains("Threads, PreFork, Gevent: served by"), "{}", home.read("server"));
}
