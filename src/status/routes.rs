//! The paths of the status page and their responses.

use super::figures::Figures;
use super::http::{HttpResponse, StatusCode};
use super::{exposition, page};

/// Returns the response for a path.
pub(super) fn answer(figures: &Figures, path: &str) -> HttpResponse {
    match path {
        "/" => page::response().unwrap_or_else(|error| internal_error(path, &error)),
        "/healthz" => match figures.health().trouble() {
            None => HttpResponse::text(StatusCode::Ok, "ok"),
            Some(trouble) => HttpResponse::text(StatusCode::Unavailable, &trouble.at(figures.clock().now())),
        },
        "/metrics" => HttpResponse::new(StatusCode::Ok, exposition::CONTENT_TYPE, figures.exposition()),
        "/status.json" => match figures.document() {
            Ok(json) => HttpResponse::new(StatusCode::Ok, "application/json", json),
            Err(error) => internal_error(path, &error),
        },
        _ => HttpResponse::bare(StatusCode::NotFound),
    }
}

fn internal_error(path: &str, error: &dyn std::error::Error) -> HttpResponse {
    log::error!("status page: no reply for {path}: {error}");
    HttpResponse::bare(StatusCode::Internal)
}
