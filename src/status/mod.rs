//! The status page, its figures as JSON, metrics for Prometheus and a check of health, over HTTP.
//!
//! One thread serves them all. It reads what the workers count, and they never wait for it.

mod connections;
mod exposition;
mod health;
mod http;
mod json;
mod page;
mod report;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyzord_core::{Store, Tick};
use pyzord_runtime::{Clock, Counters};

use health::Health;
use http::{Code, Response};
pub(crate) use report::Facts;
use report::Report;

/// How many networks are named.
const TALKERS: usize = 20;

/// A listener that is open, so that a start fails when it cannot be.
#[derive(Debug)]
pub(crate) struct Status {
    listener: TcpListener,
    address: SocketAddr,
    /// The host of the setting.
    host: String,
}

impl Status {
    /// Listens where the setting says: `host:port`.
    pub(crate) fn bind(setting: &str) -> Result<Self, String> {
        let open = || -> io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind(setting)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) =
            open().map_err(|error| format!("StatusAddress: cannot listen on {setting}: {error}"))?;
        let host = setting.rsplit_once(':').map_or(setting, |(host, _)| host).to_owned();
        log::info!("Status page on http://{address}/");
        if !address.ip().is_loopback() {
            log::warn!(
                "StatusAddress: whoever reaches {address} can read who sends requests; there is no password"
            );
        }
        Ok(Self { listener, address, host })
    }

    /// Serves until the peer of `end` is closed. `store` is for asking whether the database answers.
    pub(crate) fn serve(&self, end: &UnixStream, facts: &Facts, counters: &Counters, store: Box<dyn Store>) {
        let clock = counters.clock();
        let mut site = Site { facts, counters, clock, health: Health::new(store, clock) };
        connections::serve(&self.listener, end, clock, &mut |request| {
            if !self.is_meant(request.host) {
                return Response::bare(Code::Misdirected);
            }
            // A bug in a report must not end the page, nor the server.
            let answered = catch_unwind(AssertUnwindSafe(|| site.answer(request.path)));
            answered.unwrap_or_else(|_| Response::bare(Code::Internal))
        });
    }

    /// A web page elsewhere may have its own name resolve to 127.0.0.1, and would then read ours from the browser of
    /// somebody who can reach it. Such a browser still says the name.
    fn is_meant(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return true };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        !self.address.ip().is_loopback()
            || bare.parse::<IpAddr>().is_ok()
            || ["localhost", &self.host].iter().any(|name| host.eq_ignore_ascii_case(name))
    }
}

struct Site<'a> {
    facts: &'a Facts,
    counters: &'a Counters,
    clock: Clock,
    health: Health,
}

impl Site<'_> {
    fn answer(&mut self, path: &str) -> Response {
        match path {
            "/" => page::response(),
            "/healthz" => {
                let details = self.counters.details(0);
                match self.health.trouble(&details) {
                    None => Response::text(Code::Ok, "ok"),
                    Some(trouble) => Response::text(Code::Unavailable, trouble),
                }
            }
            "/metrics" => {
                Response::new(Code::Ok, exposition::CONTENT_TYPE, exposition::write(&self.report()))
            }
            "/status.json" => Response::new(Code::Ok, "application/json", self.report().json().to_string()),
            _ => Response::bare(Code::NotFound),
        }
    }

    fn report(&mut self) -> Report<'_> {
        let details = self.counters.details(TALKERS);
        Report {
            facts: self.facts,
            uptime: self.clock.tick().since(Tick::default()),
            trouble: self.health.trouble(&details),
            store_answers: self.health.store().is_ok(),
            records: self.health.records(),
            counts: self.counters.counts(),
            details,
        }
    }
}
