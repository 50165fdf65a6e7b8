//! Records in a Redis Cluster, or in a Valkey Cluster.
//!
//! Each master has some of the 16384 slots, and each key a slot. A batch costs one round trip to all masters at the same
//! time. A master that is away or hangs fails its own slots alone. The key of a mark has the key of its record as its tag, so
//! that the script that counts finds both in one slot.
//!
//! The slot table, the redirections and the requests are our own: the cluster client of the `redis` crate parses each packed
//! command again to route it, asks the nodes one after another, and repeats after an I/O error what may have been counted.

mod batch;
mod engine;
mod node;
mod record_store;
mod refresh;
mod router;
mod scan;
mod slice;
mod slot;
mod topology;

pub(super) use engine::Cluster;
pub(super) use topology::{TopologyError, is_node};
