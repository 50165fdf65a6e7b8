//! The settings that limit what clients may ask for.

use std::net::IpAddr;
use std::num::NonZeroU32;

use pyzord_core::{IpNet, Limits, Rate};

use crate::settings::{Name, Sources};

/// More than a table of what is remembered may have: half a gigabyte.
const MOST_REPLAYS: usize = 1 << 24;

/// Reads the limits.
pub(crate) fn read(sources: &Sources) -> Result<Limits, String> {
    let number = "a whole number from 0 to 4294967295";
    let rate = |per_second, burst| {
        let per_second: u32 = sources.read_as(per_second, number, |text| text.parse().ok())?;
        let burst: u32 = sources.read_as(burst, number, |text| text.parse().ok())?;
        // 0 a second is no limit; a burst of 0 is the default one.
        Ok::<_, String>(NonZeroU32::new(per_second).map(Rate::per_second).map(|rate| {
            NonZeroU32::new(burst).map_or(rate, |burst| Rate { burst, ..rate })
        }))
    };
    let prefix = |name, most: u8| {
        let expected = format!("a number of bits from 0 to {most}");
        sources.read_as(name, &expected, |text| text.parse().ok().filter(|bits| *bits <= most))
    };
    let networks =
        |name| sources.read_as(name, "a list of networks such as 192.0.2.0/24, 2001:db8::/32", parse);
    let remembered = format!("a whole number from 0 to {MOST_REPLAYS}");
    let mut limits = Limits::default();
    limits.requests = rate(Name::RequestRate, Name::RequestBurst)?;
    limits.failures = rate(Name::FailureRate, Name::FailureBurst)?;
    limits.ipv4_prefix = prefix(Name::IPv4Prefix, 32)?;
    limits.ipv6_prefix = prefix(Name::IPv6Prefix, 128)?;
    limits.allowed = networks(Name::AllowNetworks)?;
    limits.denied = networks(Name::DenyNetworks)?;
    limits.unlimited = networks(Name::UnlimitedNetworks)?;
    limits.signed_counts = sources.read_as(Name::RememberedReports, &remembered, |text| {
        text.parse().ok().filter(|count| *count <= MOST_REPLAYS)
    })?;
    Ok(limits)
}

/// Networks and addresses, with commas or blanks between them.
fn parse(text: &str) -> Option<Vec<IpNet>> {
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let network =
        |word: &str| word.parse().or_else(|_| word.parse().map(|address: IpAddr| address.into())).ok();
    words.map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_people_write_them() {
        let networks = parse("192.0.2.0/24, 198.51.100.7 2001:db8::/32,::1").unwrap();
        let shown: Vec<String> = networks.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "::1/128"]);
        assert_eq!(parse(" "), Some(Vec::new()));
        for text in ["192.0.2.0/33", "192.0.2", "localhost", "192.0.2.0/24;::1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// The settings' defaults are the core's.
    #[test]
    fn the_defaults_are_the_cores() {
        let sources = Sources::of_file("config".into(), "[server]").unwrap();
        assert_eq!(read(&sources).unwrap(), Limits::default());
    }
}
