//! A stand-in for the API server and the kubelet: TLS, a token, and answers by a script.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

/// What is answered to a request.
pub enum Answer {
    /// This status and body.
    Whole(u16, String),
    /// Pieces one by one, as they are sent to the other end, until that is dropped.
    Pieces(Receiver<String>),
    /// Nothing: the connection ends.
    Nothing,
}

/// A server. Dropping it ends nothing that was begun, and lets nobody in any more.
pub struct Stub {
    /// Where it is.
    pub url: String,
    /// The service account that it believes.
    pub account: tempfile::TempDir,
    /// Requests, as path and token.
    pub asked: Receiver<(String, String)>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    address: std::net::SocketAddr,
}

impl Stub {
    /// One that answers like this, in this order; after the last it answers nothing.
    pub fn start(script: Vec<Answer>) -> Self {
        let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let account = tempfile::tempdir().unwrap();
        std::fs::write(account.path().join("ca.crt"), key.cert.pem()).unwrap();
        give_token(account.path(), "first");
        let certificate = CertificateDer::from(key.cert.der().to_vec());
        let private = PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let (tell, asked) = channel();
        let (answers, config) = (script.clone(), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answers, tell) = (config.clone(), answers.clone(), tell.clone());
                std::thread::spawn(move || serve(stream, config, &answers, &tell));
            }
        });
        Self { url: format!("https://{address}"), account, asked, script, address }
    }

    /// What comes next.
    pub fn then(&self, answer: Answer) {
        self.script.lock().unwrap().push_back(answer);
    }

    /// The next request, without what is the same in all.
    pub fn request(&self) -> (String, String) {
        self.asked.recv_timeout(Duration::from_secs(20)).expect("it is asked something")
    }

    /// An answer whose pieces are sent one by one.
    pub fn pieces() -> (Sender<String>, Answer) {
        let (sender, receiver) = channel();
        (sender, Answer::Pieces(receiver))
    }

    /// Port it listens at.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Writes the token as the kubelet does: all at once.
pub fn give_token(account: &Path, token: &str) {
    let new = account.join("new");
    std::fs::write(&new, format!("{token}\n")).unwrap();
    std::fs::rename(new, account.join("token")).unwrap();
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answers: &Mutex<VecDeque<Answer>>,
    tell: &Sender<(String, String)>,
) {
    let raw = stream.try_clone().unwrap();
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let token = head.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
    let token = token.unwrap_or_default().to_owned();
    let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Nothing);
    // An error means that nobody wants the answer any more.
    let _ = match answer {
        Answer::Whole(status, body) => write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .and_then(|()| {
            let _ = tell.send((path, token));
            stream.flush()
        }),
        Answer::Pieces(pieces) => {
            let begin = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let begun = stream.write_all(begin.as_bytes()).and_then(|()| stream.flush());
            let _ = tell.send((path, token));
            begun.and_then(|()| {
                for piece in pieces {
                    write!(stream, "{:x}\r\n{piece}\r\n", piece.len())?;
                    stream.flush()?;
                }
                stream.write_all(b"0\r\n\r\n")?;
                stream.flush()
            })
        }
        Answer::Nothing => {
            let _ = tell.send((path, token));
            Ok(())
        }
    };
    let _ = raw.shutdown(Shutdown::Both);
}
