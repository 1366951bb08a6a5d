//! Requests that are aborted: nothing more is written, and their stream or connection ends. Pingora does not call
//! `logging` for them, so their metrics and access log line are written here. Requests that panic end here too.

use super::access_log;
use super::context::Context;
use crate::model::Rejection;
use crate::telemetry::{Decision, DisconnectReason};

impl Drop for Context {
    /// An aborted request ends here.
    fn drop(&mut self) {
        if !self.is_accounted_for {
            account(self);
        }
    }
}

/// Writes metrics and access log of an aborted request.
fn account(context: &mut Context) {
    let timing = context.timing.clone();
    let is_slow =
        timing.as_ref().is_some_and(|timing| timing.disconnect_reason() == Some(DisconnectReason::MinBodyRate));
    let is_stalled = timing.as_ref().is_some_and(|timing| timing.is_stalled());
    // While its task unwinds.
    let panics = std::thread::panicking();
    // Then it is no failure of the provider.
    let is_silent = !context.is_whole && timing.is_some_and(|timing| timing.awaits_client());
    if panics {
        end(context, Decision::Failed, Some(&Rejection::InternalError));
    } else if is_slow || is_stalled && is_silent {
        reject(context);
    } else if is_stalled && context.is_whole && context.begun {
        // Otherwise the provider's timeout would have ended the request.
        end(context, Decision::ClientGone, None);
    } else if is_stalled {
        fail(context);
    }
    access_log::account(context, context.status, context.bytes_sent());
}

/// The client did not send the body.
fn reject(context: &mut Context) {
    let request_id = context.id.to_str().unwrap_or_default();
    tracing::debug!(request_id, "request aborted: the client does not send the body");
    end(context, Decision::Rejected, Some(&Rejection::BodyTimeout(context.started.elapsed())));
}

/// The provider did not read the body.
fn fail(context: &mut Context) {
    let Some(upstream) = context.upstream.clone() else {
        return;
    };
    if let Some(provider) = context.provider() {
        provider.retire_pool(context.pool_generation);
        provider.note(Some("the provider stopped reading a request body"));
    }
    let request_id = context.id.to_str().unwrap_or_default();
    tracing::warn!(request_id, upstream = upstream.name, "request aborted: the provider does not read the body");
    end(context, Decision::Failed, Some(&Rejection::UpstreamTimeout(upstream.target.timeouts.idle)));
}

fn end(context: &mut Context, decision: Decision, rejection: Option<&Rejection>) {
    context.outcome.upstream = context.upstream.as_ref().map(|upstream| upstream.index);
    context.outcome.decision = decision;
    context.outcome.rejection = rejection.map(Rejection::name);
}

#[cfg(test)]
mod tests {
    use super::Context;
    use crate::config::{EmptyEnvironment, compile};
    use crate::log_writer::LogWriter;
    use crate::runtime::CurrentRuntime;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const CONFIG: &str = "upstreams: { a: { url: 'http://127.0.0.1:1', dialect: auth0, auth: forward } }";

    #[tokio::test]
    async fn panic_is_a_failure_of_the_gateway() {
        let config = compile("c", CONFIG, &EmptyEnvironment, [7; 32]).unwrap().config;
        let log_writer = LogWriter::new(std::io::sink()).unwrap();
        let running = CurrentRuntime::new(&config, "hash", log_writer).unwrap();
        let mut context = Context::new(running.now());
        context.upstream = running.now().gateway.upstreams().first().cloned();
        let caught = catch_unwind(AssertUnwindSafe(move || {
            let _context = context;
            panic!("a bug");
        }));
        assert!(caught.is_err());
        let text = String::from_utf8(running.metrics.text(&running.now().reading()).unwrap()).unwrap();
        let counted = |series: &str| text.lines().any(|line| line.starts_with(series) && line.ends_with(" 1"));
        assert!(counted("sessiongate_rejections_total{reason=\"internal_error\",upstream=\"a\"}"), "{text}");
        assert!(counted("sessiongate_requests_total{cache=\"none\",decision=\"failed\""), "{text}");
    }
}
