//! The cluster's own certificate authority, and what it signs.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use orlop_core::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{CipherSuite, RootCertStore};

/// How long the authority is trusted.
const AUTHORITY_DAYS: i64 = 3650;
/// How long what it signs is trusted.
const LEAF_DAYS: i64 = 365;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making or signing failed.
    #[error("certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file could not be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// TLS does not take what was given.
    #[error("TLS: {0}")]
    Tls(String),
}

/// A certificate authority with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    now: Timestamp,
}

/// A certificate with its key, both in PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// A new authority that is trusted from a day before `now` on, so that clocks may differ.
    ///
    /// # Errors
    /// When the operating system has no entropy.
    pub fn generate(now: Timestamp) -> Result<Authority, PkiError> {
        let key = KeyPair::generate()?;
        let certificate = authority_params(now).self_signed(&key)?.pem();
        Ok(Authority { issuer: Issuer::new(authority_params(now), key), certificate, now })
    }

    /// The authority kept in `dir` (`ca.crt`, `ca.key`), made there if it is not: clients of a cluster that comes back
    /// still trust it.
    ///
    /// # Errors
    /// Names the file that could not be read or written.
    pub fn load_or_generate(dir: &Path, now: Timestamp) -> Result<Authority, PkiError> {
        let (certificate_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
        let file = |path: &Path, error| PkiError::File { path: path.display().to_string(), error };
        if !key_path.exists() {
            let authority = Authority::generate(now)?;
            std::fs::create_dir_all(dir).map_err(|e| file(dir, e))?;
            write_private(&key_path, &authority.issuer.key().serialize_pem())
                .map_err(|e| file(&key_path, e))?;
            std::fs::write(&certificate_path, &authority.certificate)
                .map_err(|e| file(&certificate_path, e))?;
            return Ok(authority);
        }
        let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| file(path, e));
        let certificate = read(&certificate_path)?;
        let key = KeyPair::from_pem(&read(&key_path)?)?;
        Ok(Authority { issuer: Issuer::new(authority_params(now), key), certificate, now })
    }

    /// The authority's certificate in PEM: what clients trust.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a server that is reached under these names and addresses.
    ///
    /// # Errors
    /// When a name is not one that a certificate can carry.
    pub fn server(&self, names: &[&str], addresses: &[IpAddr]) -> Result<Identity, PkiError> {
        let mut params = params("kube-apiserver", &[], self.now, LEAF_DAYS);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.subject_alt_names.extend(addresses.iter().map(|ip| SanType::IpAddress(*ip)));
        self.sign(params)
    }

    /// A certificate by which a client is known as `name`, member of `groups`.
    ///
    /// # Errors
    /// When the operating system has no entropy.
    pub fn client(&self, name: &str, groups: &[&str]) -> Result<Identity, PkiError> {
        let mut params = params(name, groups, self.now, LEAF_DAYS);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity, PkiError> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// TLS with `identity`, for clients with certificates of this authority and for clients without any.
    ///
    /// # Errors
    /// When the identity is not one that TLS can use.
    pub fn tls(&self, identity: &Identity) -> Result<rustls::ServerConfig, PkiError> {
        let tls = |e: &dyn std::fmt::Display| PkiError::Tls(e.to_string());
        let mut provider = rustls::crypto::ring::default_provider();
        // As Go's servers have it: keys of 128 bits are long enough, and rounds for longer ones are a third of what
        // encryption costs.
        provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
        let provider = Arc::new(provider);
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|e| tls(&e))?;
        roots.add(ca).map_err(|e| tls(&e))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|e| tls(&e))?;
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(identity.certificate.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|e| tls(&e))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.map_err(|e| tls(&e))?, key)
            .map_err(|e| tls(&e))?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = params("kubernetes", &[], now, AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn params(name: &str, groups: &[&str], now: Timestamp, days: i64) -> CertificateParams {
    const DAY: i64 = 86_400;
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = day(now.secs() - DAY);
    params.not_after = day(now.secs() + days * DAY);
    params
}

/// Midnight of the day in which the moment lies.
fn day(secs: i64) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(secs - secs.rem_euclid(86_400))
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

/// Writes a file that only its owner may read, whatever was there before.
///
/// # Errors
/// The operating system's.
pub fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
