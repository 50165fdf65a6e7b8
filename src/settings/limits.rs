//! The settings that limit what clients may ask for.

use std::net::IpAddr;
use std::num::NonZeroU32;

use pyzord_core::{IpNet, Limits, Rate};

use super::error::{Expected, SettingsError};
use super::names::Setting;
use super::sources::Sources;

/// The largest number of remembered reports: their memory takes about 1.1 GB.
const MOST_SIGNED_COUNTS: usize = 1 << 24;

/// Returns the limits.
pub(super) fn limits(sources: &Sources) -> Result<Limits, SettingsError> {
    let number = Expected::NumberUpTo(u32::MAX.into());
    let rate = |per_second, burst| {
        let per_second: u32 = sources.parse(per_second, number, |text| text.parse().ok())?;
        let burst: u32 = sources.parse(burst, number, |text| text.parse().ok())?;
        // The settings write 0 for no limit, and for the default burst.
        let rate = NonZeroU32::new(per_second).map(Rate::per_second);
        Ok(rate.map(|rate| NonZeroU32::new(burst).map_or(rate, |burst| Rate { burst, ..rate })))
    };
    let prefix = |setting, most: u8| {
        let in_range = |text: &str| text.parse().ok().filter(|bits| *bits <= most);
        sources.parse(setting, Expected::BitsUpTo(most), in_range)
    };
    let networks = |setting| sources.parse(setting, Expected::Networks, networks);
    let count = |text: &str| text.parse().ok().filter(|count| *count <= MOST_SIGNED_COUNTS);
    let mut limits = Limits::default();
    limits.requests = rate(Setting::RequestRate, Setting::RequestBurst)?;
    limits.failures = rate(Setting::FailureRate, Setting::FailureBurst)?;
    limits.ipv4_prefix = prefix(Setting::IPv4Prefix, 32)?;
    limits.ipv6_prefix = prefix(Setting::IPv6Prefix, 128)?;
    limits.allowed = networks(Setting::AllowNetworks)?;
    limits.denied = networks(Setting::DenyNetworks)?;
    limits.unlimited = networks(Setting::UnlimitedNetworks)?;
    let most = Expected::NumberUpTo(MOST_SIGNED_COUNTS as u64);
    limits.signed_counts = sources.parse(Setting::RememberedReports, most, count)?;
    Ok(limits)
}

/// Parses networks and addresses with commas or blanks between them.
fn networks(text: &str) -> Option<Vec<IpNet>> {
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let network =
        |word: &str| word.parse().or_else(|_| word.parse().map(|address: IpAddr| address.into())).ok();
    words.map(network).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Environment;

    #[test]
    fn networks_have_commas_or_blanks_between_them() {
        let found = networks("192.0.2.0/24, 198.51.100.7 2001:db8::/32,::1").unwrap();
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "::1/128"]);
        assert_eq!(networks(" "), Some(Vec::new()));
        for text in ["192.0.2.0/33", "192.0.2", "localhost", "192.0.2.0/24;::1"] {
            assert_eq!(networks(text), None, "{text}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_core() {
        let sources = Sources::of_file("config".into(), b"[server]", Environment::default(), []).unwrap();
        assert_eq!(limits(&sources).unwrap(), Limits::default());
    }
}
