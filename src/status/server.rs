//! The listener of the status page.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use super::connections::{Connections, Sources};
use super::figures::Figures;
use super::http::{HttpRequest, HttpResponse, StatusCode};
use super::routes;

/// The answer to a client that asks for another host.
const FOREIGN: &str = "421 Misdirected Request: this server does not have the host name that was asked for. If it \
    should, add the name to StatusHosts in pyzord's configuration and reload; an IP address always works.";

/// How much of a foreign name is logged, in characters.
const MOST_SHOWN: usize = 64;

/// An open listener.
#[derive(Debug)]
pub(crate) struct StatusServer {
    setting: String,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    names: ServedNames,
}

/// Why the status page cannot be served.
#[derive(Debug, Error)]
pub(crate) enum StatusError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Listen {
        address: String,
        #[source]
        cause: io::Error,
    },
}

impl StatusServer {
    /// Listens on the address of the setting, `host:port`.
    ///
    /// `hosts` are further names by which clients may ask for the page.
    pub(crate) fn bind(setting: &str, hosts: &[String]) -> Result<Self, StatusError> {
        let failed = |cause| StatusError::Listen { address: setting.to_owned(), cause };
        let (listener, address) = listen(setting).map_err(failed)?;
        let names = ServedNames::new(host(setting), hosts);
        Ok(Self { setting: setting.to_owned(), listener: Arc::new(listener), address, names })
    }

    /// Logs where the page is.
    pub(crate) fn announce(&self) {
        log::info!("Status page on http://{}/", self.address);
        self.exposure().into_iter().for_each(|warning| log::warn!("{warning}"));
    }

    /// Returns a warning if other hosts can read the page.
    pub(crate) fn exposure(&self) -> Option<String> {
        let address = self.address;
        (!address.ip().is_loopback()).then(|| {
            format!(
                "StatusAddress: the page has no password: every host that reaches {address} can read which networks \
                 send requests"
            )
        })
    }

    /// Returns one for these settings. The listener of an address that has not changed is used again.
    fn moved(&self, setting: &str, hosts: &[String]) -> Result<Self, StatusError> {
        if setting != self.setting {
            return Self::announced(setting, hosts);
        }
        let names = ServedNames::new(host(setting), hosts);
        let listener = Arc::clone(&self.listener);
        Ok(Self { setting: self.setting.clone(), listener, address: self.address, names })
    }

    fn announced(setting: &str, hosts: &[String]) -> Result<Self, StatusError> {
        Self::bind(setting, hosts).inspect(Self::announce)
    }

    fn answer(&self, figures: &Figures, request: &HttpRequest<'_>) -> HttpResponse {
        if !self.names.contains(request.host) {
            self.names.warn(request.host);
            return HttpResponse::text(StatusCode::Misdirected, FOREIGN);
        }
        // A bug in a report ends neither the page nor the server.
        let answered = catch_unwind(AssertUnwindSafe(|| routes::answer(figures, request.path)));
        answered.unwrap_or_else(|_| {
            log::error!("status page: no reply for {} after an internal error", request.path);
            HttpResponse::bare(StatusCode::Internal)
        })
    }
}

/// The status page of a running server, which a reload can open, move or close.
#[derive(Debug)]
pub(crate) struct StatusPage {
    /// `None` while the page is closed.
    current: Mutex<Option<Arc<StatusServer>>>,
    waker: UnixStream,
    woken: UnixStream,
}

impl StatusPage {
    /// Returns the page of an open listener, or a closed page.
    pub(crate) fn new(server: Option<StatusServer>) -> io::Result<Self> {
        let (waker, woken) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        Ok(Self { current: Mutex::new(server.map(Arc::new)), waker, woken })
    }

    /// Serves until the peer of `end` is closed.
    pub(crate) fn serve(&self, end: &UnixStream, figures: &Figures) {
        let clock = figures.clock();
        let mut connections = Connections::default();
        loop {
            let current = self.lock().clone();
            let listener = current.as_ref().map(|server| &*server.listener);
            let sources = Sources { end, changed: &self.woken, listener };
            let ended = connections.serve(&sources, clock, &mut |request| match &current {
                Some(server) => server.answer(figures, &request),
                // A connection that is older than the end of the page.
                None => HttpResponse::bare(StatusCode::NotFound),
            });
            if ended {
                return;
            }
            // A change that comes behind these bytes wakes the next wait.
            while matches!((&self.woken).read(&mut [0; 64]), Ok(1..)) {}
        }
    }

    /// Takes new settings; without an address the page is closed.
    ///
    /// # Errors
    /// When the address cannot be listened on: the page stays where it is.
    pub(crate) fn change(&self, setting: Option<&str>, hosts: &[String]) -> Result<(), StatusError> {
        let old = self.lock().clone();
        let new = match (setting, &old) {
            (None, _) => None,
            (Some(setting), Some(old)) => Some(old.moved(setting, hosts)?),
            (Some(setting), None) => Some(StatusServer::announced(setting, hosts)?),
        };
        *self.lock() = new.map(Arc::new);
        // A full pipe wakes the thread, too.
        let _ = (&self.waker).write(&[0]);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<StatusServer>>> {
        // Nothing panics while it holds this lock.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The names by which clients ask for this server.
///
/// A web site whose name resolves to this machine could otherwise read the page through the browser of an operator (DNS
/// rebinding); such a browser sends the name of that site. It cannot send an address.
#[derive(Debug)]
struct ServedNames {
    names: Vec<String>,
    warned: AtomicBool,
}

impl ServedNames {
    /// Returns `localhost`, the machine's name, the host of the address setting, and `more`.
    fn new(host: &str, more: &[String]) -> Self {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let own = ["localhost".to_owned(), machine, host.to_owned()];
        let names = own.into_iter().chain(more.iter().cloned()).map(|name| bare(&name).to_owned());
        Self { names: names.collect(), warned: AtomicBool::new(false) }
    }

    fn contains(&self, host: Option<&str>) -> bool {
        let Some(host) = host.map(bare) else { return true };
        host.parse::<IpAddr>().is_ok() || self.names.iter().any(|name| host.eq_ignore_ascii_case(name))
    }

    /// Logs the first name that is not served: it may be a proxy's.
    fn warn(&self, host: Option<&str>) {
        if !self.warned.swap(true, Ordering::Relaxed) {
            let host: String = host.unwrap_or_default().chars().take(MOST_SHOWN).collect();
            log::warn!(
                "status page: a request for the host `{}` is refused, as this server does not have that name; \
                 if it should, add it to StatusHosts",
                host.escape_default()
            );
        }
    }
}

/// Returns a name without the brackets of an IPv6 address and the dot behind a whole name.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(['.', ']'])
}

/// Returns the host of the address setting.
fn host(setting: &str) -> &str {
    setting.rsplit_once(':').map_or(setting, |(host, _)| host)
}

fn listen(address: &str) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_the_names_of_the_server_are_served_and_no_others() {
        let names = ServedNames::new("page.example.org", &["Monitor".to_owned()]);
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        for host in
            ["localhost", "LOCALHOST.", "page.example.org", "monitor", "192.0.2.1", "[::1]", "::1", &machine]
        {
            assert!(names.contains(Some(host)), "{host}");
        }
        assert!(names.contains(None), "HTTP/1.0");
        for host in
            ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "monitor.example"]
        {
            assert!(!names.contains(Some(host)), "{host}");
        }
        // A wildcard address names no host.
        assert!(!ServedNames::new("0.0.0.0", &[]).contains(Some("evil.example")));
    }
}
