//! The listener of the status page.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyzord_runtime::Counters;
use thiserror::Error;

use super::connections;
use super::http::{HttpResponse, StatusCode};
use super::routes::Routes;
use super::snapshot::Facts;
use crate::health::Health;

/// An open listener.
#[derive(Debug)]
pub(crate) struct StatusServer {
    listener: TcpListener,
    address: SocketAddr,
    /// The host of the setting.
    host: String,
}

/// Why the status page cannot be served.
#[derive(Debug, Error)]
pub(crate) enum StatusError {
    /// The address cannot be listened on.
    #[error("StatusAddress: cannot listen on {address}: {cause}")]
    Listen {
        address: String,
        #[source]
        cause: io::Error,
    },
}

impl StatusServer {
    /// Listens on the address of the setting, `host:port`.
    pub(crate) fn bind(setting: &str) -> Result<Self, StatusError> {
        let failed = |cause| StatusError::Listen { address: setting.to_owned(), cause };
        let (listener, address) = listen(setting).map_err(failed)?;
        let host = setting.rsplit_once(':').map_or(setting, |(host, _)| host).to_owned();
        log::info!("Status page on http://{address}/");
        if !address.ip().is_loopback() {
            log::warn!(
                "StatusAddress: the page has no password: every host that reaches {address} can read which networks \
                 send requests"
            );
        }
        Ok(Self { listener, address, host })
    }

    /// Serves until the peer of `end` is closed.
    pub(crate) fn serve(&self, end: &UnixStream, facts: &Facts, counters: &Counters, health: &Health) {
        let clock = counters.clock();
        let routes = Routes::new(facts, counters, health);
        connections::serve(&self.listener, end, clock, &mut |request| {
            if !self.is_own_name(request.host) {
                return HttpResponse::bare(StatusCode::Misdirected);
            }
            // A bug in a report ends neither the page nor the server.
            let answered = catch_unwind(AssertUnwindSafe(|| routes.answer(request.path)));
            answered.unwrap_or_else(|_| {
                log::error!("status page: no reply for {} after an internal error", request.path);
                HttpResponse::bare(StatusCode::Internal)
            })
        });
    }

    /// Returns whether a request asks for this server. A web site whose name resolves to 127.0.0.1 could otherwise read
    /// the page through the browser of an operator (DNS rebinding); such a browser sends the name of that site.
    fn is_own_name(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return true };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        !self.address.ip().is_loopback()
            || bare.parse::<IpAddr>().is_ok()
            || ["localhost", &self.host].iter().any(|name| host.eq_ignore_ascii_case(name))
    }
}

fn listen(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}
