//! The Python server's engine on the same table.

use std::process::Command;

use pyzord_core::{Record, StoreOp, Tally};
use pyzord_testkit::MariadbServer;

use crate::common;
use crate::support::{Case, at, call, digest, engine, execute, read};

pub(crate) const CASES: &[Case] = &[
    ("Python reads what is written here", python_reads),
    ("what Python writes is read here", python_writes),
];

/// Opens the table `sys.argv[2]` with Python's engine, through the socket `sys.argv[1]`.
const HANDLE: &str = "
import sys
from datetime import datetime
from pyzor.engines.common import Record
from pyzor.engines.mysql import MySQLDBHandle
import MySQLdb
class Handle(MySQLDBHandle):
    def _get_new_connection(self):
        db = MySQLdb.connect(unix_socket=self.host, user=self.user, db=self.db_name, passwd=self.passwd)
        db.autocommit(True)
        return db
db = Handle('%s,pyzor,secret,pyzor,%s' % (sys.argv[1], sys.argv[2]), None)
";

fn python(server: &MariadbServer, table: &str, script: &str) -> String {
    let script = format!("{HANDLE}{script}");
    let output = Command::new(common::python())
        .args(["-c", &script])
        .arg(server.socket())
        .arg(table)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn python_reads(server: &MariadbServer) {
    let mut engine = engine(server, "ours");
    let second = 1_700_000_000;
    execute(&mut engine, at(second), &[call(StoreOp::Report, 1), call(StoreOp::Report, 1)]);
    execute(&mut engine, at(second + 60), &[StoreOp::Report, StoreOp::Whitelist].map(|op| call(op, 1)));
    let shown = python(
        server,
        "ours",
        &format!(
            "r = db['{}']\nprint(r.r_count, *[d.timestamp() for d in (r.r_entered, r.r_updated)])\n\
             print(r.wl_count, *[d.timestamp() for d in (r.wl_entered, r.wl_updated)])",
            digest(1)
        ),
    );
    assert_eq!(shown, "3 1700000000.0 1700000060.0\n1 1700000060.0 1700000060.0\n");
}

fn python_writes(server: &MariadbServer) {
    let mut engine = engine(server, "pythons");
    let script = format!(
        "db.report(['{0}', '{0}'])\ndb.whitelist(['{0}', '{1}'])\n\
         when = datetime.fromtimestamp(1700000000)\n\
         db['{2}'] = Record(7, 8, when, when, None, None)\n",
        digest(1),
        digest(2),
        digest(3)
    );
    python(server, "pythons", &script);
    let counts = |record: Record| (record.reports.count, record.whitelists.count);
    assert_eq!([1, 2].map(|n| read(&mut engine, n).map(counts)), [Ok((2, 1)), Ok((0, 1))]);
    let when = Some(at(1_700_000_000).wall);
    let expected = Record {
        reports: Tally { count: 7, entered: when, updated: when },
        whitelists: Tally { count: 8, entered: None, updated: None },
    };
    assert_eq!(read(&mut engine, 3), Ok(expected));
    execute(&mut engine, at(1_700_000_100), &[call(StoreOp::Report, 1)]);
    assert_eq!(python(server, "pythons", &format!("print(db['{}'].r_count)", digest(1))), "3\n");
}
