//! The paths of the status page and their responses.

use pyzord_core::Now;

use super::figures::Figures;
use super::http::{HttpResponse, StatusCode};
use super::{exposition, page};
use crate::health::{Level, Verdict};

/// Returns the response for a path.
pub(super) fn answer(figures: &Figures, path: &str) -> HttpResponse {
    match path {
        "/" => page::response().unwrap_or_else(|error| internal_error(path, &error)),
        "/healthz" => health(&figures.health().verdict(), figures.clock().now()),
        "/metrics" => HttpResponse::new(StatusCode::Ok, exposition::CONTENT_TYPE, figures.exposition()),
        "/status.json" => json(path, figures.document()),
        "/history.json" => json(path, figures.history()),
        _ => HttpResponse::bare(StatusCode::NotFound),
    }
}

/// Returns 503 for a server that fails. The first word for one that works is `ok`, as monitors expect.
fn health(verdict: &Verdict, now: Now) -> HttpResponse {
    let Some(worst) = verdict.worst() else { return HttpResponse::text(StatusCode::Ok, "ok") };
    let (finding, remedy) = (worst.at(now), worst.cause.remedy());
    match worst.cause.level() {
        Level::Failed => HttpResponse::text(StatusCode::Unavailable, &format!("{finding}\n{remedy}")),
        _ => HttpResponse::text(StatusCode::Ok, &format!("ok, with a warning: {finding}\n{remedy}")),
    }
}

fn json(path: &str, document: serde_json::Result<String>) -> HttpResponse {
    match document {
        Ok(json) => HttpResponse::new(StatusCode::Ok, "application/json", json),
        Err(error) => internal_error(path, &error),
    }
}

fn internal_error(path: &str, error: &dyn std::error::Error) -> HttpResponse {
    log::error!("status page: no reply for {path}: {error}");
    HttpResponse::bare(StatusCode::Internal)
}
