//! One request over one connection, with the token and the authority as they are at that moment.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::settings::{authority_file, endpoint, token_file};
use crate::enrich::thread::read_bounded;

/// For a connection, encryption included.
const CONNECT: Duration = Duration::from_secs(5);
/// For the head of an answer, and for each piece of one that has an end.
const ANSWER: Duration = Duration::from_secs(15);
/// Bytes of a token, and of a file of certificates.
const LONGEST_TOKEN: u64 = 16 << 10;
const LONGEST_AUTHORITY: u64 = 1 << 20;

/// Why nothing was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody said where this is.
    Unknown(&'static str),
    /// The address is none.
    Address(String),
    /// A file of the service account cannot be used.
    Account(String),
    /// No connection.
    Connection(String),
    /// The answer was a refusal: its status.
    Status(u16),
    /// The answer was longer than can be taken.
    TooLong,
    /// The answer makes no sense.
    Malformed,
    /// What was asked for is too old by now: everything is to be asked for anew.
    Gone,
    /// The connection ended in the middle.
    Cut,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(what) => write!(f, "the address of {what} is not known"),
            Self::Address(url) => write!(f, "{url} is no address of the form https://HOST:PORT"),
            Self::Account(file) => write!(f, "{file} cannot be used"),
            Self::Connection(why) => write!(f, "no connection ({why})"),
            Self::Status(401) => f.write_str("the token was not accepted (401)"),
            Self::Status(403) => f.write_str("the service account may not list pods (403)"),
            Self::Status(status) => write!(f, "it answers with status {status}"),
            Self::TooLong => f.write_str("the answer is too long"),
            Self::Malformed => f.write_str("the answer makes no sense"),
            Self::Gone => f.write_str("the version is too old"),
            Self::Cut => f.write_str("the connection ended"),
        }
    }
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub struct Client {
    host: String,
    port: u16,
    account: PathBuf,
    verify: bool,
}

/// An answer whose head came.
pub struct Answer {
    body: Incoming,
    connection: JoinHandle<()>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    /// Asks at this address, as this account.
    pub fn new(url: &str, account: &Path, verify: bool) -> Result<Self, Failure> {
        let (host, port) = endpoint(url).ok_or_else(|| Failure::Address(url.to_owned()))?;
        Ok(Self { host, port, account: account.to_owned(), verify })
    }

    /// Asks for a path. A status other than 200 is a failure.
    pub async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let stream = timeout(CONNECT, self.connect()).await;
        let stream = stream.map_err(|_| Failure::Connection("timed out".into()))??;
        let failed = |error: hyper::Error| Failure::Connection(error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let request = http::Request::get(path)
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(AUTHORIZATION, self.authorization()?)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("lockprobe/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new())
            .map_err(|_| Failure::Malformed)?;
        let head = timeout(ANSWER, sender.send_request(request)).await;
        let head = head.map_err(|_| Failure::Connection("no answer".into()))?.map_err(failed)?;
        let (status, body) = (head.status().as_u16(), head.into_body());
        let answer = Answer { body, connection };
        match status {
            200 => Ok(answer),
            410 => Err(Failure::Gone),
            other => Err(Failure::Status(other)),
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Failure> {
        let failed = |error: std::io::Error| Failure::Connection(error.to_string());
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|_| Failure::Address(self.host.clone()))?;
        let connector = TlsConnector::from(Arc::new(self.encryption()?));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        connector.connect(name, stream).await.map_err(failed)
    }

    fn encryption(&self) -> Result<ClientConfig, Failure> {
        let provider = Arc::new(crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::Connection(error.to_string()))?;
        if !self.verify {
            let anybody = Arc::new(anybody::Anybody(provider));
            return Ok(builder
                .dangerous()
                .with_custom_certificate_verifier(anybody)
                .with_no_client_auth());
        }
        let file = authority_file(&self.account);
        let unusable = || Failure::Account(file.display().to_string());
        let text = read_bounded(&file, LONGEST_AUTHORITY).ok_or_else(unusable)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
        if roots.is_empty() {
            return Err(unusable());
        }
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    /// Kubernetes replaces the token in its file before it runs out.
    fn authorization(&self) -> Result<HeaderValue, Failure> {
        let file = token_file(&self.account);
        let token = read_bounded(&file, LONGEST_TOKEN).and_then(|b| String::from_utf8(b).ok());
        let token = token.filter(|token| !token.trim().is_empty());
        let value = token.and_then(|t| HeaderValue::from_str(&format!("Bearer {}", t.trim())).ok());
        let mut value = value.ok_or_else(|| Failure::Account(file.display().to_string()))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl Answer {
    /// The whole of it, if it is no longer than this.
    pub async fn whole(mut self, longest: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(ANSWER).await? {
            if whole.len() + piece.len() > longest {
                return Err(Failure::TooLong);
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// The next piece; `None` at the end.
    pub async fn piece(&mut self, patience: Duration) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout(patience, self.body.frame()).await.map_err(|_| Failure::Cut)?;
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(piece) = frame.map_err(|_| Failure::Cut)?.into_data() {
                return Ok(Some(piece));
            }
        }
    }
}

/// Where the user says that a certificate need not be signed by anybody known.
mod anybody {
    use std::sync::Arc;

    use tokio_rustls::rustls::client::danger::{
        HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
    };
    use tokio_rustls::rustls::crypto::{
        CryptoProvider, verify_tls12_signature, verify_tls13_signature,
    };
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio_rustls::rustls::{DigitallySignedStruct, Error, SignatureScheme};

    /// Trusts every certificate whose key the other side has.
    #[derive(Debug)]
    pub struct Anybody(pub Arc<CryptoProvider>);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
