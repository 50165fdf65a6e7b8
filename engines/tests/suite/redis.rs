//! The keys of a redis database, in both layouts, on one server and in a cluster.

use pyzord_core::{CleanupAge, Digest, Record};
use pyzord_engines::RecordStore;
use pyzord_engines::redis::{Dsn, Options, Redis};
use pyzord_testkit::{RedisCluster, RedisServer, wait_for};

use crate::common::{digest, successes};
use crate::subject::{Odd, Stored, Subject};

/// Records never expire, or later than any test takes: the engine writes these with different commands.
pub(crate) const AGES: [Option<CleanupAge>; 2] = [None, CleanupAge::from_seconds(9000)];

/// Counts the keys of probes, which redis_v0 leaves for a moment.
const COUNT_PROBES: &str = "local count = 0
    for _, key in ipairs(redis.call('KEYS', 'pyzord.*probe*')) do count = count + 1 end
    return count";

/// Where the keys are.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Server(&'a RedisServer),
    Cluster(&'a RedisCluster),
}

impl Place<'_> {
    fn dsn(self) -> String {
        match self {
            Self::Server(server) => format!("127.0.0.1,{},,", server.port()),
            Self::Cluster(cluster) => cluster.dsn(),
        }
    }

    fn flush(self) {
        match self {
            Self::Server(server) => assert_eq!(server.ask(&["FLUSHALL"]), "+OK"),
            Self::Cluster(cluster) => cluster.tell_masters(&["FLUSHALL"]),
        }
    }

    /// Sends a command on one key.
    fn ask(self, key: &str, words: &[&str]) -> String {
        match self {
            Self::Server(server) => server.ask(words),
            Self::Cluster(cluster) => cluster.ask(key, words),
        }
    }

    fn count(self) -> usize {
        let servers: Vec<&RedisServer> = match self {
            Self::Server(server) => vec![server],
            Self::Cluster(cluster) => {
                cluster.masters().into_iter().map(|master| cluster.nodes().get(master).unwrap()).collect()
            }
        };
        let count = |server: &RedisServer| -> usize {
            let probes = || server.ask(&["EVAL", COUNT_PROBES, "0"]);
            wait_for("the end of the probes", || (probes() == ":0").then_some(()));
            // A scan removes the keys that have expired.
            assert!(server.ask(&["SCAN", "0", "COUNT", "1000000"]).starts_with('*'));
            server.ask(&["DBSIZE"]).trim_start_matches(':').parse().unwrap()
        };
        servers.into_iter().map(count).sum()
    }
}

pub(crate) struct Keys<'a> {
    place: Place<'a>,
    cleanup_age: Option<CleanupAge>,
    engine: fn(&Dsn, Options) -> Redis,
    prefix: &'static str,
    unreadable: &'static [Unreadable],
}

/// A command without its key that stores something other than a record, and why it is not one.
type Unreadable = (&'static [&'static str], &'static str);

const KEY: &str = "its key is not a digest of 40 hex digits in lower case";
const TYPE: &str = "it is of another type";
const COUNT: &str = "a count is not a number from 0 to 9223372036854775807";
const SECONDS: &str = "a date is not a number of seconds since 1970";
const FIELDS: &str = "it has not 6 fields";
const DATE: &str = "a date is not of the form YYYY-MM-DD HH:MM:SS";

const NO_HASHES: &[Unreadable] = &[
    (&["SET", "a text"], TYPE),
    (&["RPUSH", "a", "list"], TYPE),
    (&["HSET", "r_count", "x"], COUNT),
    (&["HSET", "r_count", "-1"], COUNT),
    (&["HSET", "r_count", "007"], COUNT),
    (&["HSET", "r_count", "9223372036854775808"], COUNT),
    (&["HSET", "wl_count", "1.5"], COUNT),
    (&["HSET", "r_entered", "None"], SECONDS),
    (&["HSET", "wl_updated", "9999999999999999"], SECONDS),
    (&["HSET", "r_updated", ""], SECONDS),
];

