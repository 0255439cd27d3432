//! What is answered: a text, or a log as it grows.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

use super::refusal::Refusal;
use crate::log::Piece;

/// The body of an answer.
pub(super) enum Body {
    /// All of it; `None` once it was taken.
    Whole(Option<Bytes>),
    /// A log; its reader ends when this is dropped.
    Log(mpsc::Receiver<Piece>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Log(pieces) => {
                pieces.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece.text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Log(_) => SizeHint::default(),
        }
    }
}

/// An answer that is all there.
pub(super) fn whole(kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    with_kind(kind, Body::Whole(Some(text.into())))
}

/// An answer that goes on.
pub(super) fn log(pieces: mpsc::Receiver<Piece>) -> Response<Body> {
    with_kind("text/plain", Body::Log(pieces))
}

/// A refusal as an answer.
pub(super) fn refused(refusal: Refusal) -> Response<Body> {
    let mut response = whole("text/plain; charset=utf-8", refusal.text);
    *response.status_mut() = refusal.code;
    response
}

/// The answer after which the connection carries frames.
pub(super) fn switched(headers: http::HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::Whole(None));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

fn with_kind(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
