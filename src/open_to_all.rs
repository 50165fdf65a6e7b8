//! Whether every host may use the server without a limit.

use std::fmt;
use std::net::SocketAddr;

use pyzord_core::{ANONYMOUS, Limits, Operation, Policy};

/// An address at which every host may ask for records, as often as it likes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OpenToAll {
    address: SocketAddr,
    /// What anonymous users may ask for.
    operations: Vec<Operation>,
}

impl OpenToAll {
    /// Returns the first of the addresses that other machines reach, if anonymous users may read or count records there, and
    /// neither a list of networks nor a rate bounds that.
    pub(crate) fn find(
        addresses: impl IntoIterator<Item = SocketAddr>,
        policy: &Policy,
        limits: &Limits,
    ) -> Option<Self> {
        if limits.requests.is_some() || !limits.allowed.is_empty() || !limits.denied.is_empty() {
            return None;
        }
        let address = addresses.into_iter().find(|address| !address.ip().to_canonical().is_loopback())?;
        let costs = |operation: &Operation| !matches!(operation, Operation::Ping | Operation::Pong);
        let may = |operation: &Operation| policy.allows(ANONYMOUS, *operation);
        let operations: Vec<Operation> = Operation::ALL.into_iter().filter(costs).filter(may).collect();
        (!operations.is_empty()).then_some(Self { address, operations })
    }
}

impl fmt::Display for OpenToAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, operations } = self;
        let operations: Vec<&str> = operations.iter().map(|operation| operation.name()).collect();
        write!(
            f,
            "every host that reaches {address} may ask for {} without an account and without a limit: set AllowNetworks or \
             RequestRate, or ListenAddress = 127.0.0.1 if only this machine asks",
            operations.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use pyzord_core::AccessOrder;

    use super::*;

    fn find(addresses: &[&str], access: Option<&str>, limits: &Limits) -> Option<String> {
        let access = access.map(str::as_bytes);
        let (policy, _) = Policy::parse(Some(b"alice : 1"), access, AccessOrder::FirstMatch);
        let addresses = addresses.iter().map(|address| format!("{address}:24441").parse().unwrap());
        OpenToAll::find(addresses, &policy, limits).map(|open| open.to_string())
    }

    #[test]
    fn only_an_address_that_others_reach_is_open() {
        let limits = Limits::default();
        for addresses in [&["127.0.0.1"][..], &["127.0.0.1", "[::1]", "127.9.9.9", "[::ffff:127.0.0.1]"], &[]]
        {
            assert_eq!(find(addresses, None, &limits), None, "{addresses:?}");
        }
        for address in ["0.0.0.0", "[::]", "192.0.2.1", "10.0.0.1", "[fe80::1]", "[::ffff:10.0.0.1]"] {
            let said = find(&["127.0.0.1", address], None, &limits).unwrap();
            assert!(
                said.starts_with(&format!("every host that reaches {address}:24441 may ask for ")),
                "{said}"
            );
        }
    }

    #[test]
    fn an_access_file_that_gives_anonymous_users_no_records_closes_it() {
        let limits = Limits::default();
        let found = |access| find(&["0.0.0.0"], Some(access), &limits);
        for closed in ["", "all : all : allow", "ping pong : anonymous : allow\nall : alice : allow"] {
            assert_eq!(found(closed), None, "{closed}");
        }
        let said = found("ping report : anonymous : allow\ncheck : all : allow").unwrap();
        assert!(said.contains("may ask for report without"), "{said}");
        assert!(found("check : all anonymous : allow").is_some());
    }

    #[test]
    fn any_limit_of_requests_is_one() {
        let limited = |limit: &dyn Fn(&mut Limits)| {
            let mut limits = Limits::default();
            limit(&mut limits);
            find(&["0.0.0.0"], None, &limits).is_none()
        };
        let network = || vec!["192.0.2.0/24".parse().unwrap()];
        assert!(limited(&|limits| limits.allowed = network()));
        assert!(limited(&|limits| limits.denied = network()));
        assert!(limited(&|limits| limits.requests = limits.failures));
        // These bound no request.
        assert!(!limited(&|limits| limits.unlimited = network()));
        assert!(!limited(&|limits| limits.failures = None));
    }
}
