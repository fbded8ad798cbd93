//! Trust by certificate authority.

use super::*;

#[tokio::test]
async fn a_certificate_authority_vouches_for_names() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new(folder.path());
    let mut case = Case::new();
    case.receiver = authority.issue("localhost", folder.path());
    case.trust = authority.trust();
    assert_eq!(case.run().await.sender, Ok(()));

    case.receiver = authority.issue("elsewhere", folder.path());
    let message = case.run().await.sender_refusal().to_string();
    assert!(message.contains("it was not issued for \"localhost\""), "{message}");
    assert!(message.contains("ca.pem") && message.contains("`pin` sha256:"), "{message}");

    case.receiver = identity();
    let message = case.run().await.sender_refusal().to_string();
    assert!(message.contains("another authority issued it"), "{message}");
}

#[tokio::test]
async fn a_self_signed_certificate_is_an_authority_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let new = NewCertificate { names: Vec::new(), days: 1, now: SystemTime::now() };
    let mut case = Case::new();
    case.receiver = Identity::create(folder.path(), &new, false).unwrap();
    let authority = Authority::load(&folder.path().join(CERTIFICATE_FILE)).unwrap();
    case.trust =
        ReceiverTrust::new(address(), Vec::new(), Some(authority), &KnownReceivers::default());
    for name in ["localhost", "127.0.0.1", "::1"] {
        let client = case.client();
        let outcome = over_tcp(client.tcp(), client.explainer(), &case.server(), name).await;
        assert_eq!(outcome.sender, Ok(()), "{name}");
    }
}

#[test]
fn an_authority_file_without_certificates_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    let error = Authority::load(&path).unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("No such file"), "{error}");
    fs::write(&path, "hello").unwrap();
    let error = Authority::load(&path).unwrap_err().to_string();
    assert!(error.contains("ca.pem holds no certificate"), "{error}");
}

#[tokio::test]
async fn for_an_authority_dates_count_and_the_clock_is_named() {
    let now = SystemTime::now();
    for (begin, end, expected) in [
        (now + DAY, now + 2 * DAY, "most likely this clock is behind. Set the clock, or trust"),
        (now - 2 * DAY, now - DAY, "If this clock is right, trust"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let authority = TestAuthority::new(folder.path());
        let receiver = authority.issue_for(HOST, folder.path(), begin, end);
        let pin = format!("`pin` {}", receiver.pin());
        let case = Case { receiver, trust: authority.trust(), ..Case::new() };
        let message = case.run().await.sender_refusal().to_string();
        for words in [expected, "this machine's clock says 20", &pin] {
            assert!(message.contains(words), "{words}: {message}");
        }
        assert!(!message.contains("`authority`") && !message.contains("--force"), "{message}");
    }
}

/// What a resumed handshake does not show must still hold.
#[tokio::test]
async fn a_session_is_not_resumed_beyond_the_end_of_the_receivers_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = TestAuthority::new(folder.path());
    let now = SystemTime::now();
    let receiver = authority.issue_for(HOST, folder.path(), now - DAY, now + DAY / 2);
    let case = Case { receiver, trust: authority.trust(), ..Case::new() };
    let clock = HandClock::new();
    let (trust, server) = (case.trust.clone(), case.server());
    let client = tls::client_config_at(&case.sender, trust, &[ALPN], EarlyData::Off, clock.clone());
    let first = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    assert_eq!(first.sender, Ok(()));
    clock.forward(DAY / 4);
    assert!(resumption::resumed(&client, &server).await);
    clock.forward(DAY / 3);
    let last = over_tcp(client.tcp(), client.explainer(), &server, HOST).await;
    let message = last.sender_refusal().to_string();
    assert!(message.contains("expired on"), "{message}");
}

struct TestAuthority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    path: std::path::PathBuf,
}

impl TestAuthority {
    fn new(folder: &std::path::Path) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "a test authority");
        let key = rcgen::KeyPair::generate().unwrap();
        let path = folder.join("ca.pem");
        fs::write(&path, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), path }
    }

    fn issue(&self, name: &str, folder: &std::path::Path) -> Identity {
        self.issue_for(name, folder, SystemTime::now() - DAY, SystemTime::now() + DAY)
    }

    fn issue_for(
        &self,
        name: &str,
        folder: &std::path::Path,
        begin: SystemTime,
        end: SystemTime,
    ) -> Identity {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (begin.into(), end.into());
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        write_identity(&folder, &certificate, &key)
    }

    fn trust(&self) -> ReceiverTrust {
        let authority = Authority::load(&self.path).unwrap();
        ReceiverTrust::new(address(), Vec::new(), Some(authority), &KnownReceivers::default())
    }
}

/// What `openssl req -x509` makes unless told otherwise.
#[tokio::test]
async fn a_pinned_certificate_may_be_one_that_could_issue_others() {
    let mut params = rcgen::CertificateParams::new(vec!["elsewhere".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let receiver = write_identity(folder.path(), &certificate, &key);
    let case =
        Case { trust: ReceiverTrust::pinned(address(), receiver.pin()), receiver, ..Case::new() };
    assert_eq!(case.run().await.sender, Ok(()));
}

/// Certificate and key as a user would place them.
pub(super) fn write_identity(
    folder: &std::path::Path,
    certificate: &rcgen::Certificate,
    key: &rcgen::KeyPair,
) -> Identity {
    use std::os::unix::fs::OpenOptionsExt;
    fs::write(folder.join(CERTIFICATE_FILE), certificate.pem()).unwrap();
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(folder.join(KEY_FILE))
        .unwrap();
    std::io::Write::write_all(&mut file, key.serialize_pem().as_bytes()).unwrap();
    Identity::load(folder, SystemTime::now()).unwrap()
}
