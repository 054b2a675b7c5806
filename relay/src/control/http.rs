//! The loopback listener for machines: `/livez`, `/readyz`, `/metrics`.
//!
//! One request a connection, a small head, a short time, a bounded number of them: hyper is told all of it
//! here, since axum's own server has no such limits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::limits::{
    ACCEPT_RETRY_MS, HTTP_CONNECTION_MS, HTTP_CONNECTIONS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_MS,
    HTTP_HEADERS_MAX,
};
use super::operator::Operator;
use super::phase::Phase;
use crate::metrics::TEXT_TYPE;

/// Serves until the relay leaves, then lets answers under way finish.
pub(super) async fn serve(listener: TcpListener, operator: Arc<Operator>) {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .with_state(Arc::clone(&operator));
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < HTTP_CONNECTIONS_MAX;
        let accepted = tokio::select! {
            accepted = listener.accept(), if room => accepted,
            Some(_) = connections.join_next() => continue,
            _ = operator.phase.reached(Phase::Leaving) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "the HTTP listener could not accept");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HTTP_HEAD_MS))
        .keep_alive(false)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .max_headers(HTTP_HEADERS_MAX);
    let serving = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(Duration::from_millis(HTTP_CONNECTION_MS), serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request was not understood"),
        Err(_elapsed) => tracing::debug!("a request took too long"),
    }
}

async fn ready(State(operator): State<Arc<Operator>>) -> (StatusCode, &'static str) {
    readiness(operator.phase.now())
}

const fn readiness(phase: Phase) -> (StatusCode, &'static str) {
    match phase {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Running => (StatusCode::OK, "ready\n"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        Phase::Stopping | Phase::Leaving | Phase::Ended => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
    }
}

async fn metrics(State(operator): State<Arc<Operator>>) -> Response {
    let text = tokio::task::spawn_blocking(move || operator.scrape().into_text()).await;
    match text {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, TEXT_TYPE)], text).into_response(),
        Ok(Err(_)) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn unknown() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "here are /livez, /readyz and /metrics\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_relay_is_ready() {
        let check = |phase, expect| assert_eq!(readiness(phase).0.as_u16(), expect, "{phase:?}");
        check(Phase::Starting, 503);
        check(Phase::Running, 200);
        check(Phase::Draining, 503);
        check(Phase::Stopping, 503);
        check(Phase::Ended, 503);
    }
}
