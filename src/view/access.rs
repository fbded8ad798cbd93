//! Who may look, and by which name.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use thiserror::Error;

use super::error::ViewError;
use super::tls::ViewTls;

/// How the name of the cookie that holds the token begins. Cookies are of a host, whatever the port: each view on it has one of
/// its own.
const COOKIE_NAME: &str = "framelane_view_";

/// Shorter ones could be tried out.
const SHORTEST_TOKEN: usize = 16;
const LONGEST_TOKEN: usize = 256;

/// A secret that lets its holder look.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    text: String,
    hash: blake3::Hash,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is too short to be a secret, or too long for a header.
    #[error("a token has 16 to 256 characters; `openssl rand -hex 16` makes one")]
    Length,
    /// It would not travel in an address or a header.
    #[error("a token has letters, digits, `-`, `_`, `.` and `~` only")]
    Characters,
}

/// Who may look.
#[derive(Debug, Clone, Default)]
pub struct Access {
    token: Option<Token>,
    tls: Option<ViewTls>,
    hosts: Vec<String>,
}

/// Why somebody is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nothing here is ever written.
    Method,
    /// Another site's page asks through the user's browser.
    Host,
    /// There is a token, and it was not shown.
    Token,
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&text.len()) {
            return Err(TokenError::Length);
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        if !text.bytes().all(fits) {
            return Err(TokenError::Characters);
        }
        Ok(Self { text: text.to_owned(), hash: blake3::hash(text.as_bytes()) })
    }
}

impl Token {
    /// The secret.
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// The name of the cookie that holds it.
    pub(super) fn cookie(&self) -> String {
        format!("{COOKIE_NAME}{}", &self.hash.to_hex()[..8])
    }

    /// Compared by hash, in a time that says nothing of the token.
    fn is(&self, shown: &str) -> bool {
        shown.len() <= LONGEST_TOKEN && blake3::hash(shown.as_bytes()) == self.hash
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Access {
    /// Asks for this token.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Answers to this name of the machine, beside its addresses and `localhost`.
    #[must_use]
    pub fn with_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into().to_ascii_lowercase());
        self
    }

    /// Speaks TLS, and lets in whom that lets in; where there is a token as well, both are asked for.
    #[must_use]
    pub fn with_tls(mut self, tls: ViewTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Whether a token is asked for.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether somebody has to show who he is: by a token, or by a certificate.
    pub fn is_guarded(&self) -> bool {
        self.has_token() || self.tls.as_ref().is_some_and(ViewTls::is_mutual)
    }

    /// Whether it may be served at an address: one that others reach needs a guard.
    ///
    /// # Errors
    /// [`ViewError::Open`].
    pub fn check_at(&self, address: SocketAddr) -> Result<(), ViewError> {
        match address.ip().to_canonical().is_loopback() || self.is_guarded() {
            true => Ok(()),
            false => Err(ViewError::Open { address }),
        }
    }

    /// The TLS that is spoken, if any.
    pub(super) fn tls(&self) -> Option<&ViewTls> {
        self.tls.as_ref()
    }

    /// The token that a page's address brings, where it is the right one: it becomes a cookie, so that it does not
    /// stay in the address.
    pub(super) fn in_address(&self, uri: &Uri) -> Option<&Token> {
        let token = self.token.as_ref()?;
        let query = uri.query()?;
        let shown = query.split('&').find_map(|part| part.strip_prefix("token="))?;
        token.is(shown).then_some(token)
    }

    /// Whether a request is answered.
    pub(super) fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), Denied> {
        if method != Method::GET && method != Method::HEAD {
            return Err(Denied::Method);
        }
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).ok_or(Denied::Host)?;
        if !self.is_ours(host) || !is_same_site(host, headers) {
            return Err(Denied::Host);
        }
        let Some(token) = &self.token else { return Ok(()) };
        let shown = bearer(headers).or_else(|| cookie(headers, &token.cookie()));
        match shown.is_some_and(|shown| token.is(shown)) || self.in_address(uri).is_some() {
            true => Ok(()),
            false => Err(Denied::Token),
        }
    }

    /// A name that is not ours can have been made to lead here by a page of somebody else's (DNS rebinding). An
    /// address leads to itself.
    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        address.unwrap_or(&name).parse::<IpAddr>().is_ok()
            || name == "localhost"
            || self.hosts.contains(&name)
            || is_this_machine(&name)
    }
}

impl Denied {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Method => "nothing can be written here: GET and HEAD only\n",
            Self::Host => {
                "this view answers to the machine's addresses, its own name and localhost; whoever runs the receiver \
                 can allow another name, and open its pages from it alone\n"
            }
            Self::Token => {
                "this view asks for its token: open /?token=TOKEN once in a browser, or send the header \
                 Authorization: Bearer TOKEN\n"
            }
        }
    }
}

