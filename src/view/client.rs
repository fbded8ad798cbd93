//! Reads the figures of a view, from wherever it is reached.

use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1;
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::Token;
use super::figures::Figures;
use super::tls::HTTP;
use crate::identity::{ClientTls, HandshakeRefusal, Pin};

/// An answer takes no longer, or nobody is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// The figures of 512 sources with their history have 5 MB.
const LONGEST: usize = 16 << 20;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error(
        "cannot reach a view at {place}: {why}. Was the receiver started with `view`, and is this the address \
         that it printed behind `view at`?"
    )]
    Unreachable {
        /// Where.
        place: String,
        /// What the system says.
        why: String,
    },
    /// It asks for a token.
    #[error("the view at {place} asks for its token")]
    Token {
        /// Where.
        place: String,
    },
    /// It is not to be trusted, or speaks no TLS.
    #[error("cannot look at the view at {place}: {why}")]
    Tls {
        /// Where.
        place: String,
        /// What is wrong.
        why: String,
    },
    /// Only certain certificates may look, and this is none of them.
    #[error(
        "the view at {place} lets only certain certificates look, and this machine's is not among them: {own}"
    )]
    NotAllowed {
        /// Where.
        place: String,
        /// This machine's certificate.
        own: Pin,
    },
    /// It does not answer to that name.
    #[error(
        "the view at {place} does not answer to this name: ask for it by its address, or have whoever runs \
         the receiver allow the name: {why}"
    )]
    Name {
        /// Where.
        place: String,
        /// What it says.
        why: String,
    },
    /// The connection was lost, or what answers does not speak HTTP.
    #[error("what answers at {place} is no view of framelane: {cause}")]
    Hung {
        /// Where.
        place: String,
        /// What happened.
        cause: hyper::Error,
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

/// How a view is asked.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Asking {
    /// The token, where it asks for one.
    pub token: Option<Token>,
    /// TLS, made for [`Asking::PROTOCOL`], where it speaks that.
    pub tls: Option<ClientTls>,
}

impl Asking {
    /// What is spoken inside of TLS.
    pub const PROTOCOL: &[u8] = HTTP;
}

/// The figures of the view at `place`, a name or an address with a port. Cancel safe.
///
/// # Errors
/// [`ClientError`].
pub async fn fetch(place: &str, asking: &Asking) -> Result<Figures, ClientError> {
    match timeout(PATIENCE, connect(place, asking)).await {
        Ok(answer) => answer,
        Err(_) => Err(ClientError::Unreachable {
            place: place.to_owned(),
            why: format!("no answer within {} s", PATIENCE.as_secs()),
        }),
    }
}

async fn connect(place: &str, asking: &Asking) -> Result<Figures, ClientError> {
    let token = asking.token.as_ref();
    let stream = TcpStream::connect(place).await.map_err(|error| ClientError::Unreachable {
        place: place.to_owned(),
        why: error.to_string(),
    })?;
    let Some(tls) = &asking.tls else { return ask(place, token, TokioIo::new(stream)).await };
    let failed = |why: String| ClientError::Tls { place: place.to_owned(), why };
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
    let stream = TlsConnector::from(tls.tcp()).connect(name, stream).await.map_err(|error| {
        let refusal = tls.explainer().explain(&error);
        failed(refusal.map_or_else(|| error.to_string(), |refusal| refusal.to_string()))
    })?;
    // In TLS 1.3 this side is through before the other has looked at its certificate.
    let explained =
        |error: &(dyn std::error::Error + 'static)| match tls.explainer().explain(error)? {
            HandshakeRefusal::SenderNotAllowed { own } => {
                Some(ClientError::NotAllowed { place: place.to_owned(), own })
            }
            refusal => Some(failed(refusal.to_string())),
        };
    ask(place, token, TokioIo::new(stream)).await.map_err(|error| match &error {
        ClientError::Hung { cause, .. } => explained(cause).unwrap_or(error),
        _ => error,
    })
}

async fn ask(
    place: &str,
    token: Option<&Token>,
    io: impl Read + Write + Unpin + Send + 'static,
) -> Result<Figures, ClientError> {
    let no_view = |why: String| ClientError::NoView { place: place.to_owned(), why };
    let hung = |cause: hyper::Error| ClientError::Hung { place: place.to_owned(), cause };
    let (mut requests, connection) = http1::handshake::<_, Body>(io).await.map_err(hung)?;
    let asking = async {
        let mut request = Request::get("/state").header(HOST, place);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {}", token.secret()));
        }
        let request = request.body(Body::empty()).map_err(|error| no_view(error.to_string()))?;
        let answer = requests.send_request(request).await.map_err(hung)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED => {
                return Err(ClientError::Token { place: place.to_owned() });
            }
            status => {
                let words =
                    to_bytes(Body::new(answer.into_body()), 1_000).await.unwrap_or_default();
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                let why = format!("{status}: {}", crate::frame::printable(&words));
                return Err(match status {
                    // It is one, by another name.
                    StatusCode::MISDIRECTED_REQUEST => {
                        ClientError::Name { place: place.to_owned(), why }
                    }
                    _ => no_view(why),
                });
            }
        }
        let text = to_bytes(Body::new(answer.into_body()), LONGEST).await;
        let text = text.map_err(|error| no_view(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| no_view(error.to_string()))
    };
    // The connection does nothing unless it is polled, and is of no use beyond the answer.
    let mut asking = pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        ended = connection => match ended {
            // The answer may have come with the end.
            Ok(()) => asking.await,
            Err(error) => Err(hung(error)),
        },
    }
}
