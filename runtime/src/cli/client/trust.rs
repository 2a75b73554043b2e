//! Which certificates a server may show.
//!
//! The certificate in a file that was named is trusted as it is, whatever name it has: most often it is the
//! server's own, signed by nobody else. What is signed by one in the file has to have the server's name.
//! Without a file the system's roots decide, which is where a company's own are, too.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How TLS is spoken with servers, which are to be trusted by the certificates in `file`, if there is one.
/// The system's roots are read only where TLS is `needed`.
///
/// # Errors
/// The file has no certificates, or the system has none.
pub fn settings(file: Option<&Path>, needed: bool) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        if needed {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let advice = "install the package ca-certificates, or give --cacert FILE";
                return Err(anyhow!("this system has no certificates to know a server by: {advice}"));
            }
        }
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    };
    let about = || format!("--cacert: {}", file.display());
    let text = std::fs::read(file).with_context(about)?;
    let own = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let own = own.map_err(|error| anyhow!("it is not PEM: {error}")).with_context(about)?;
    roots.add_parsable_certificates(own.iter().cloned());
    if roots.is_empty() {
        return Err(anyhow!("there is no certificate in it")).with_context(about);
    }
    let signed = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let verifier = Arc::new(Named { own, signed, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Why a server's certificate was not trusted, if that is what made a connection fail.
pub fn distrust(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    // One or two of these are around it, and do not name it as their source.
    if let Some(wrapped) = cause.downcast_ref::<std::io::Error>() {
        return distrust(wrapped.get_ref()?);
    }
    let Some(rustls::Error::InvalidCertificate(error)) = cause.downcast_ref() else { return None };
    use CertificateError as Is;
    let why = match error {
        Is::Expired | Is::ExpiredContext { .. } => "it has expired: the server needs a new one",
        Is::NotValidYet | Is::NotValidYetContext { .. } => {
            "it is not good yet: look at the clocks of both machines"
        }
        Is::NotValidForName | Is::NotValidForNameContext { .. } => {
            "it is for another name: call the server by a name that is in it, or trust it as it is with --cacert FILE"
        }
        _ => {
            "nobody who is known here signed it; --cacert FILE names it, or its issuer's (the server's own is the file in its server.tls.cert)"
        }
    };
    // Its name alone: some have pages of details.
    let name = format!("{error:?}");
    let name = name.split([' ', '{']).next().unwrap_or_default();
    Some(format!("{why} ({})", name.trim_start_matches("Other(OtherError(").trim_end_matches(')')))
}

/// Trusts the certificates of a file.
#[derive(Debug)]
struct Named {
    own: Vec<CertificateDer<'static>>,
    signed: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // That it has the key, the handshake shows.
        match self.own.iter().any(|own| own == end_entity) {
            true => Ok(ServerCertVerified::assertion()),
            false => {
                self.signed.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