const NO_TEXTS: &[Unreadable] = &[
    (&["HSET", "r_count", "1"], TYPE),
    (&["RPUSH", "a", "list"], TYPE),
    (&["SET", ""], FIELDS),
    (&["SET", "x"], FIELDS),
    (&["SET", "1,,,0,"], FIELDS),
    (&["SET", "1,,,0,,,"], FIELDS),
    (&["SET", "-1,,,0,,"], COUNT),
    (&["SET", "1,None,,0,,"], DATE),
    (&["SET", "1,,,9223372036854775808,,"], COUNT),
    (&["SET", "1,1700000000,,0,,"], DATE),
    (&["SET", "1,2023-11-14 22:13:20.5,,0,,"], DATE),
    (&["SET", "1,2023-99-14 22:13:20,,0,,"], DATE),
];

impl<'a> Keys<'a> {
    /// Returns an empty database of the layout `redis`.
    pub(crate) fn hashes(place: Place<'a>, cleanup_age: Option<CleanupAge>) -> Self {
        Self::new(place, cleanup_age, Redis::new, "pyzord.digest_v1.", NO_HASHES)
    }

    /// Returns an empty database of the layout `redis_v0`.
    pub(crate) fn texts(place: Place<'a>, cleanup_age: Option<CleanupAge>) -> Self {
        Self::new(place, cleanup_age, Redis::v0, "pyzord.digest.", NO_TEXTS)
    }

    fn new(
        place: Place<'a>,
        cleanup_age: Option<CleanupAge>,
        engine: fn(&Dsn, Options) -> Redis,
        prefix: &'static str,
        unreadable: &'static [Unreadable],
    ) -> Self {
        place.flush();
        Self { place, cleanup_age, engine, prefix, unreadable }
    }

    fn make(&self, key: &str, command: &[&str]) {
        let (name, rest) = command.split_first().unwrap();
        let key = format!("{}{key}", self.prefix);
        let reply = self.place.ask(&key, &[&[*name, &key], rest].concat());
        assert!(!reply.starts_with('-'), "{reply}");
    }
}

impl Subject for Keys<'_> {
    type Store = Redis;
    const UNIT: i64 = 1_000_000;
    const EXPIRES: bool = false;
    const HISTORIES: u32 = 50;

    fn store(&self) -> Redis {
        let dsn = Dsn::parse(&self.place.dsn()).unwrap();
        (self.engine)(&dsn, Options::migrating(self.cleanup_age))
    }

    fn put(store: &mut Redis, digest: Digest, record: &Record) {
        let mut results = Vec::new();
        store.put(&[(digest, *record)], &mut results);
        assert_eq!(successes(results), [()]);
    }

    fn count(&self, _: &Redis) -> usize {
        self.place.count()
    }
}

impl Stored for Keys<'_> {
    fn another(&self, _: &Redis) -> Redis {
        self.store()
    }

    fn spoil(&self) -> Vec<Odd> {
        assert_eq!(self.place.ask("another", &["SET", "another", "x"]), "+OK");
        let keys = ["short".to_owned(), digest(999).to_string().to_uppercase()];
        keys.iter().for_each(|key| self.make(key, &["SET", "x"]));
        let unreadable = (1000..).zip(self.unreadable).map(|(n, (command, why))| {
            self.make(&digest(n).to_string(), command);
            Odd::new(digest(n).to_string(), format!("it is unreadable: {why}"))
        });
        unreadable.chain(keys.into_iter().map(|key| Odd::new(key, KEY))).collect()
    }

    /// Returns the value and the time to live, which a command could set on a value of any type.
    fn raw(&self, _: &Redis, digest: Digest) -> String {
        const SCRIPT: &str =
            "return {ok = redis.sha1hex(redis.call('DUMP', KEYS[1])) .. ' ' .. redis.call('TTL', KEYS[1])}";
        let key = format!("{}{digest}", self.prefix);
        let reply = self.place.ask(&key, &["EVAL", SCRIPT, "1", &key]);
        assert!(reply.starts_with('+') && reply.ends_with(" -1"), "{reply}");
        reply
    }
}
