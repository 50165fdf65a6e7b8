//! What a server says it is, in its reply to ROLE.

use std::fmt;

use super::resp::Reply;
use crate::address::{host_and_port, parse_port};
use crate::hosts::Host;

/// The most replicas of one master, and services of one sentinel, that are looked at.
const MOST: usize = 64;
/// The longest name of a service that is shown.
const LONGEST_SERVICE: usize = 100;

/// The role of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It takes writes.
    Master,
    /// It copies another server, and refuses writes.
    Replica {
        /// The server that it copies, if its address is understood.
        of: Option<Host>,
    },
    /// It watches servers, and has no data.
    Sentinel { services: Vec<String> },
    /// Another word, or no reply to ROLE.
    Other,
}

impl Role {
    /// Reads the reply to ROLE.
    pub(super) fn read(reply: Option<Reply<'_>>) -> Self {
        let Some(Reply::Array(parts)) = reply else { return Self::Other };
        let mut parts = parts.iter();
        match parts.next().and_then(text).as_deref() {
            Some("master") => Self::Master,
            Some("slave" | "replica") => Self::Replica { of: address(parts.next(), parts.next()) },
            Some("sentinel") => Self::Sentinel { services: parts.next().map(services).unwrap_or_default() },
            _ => Self::Other,
        }
    }
}

/// What a server says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Description {
    pub(super) role: Role,
    pub(super) identity: Option<Identity>,
}

/// The ids of a server's data and its copies, from its reply to INFO. All copies of a master have its id. A copy that is promoted takes
/// a new one, and keeps that of its master beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    id: String,
    before: String,
    /// The servers that copy it, or begin to.
    pub(super) copies: Vec<Host>,
    /// The port of the server that it copies itself.
    pub(super) source: Option<u16>,
    /// The id of its process.
    pub(super) process: Option<String>,
}

impl Identity {
    /// Reads the replies to `INFO replication` and `INFO server`.
    pub(super) fn read(replication: Reply<'_>, server: Option<Reply<'_>>) -> Option<Self> {
        let info = text(replication)?;
        let info = info + server.and_then(text).as_deref().unwrap_or_default();
        let id = |name: &str| {
            let mut values = info.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            values.next().map(|id| id.trim().to_owned())
        };
        let own = id("master_replid").filter(|id| is_id(id))?;
        let copies = info.lines().filter_map(copy).take(MOST).collect();
        let source = id("master_port").as_deref().and_then(parse_port);
        let process = id("run_id").filter(|id| is_id(id));
        Some(Self { id: own, before: id("master_replid2").unwrap_or_default(), copies, source, process })
    }

    /// Returns whether this is the master that had the other identity, or a copy of it that was promoted.
    pub(super) fn succeeds(&self, master: &Self) -> bool {
        self.id == master.id || self.before == master.id
    }
}

/// Returns whether a text is an id: 40 hex digits, not all of them 0.
fn is_id(text: &str) -> bool {
    text.len() == 40
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master => f.write_str("is a master"),
            Self::Replica { of: Some(of) } => write!(f, "is a replica of {of}"),
            Self::Replica { of: None } => f.write_str("is a replica"),
            Self::Sentinel { .. } => f.write_str("is a sentinel"),
            Self::Other => f.write_str("does not say whether it is a master"),
        }
    }
}

/// The server that a DSN names as a database is a sentinel.
#[derive(Debug, thiserror::Error)]
#[error(
    "the server is a sentinel, which has no records: with {} the master that it names is used",
    dsn_of(services)
)]
pub(super) struct IsSentinel {
    pub(super) services: Vec<String>,
}

fn dsn_of(services: &[String]) -> String {
    let service = services.first().map_or("service", String::as_str);
    format!("the DSN redis+sentinel://user:password@host:26379,host:26379/{service}/0")
}

/// Reads the address of a server from its host and its port. Any peer could have announced it: a host is a name or an IP
/// address, and nothing that would forge a line of the log.
pub(super) fn address(host: Option<Reply<'_>>, port: Option<Reply<'_>>) -> Option<Host> {
    host_of(&host.and_then(text)?, &port.and_then(text)?)
}

fn host_of(host: &str, port: &str) -> Option<Host> {
    let (name, None) = host_and_port(host)? else { return None };
    Some(Host { name: name.to_owned(), port: parse_port(port)? })
}

/// Reads a line such as `slave0:ip=192.0.2.1,port=6379,state=online,offset=14,lag=0`.
fn copy(line: &str) -> Option<Host> {
    let (number, fields) = line.strip_prefix("slave")?.split_once(':')?;
    let field = |name: &str| fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    let numbered = number.bytes().all(|byte| byte.is_ascii_digit());
    host_of(field("ip")?, field("port")?).filter(|_| numbered)
}

