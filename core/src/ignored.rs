//! Datagrams without an answer.

/// Why a datagram is not answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Ignored {
    /// It has no header `Op`, so it is not a request.
    NotARequest,
    /// Its peer cannot be answered, such as UDP port 0.
    Unanswerable,
    /// Its network is not served.
    DeniedNetwork,
    /// Its network is over the limit for requests.
    TooManyRequests,
    /// Its signature is wrong, and its network is over the limit for answers to wrong signatures.
    TooManyFailures,
    /// It is a copy of a signed count that waits for the store. Over UDP the reply to the first copy answers this one,
    /// too. A transport that owes each request a response tells the client to try again.
    InFlight,
    /// It has to wait, and too many others do. Its sender may try again.
    Overloaded,
}
