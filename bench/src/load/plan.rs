//! The description of a load.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::time::Duration;

use pyzord_core::Operation;

use super::digests::Distribution;
use super::mix::Mix;
use super::pace::Pace;
use super::request::Signer;

/// The most requests in flight on one socket in a closed loop: fewer than there are `Thread`s, so that the `Thread`
/// of a lost request is not reused at once.
pub const MOST_OUTSTANDING: u64 = 32_768;
/// The most digests in one request.
pub const MOST_DIGESTS: usize = 150;

/// A load and its server.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The address of the server.
    pub server: SocketAddr,
    /// When requests are sent.
    pub pace: Pace,
    /// How long requests are sent before they are counted.
    pub warm_up: Duration,
    /// How long counted requests are sent.
    pub duration: Duration,
    /// The most requests to send, warm-up included.
    pub requests: Option<u64>,
    /// The number of sockets, each with a thread.
    pub sockets: NonZeroU64,
    /// The operations.
    pub mix: Mix,
    /// Signs the requests; anonymous if `None`.
    pub signer: Option<Signer>,
    /// The number of different digests.
    pub digests: u64,
    /// How often each digest is asked for.
    pub distribution: Distribution,
    /// Digests per request, at most [`MOST_DIGESTS`].
    pub batch: usize,
    /// A request without a reply is lost after this time.
    pub timeout: Duration,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// The CPU that the threads are pinned to, if any. At a fixed rate they keep it busy.
    pub cpu: Option<usize>,
}

impl LoadPlan {
    /// Returns a plan of 64 outstanding checks of 100,000 digests on one socket for 10 seconds.
    #[must_use]
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            pace: Pace::Closed { outstanding: 64 },
            warm_up: Duration::ZERO,
            duration: Duration::from_secs(10),
            requests: None,
            sockets: NonZeroU64::MIN,
            mix: Mix::only(Operation::Check),
            signer: None,
            digests: 100_000,
            distribution: Distribution::Uniform,
            batch: 1,
            timeout: Duration::from_secs(1),
            seed: 1,
            cpu: None,
        }
    }
}
