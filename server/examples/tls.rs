//! A chat with presence over TLS, without a proxy. `cargo run --features tls --example tls -- CERTIFICATES KEY ADDR`
//!
//! CERTIFICATES and KEY are files in the PEM format: the server's certificate, followed by those of its issuers, and
//! its private key. ADDR is `0.0.0.0:443`, for instance. For a first try, a certificate that only its owner trusts:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout key.pem -out certificate.pem
//! ```
//!
//! A client connects to `wss://localhost/api/socket`, and joins `/chat/:room` with `{"name":"ann"}`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use pondwire_server::rustls::ServerConfig;
use pondwire_server::rustls::pki_types::pem::PemObject;
use pondwire_server::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use pondwire_server::{Options, PondServer, stop_signal};
use serde_json::json;
use tokio::net::TcpListener;

pub(crate) fn pond() -> PondServer {
    let mut pond = PondServer::new();
    pond.endpoint("/api/socket", |connect| connect.accept())
        .channel("/chat/:room", |join| {
            let name =
                join.payload().get("name").and_then(|name| Some(name.as_str()?.into_owned()));
            join.accept()?;
            join.track(json!({ "id": join.user_id(), "name": name.unwrap_or_default() }))
        })
        .on("say", |event| event.broadcast("said", event.payload()));
    pond
}

/// The configuration for a certificate and its key. The operating system's list of trusted certificates plays no role:
/// clients check the server, and need no certificate themselves.
pub(crate) fn config(
    certificates: impl AsRef<Path>,
    key: impl AsRef<Path>,
) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let certificates = CertificateDer::pem_file_iter(certificates)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let config = ServerConfig::builder().with_no_client_auth();
    Ok(Arc::new(config.with_single_cert(certificates, key)?))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(certificates), Some(key), Some(addr)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: tls CERTIFICATES KEY ADDR".into());
    };
    let config = config(certificates, key)?;
    let listener = TcpListener::bind(addr).await?;
    println!("listening on https://{}", listener.local_addr()?);
    pond().start(Options::default())?.serve_tls(listener, config, stop_signal()?).await;
    Ok(())
}
