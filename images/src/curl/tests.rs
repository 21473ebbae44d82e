// SPDX-License-Identifier: Apache-2.0 OR MIT

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::monitor::Silent;
use crate::testing::Fixture;

const LIMITS: Limits = Limits { bytes: 1 << 20, seconds: 2 };

/// Serves one request by HTTP, with this body again and again until the client hangs up. Returns the
/// port.
fn serve_without_end(body: &'static [u8]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _ = client.read(&mut [0; 4096]);
        client.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        while client.write_all(body).is_ok() {
            if body.len() < 100 {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    (port, server)
}

/// Downloads a URL into a fixture's directory.
fn fetch(f: &Fixture, url: &str) -> Result<PathBuf, FailedDownload> {
    let path = f.dir.path().join("downloaded");
    let mut ctx = Ctx { cache: &f.cache, net: &f.net, monitor: &mut Silent };
    download(&mut ctx, url, &path, 0, LIMITS).unwrap().map(|()| path)
}

#[test]
fn a_file_larger_than_the_limit_is_refused() {
    let f = Fixture::new();
    let file = f.dir.path().join("large");
    fs::write(&file, vec![0; 1 << 20]).unwrap();
    let url = format!("file://{}", file.display());
    assert_eq!(fs::metadata(fetch(&f, &url).ok().unwrap()).unwrap().len(), 1 << 20);
    fs::write(&file, vec![0; (1 << 20) + 1]).unwrap();
    let failure = fetch(&f, &url).unwrap_err();
    assert!(!failure.not_found);
    assert_eq!(failure.output, "it is larger than 1 MiB");
    // A device has no size that is known before.
    assert_eq!(fetch(&f, "file:///dev/zero").unwrap_err().output, "it is larger than 1 MiB");
}

#[test]
fn a_body_without_end_is_cut_off_by_size_or_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("downloaded");
    for body in [&[b'x'; 8192][..], &[b'x'; 50]] {
        let (port, server) = serve_without_end(body);
        let url = format!("http://127.0.0.1:{port}/list");
        let start = Instant::now();
        let mut curl = command(Owner::default(), &url, &path, LIMITS);
        // The limits are the same with HTTP, which sudbox does not use.
        curl.args(["--proto", "=http"]).stderr(Stdio::null());
        assert!(!curl.status().unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
        assert!(fs::metadata(&path).unwrap().len() <= LIMITS.bytes);
        server.join().unwrap();
    }
}

#[test]
fn http_is_not_used() {
    let f = Fixture::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let failure =
        fetch(&f, &format!("http://{}/list", listener.local_addr().unwrap())).unwrap_err();
    assert!(failure.output.contains("rotocol"), "{}", failure.output);
    assert!(listener.accept().is_err(), "a connection was made");
}

/// A server with encryption that serves a file of `dir`, which holds the answer's header too.
struct TlsServer(Child);

impl TlsServer {
    /// Starts `openssl s_server`, with a certificate `dir/cert.pem` for localhost.
    fn start(dir: &Path, port: u16) -> TlsServer {
        let mut make = Command::new("openssl");
        make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
        make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
        make.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(dir);
        assert!(make.stderr(Stdio::null()).status().unwrap().success());
        let mut serve = Command::new("openssl");
        serve.args(["s_server", "-quiet", "-HTTP", "-cert", "cert.pem", "-key", "key.pem"]);
        serve.args(["-accept", &port.to_string()]).current_dir(dir);
        serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = TlsServer(serve.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_redirection_is_followed_to_https_only() {
    if crate::toolchain::find_program("openssl").is_none() {
        writeln!(std::io::stderr(), "NOT RUN: redirections: openssl is not installed").unwrap();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let free_port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let secret = dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let answer = |name: &str, header: &str, body: &str| {
        let text = format!("HTTP/1.0 {header}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        fs::write(dir.path().join(name), text).unwrap();
    };
    answer("list", "200 OK", "the list");
    let redirect = |name: &str, to: &str| answer(name, &format!("302 Found\r\nLocation: {to}"), "");
    redirect("to-https", &format!("https://localhost:{free_port}/list"));
    redirect("to-http", &format!("http://{}/list", plain.local_addr().unwrap()));
    redirect("to-file", &format!("file://{}", secret.display()));
    let _server = TlsServer::start(dir.path(), free_port);
    let path = dir.path().join("downloaded");
    let fetch = |name: &str| {
        let _ = fs::remove_file(&path);
        let url = format!("https://localhost:{free_port}/{name}");
        let mut curl = command(Owner::default(), &url, &path, LIMITS);
        curl.arg("--cacert").arg(dir.path().join("cert.pem")).args(["--noproxy", "*"]);
        let output = curl.output().unwrap();
        (fs::read_to_string(&path).unwrap_or_default(), String::from_utf8(output.stderr).unwrap())
    };
    for name in ["list", "to-https"] {
        assert_eq!(fetch(name).0, "the list", "{name}");
    }
    for name in ["to-http", "to-file"] {
        let (content, error) = fetch(name);
        assert!(content.is_empty() && error.contains("rotocol"), "{name}: {content} {error}");
    }
    assert!(plain.accept().is_err(), "a connection without encryption was made");
}