/// Whether it is this machine's own name, as its certificate has it, or that in its own network.
fn is_this_machine(name: &str) -> bool {
    let uname = rustix::system::uname();
    let own = uname.nodename().to_str().unwrap_or_default().to_ascii_lowercase();
    let short = own.split('.').next().unwrap_or_default();
    !short.is_empty()
        && (name == own || name == short || name.strip_suffix(".local") == Some(short))
}

/// A page of another origin says so where it opens a WebSocket, which nothing else keeps it from.
fn is_same_site(host: &str, headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    // The scheme's case is of no meaning (RFC 9110, section 11.1).
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).map(str::trim);
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn asked(access: &Access, uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Denied> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        access.check(&Method::GET, &uri.parse().unwrap(), &map)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        let access = Access::default().with_host("Camera.local");
        for host in ["127.0.0.1:80", "localhost", "[::1]:8080", "192.168.1.2", "camera.local:1"] {
            assert_eq!(asked(&access, "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:8080", "localhost.evil.example", "", "[::1"] {
            assert_eq!(asked(&access, "/", &[("host", host)]), Err(Denied::Host), "{host}");
        }
        assert_eq!(asked(&access, "/", &[]), Err(Denied::Host));
    }

    #[test]
    fn pages_of_others_are_turned_away() {
        let access = Access::default();
        let from = |origin| asked(&access, "/ws", &[("host", "127.0.0.1:80"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:80"), Ok(()));
        for origin in ["http://127.0.0.1:81", "http://evil.example", "null", "https://"] {
            assert_eq!(from(origin), Err(Denied::Host), "{origin}");
        }
    }

    #[test]
    fn nothing_is_written() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let asked = Access::default().check(&method, &Uri::from_static("/"), &headers);
            assert_eq!(asked, Err(Denied::Method));
        }
    }

    #[test]
    fn a_token_is_asked_for_in_three_places() {
        let access = Access::default().with_token(SECRET.parse().unwrap());
        let with = |uri: &str, name, value: &str| {
            asked(&access, uri, &[("host", "localhost"), (name, value)])
        };
        assert_eq!(with("/", "accept", "*"), Err(Denied::Token));
        assert_eq!(with("/?token=0123456789abcdef", "accept", "*"), Ok(()));
        assert_eq!(with("/?token=0123456789abcdee", "accept", "*"), Err(Denied::Token));
        assert_eq!(with("/", "authorization", "Bearer 0123456789abcdef"), Ok(()));
        assert_eq!(with("/", "authorization", "bearer 0123456789abcdef"), Ok(()));
        assert_eq!(with("/", "authorization", "Bearer "), Err(Denied::Token));
        let name = SECRET.parse::<Token>().unwrap().cookie();
        assert_eq!(with("/", "cookie", &format!("a=b; {name}=0123456789abcdef")), Ok(()));
        let wrong = format!("{name}=0123456789abcdeF");
        assert_eq!(with("/", "cookie", &wrong), Err(Denied::Token));
    }

    #[test]
    fn two_views_of_a_host_share_its_cookies() {
        let tokens = [SECRET, "fedcba9876543210"].map(|secret| secret.parse::<Token>().unwrap());
        let pairs = tokens.each_ref().map(|token| format!("{}={}", token.cookie(), token.secret()));
        for token in tokens {
            let access = Access::default().with_token(token);
            let cookies = pairs.join("; ");
            let headers = [("host", "localhost"), ("cookie", cookies.as_str())];
            assert_eq!(asked(&access, "/", &headers), Ok(()));
        }
    }

    #[test]
    fn this_machine_is_called_by_its_name() {
        let uname = rustix::system::uname();
        let own = uname.nodename().to_str().unwrap();
        let short = own.split('.').next().unwrap();
        let local = format!("{}.local:8080", short.to_uppercase());
        for host in [own, short, &local] {
            assert_eq!(asked(&Access::default(), "/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [format!("{own}.evil.example"), format!("x{short}"), ".local".to_owned()] {
            let headers = [("host", host.as_str())];
            assert_eq!(asked(&Access::default(), "/", &headers), Err(Denied::Host), "{host}");
        }
    }

    #[test]
    fn tokens_that_are_none_are_refused() {
        assert_eq!("short".parse::<Token>(), Err(TokenError::Length));
        assert_eq!("a".repeat(257).parse::<Token>(), Err(TokenError::Length));
        assert_eq!("0123456789abc ef".parse::<Token>(), Err(TokenError::Characters));
        let token: Token = format!(" {SECRET}\n").parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
