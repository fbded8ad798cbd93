//! Reads the figures of a view, from wherever it is reached.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::access::Token;
use super::figures::Figures;

/// An answer takes no longer, or nobody is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// The figures of 512 sources with their history have 5 MB.
const LONGEST: usize = 16 << 20;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error(
        "cannot reach a view at {place}: {why}. Was the receiver started with --view, and is this the address \
         that it printed behind `view at`?"
    )]
    Unreachable {
        /// Where.
        place: String,
        /// What the system says.
        why: String,
    },
    /// It asks for a token.
    #[error(
        "the view at {place} asks for its token: give it with --token-file FILE or FRAMELANE_VIEW_TOKEN"
    )]
    Token {
        /// Where.
        place: String,
    },
    /// What answers is no view.
    #[error("what answers at {place} is no view of framelane: {why}")]
    NoView {
        /// Where.
        place: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The figures of the view at `place`, a name or an address with a port. Cancel safe.
///
/// # Errors
/// [`ClientError`].
pub async fn fetch(place: &str, token: Option<&Token>) -> Result<Figures, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable { place: place.to_owned(), why };
    match timeout(PATIENCE, ask(place, token)).await {
        Ok(answer) => answer,
        Err(_) => Err(unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn ask(place: &str, token: Option<&Token>) -> Result<Figures, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable { place: place.to_owned(), why };
    let no_view = |why: String| ClientError::NoView { place: place.to_owned(), why };
    let stream = TcpStream::connect(place).await.map_err(|error| unreachable(error.to_string()))?;
    let (mut requests, connection) = http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|error| no_view(error.to_string()))?;
    let asking = async {
        let mut request = Request::get("/state").header(HOST, place);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        let request = request.body(Body::empty()).map_err(|error| no_view(error.to_string()))?;
        let answer = requests.send_request(request).await;
        let answer = answer.map_err(|error| no_view(error.to_string()))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(ClientError::Token { place: place.to_owned() });
            }
            status => {
                let words =
                    to_bytes(Body::new(answer.into_body()), 1_000).await.unwrap_or_default();
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                return Err(no_view(format!("{status}: {}", crate::frame::printable(&words))));
            }
        }
        let text = to_bytes(Body::new(answer.into_body()), LONGEST).await;
        let text = text.map_err(|error| no_view(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| no_view(error.to_string()))
    };
    // The connection does nothing unless it is polled, and is of no use beyond the answer.
    tokio::select! {
        answer = asking => answer,
        ended = connection => Err(no_view(match ended {
            Ok(()) => "it hung up".to_owned(),
            Err(error) => error.to_string(),
        })),
    }
}
