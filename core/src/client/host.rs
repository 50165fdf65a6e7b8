//! Hosts and ports in a client's files.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use crate::user_file::{UserFile, Warning, content_lines};

/// Returns the lines with content of a client's file, trimmed, and their numbers from 1. Bytes that are not UTF-8 become
/// replacement characters.
pub(super) fn client_lines<'a>(
    file: UserFile,
    text: &'a [u8],
    warnings: &mut Vec<Warning>,
) -> impl Iterator<Item = (usize, String)> + use<'a> {
    content_lines(file, text, warnings)
        .map(|(number, line)| (number, String::from_utf8_lossy(line).trim().to_owned()))
}

/// Parses a host's name or address into the one form in which hosts are compared.
pub(super) fn parse_host(text: &str) -> Option<Box<str>> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.contains(':') {
        return bare.parse::<Ipv6Addr>().ok().map(|address| alloc::format!("{address}").into());
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let valid = !bare.is_empty() && bare.len() == text.len() && bare.bytes().all(is_name);
    valid.then(|| bare.to_ascii_lowercase().into())
}

/// Parses a port, 1 to 65535.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port != 0)
}