fn services(list: Reply<'_>) -> Vec<String> {
    let Reply::Array(list) = list else { return Vec::new() };
    let is_shown = |name: &String| name.len() <= LONGEST_SERVICE && is_service(name);
    list.iter().take(MOST).filter_map(text).filter(is_shown).collect()
}

/// Returns whether a text can be the name of a service, as sentinels know them.
pub(super) fn is_service(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Returns a string or a number as text.
fn text(value: Reply<'_>) -> Option<String> {
    match value {
        Reply::Text(bytes) | Reply::Status(bytes) => str::from_utf8(bytes).ok().map(str::to_owned),
        Reply::Number(number) => Some(number.to_string()),
        Reply::Error(_) | Reply::Nil | Reply::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::resp::Replies;
    use super::*;

    fn read(reply: &str) -> Role {
        Role::read(arrived(&reply.replace(' ', "\r\n")).first())
    }

    fn arrived(reply: &str) -> Replies {
        let mut replies = Replies::default();
        replies.begin(1, reply.len());
        replies.room().unwrap().copy_from_slice(reply.as_bytes());
        replies.arrived(reply.len()).unwrap();
        replies
    }

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.into(), port }
    }

    #[test]
    fn roles_are_read_as_servers_tell_them() {
        let master = "*3 $6 master :14 *2 *3 $9 127.0.0.1 $4 7001 $2 14 *3 $3 ::1 $4 7002 $2 14 ";
        assert_eq!([read(master), read("*3 $6 master :0 *0 ")], [Role::Master, Role::Master]);
        let replica = "*5 $5 slave $9 127.0.0.1 :7000 $9 connected :14 ";
        assert_eq!(read(replica), Role::Replica { of: Some(host("127.0.0.1", 7000)) });
        assert_eq!(read("*2 $8 sentinel *2 $2 pz $1 / "), Role::Sentinel { services: vec!["pz".into()] });
    }

    #[test]
    fn a_master_names_its_copies() {
        let table = [
            ("slave0:ip=127.0.0.1,port=7001,state=online,offset=14,lag=0", Some(host("127.0.0.1", 7001))),
            ("slave12:ip=::1,port=7002,state=wait_bgsave,offset=0,lag=0", Some(host("::1", 7002))),
            ("slave0:port=1,ip=a.example.com", Some(host("a.example.com", 1))),
            ("slave0:ip=,port=7001,state=online", None),
            ("slave0:ip=a b,port=7001", None),
            ("slave0:ip=a,port=0", None),
            ("slave_repl_offset:14", None),
            ("slave_x:ip=a,port=1", None),
            ("role:master", None),
        ];
        for (line, expected) in table {
            assert_eq!(copy(line), expected, "{line}");
        }
    }

    #[test]
    fn an_identity_has_the_id_of_the_master_before_it() {
        let [a, b, none] = ["a", "b", "0"].map(|digit| digit.repeat(40));
        let read = |id: &str, before: &str| {
            let text =
                format!("# Replication\r\nrole:master\r\nmaster_replid:{id}\r\nmaster_replid2:{before}\r\n");
            Identity::read(Reply::Text(text.as_bytes()), None)
        };
        let (first, promoted, stranger) = (read(&a, &none), read(&b, &a), read(&b, &none));
        let first = first.unwrap();
        assert!(first.succeeds(&first) && promoted.unwrap().succeeds(&first));
        assert!(!stranger.unwrap().succeeds(&first));
        assert_eq!([read(&none, &a), read("x", &a), Identity::read(Reply::Nil, None)], [None, None, None]);
        assert!(!read(&a, &b).unwrap().succeeds(&read(&"c".repeat(40), &none).unwrap()));
    }

    #[test]
    fn any_other_reply_has_no_role_and_no_address() {
        for reply in ["*0 ", "+OK ", ":1 ", "$6 master ", "*1 $4 mast ", "*1 *1 $6 master ", "-ERR unknown "]
        {
            assert_eq!(read(reply), Role::Other, "{reply}");
        }
        for (host, port) in
            [("a\nb", ":1"), ("", ":1"), ("h:1", ":1"), ("h", ":0"), ("h", ":65536"), ("h", "$-1")]
        {
            let reply = format!("*3\r\n$5\r\nslave\r\n${}\r\n{host}\r\n{port}\r\n", host.len());
            assert_eq!(Role::read(arrived(&reply).first()), Role::Replica { of: None }, "{host:?} {port}");
        }
    }
}
