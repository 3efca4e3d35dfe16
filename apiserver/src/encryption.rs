//! Objects encrypted on their way to the disk: an `apiserver.config.k8s.io/v1` EncryptionConfiguration.
//!
//! The first provider of the first entry that names a resource encrypts; every provider of that entry can decrypt, so
//! that keys can be changed. AES-GCM (`aesgcm`) and plain text (`identity`) are offered.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_core::scheme::Scheme;
use orlop_core::store::Seal;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What every encrypted value begins with, as in etcd below a kube-apiserver.
const PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:";
const ANY: &[u8] = b"k8s:enc:";

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encryption configuration: {0}")]
pub struct InvalidEncryption(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    api_version: String,
    kind: String,
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    resources: Vec<String>,
    providers: Vec<Provider>,
}

/// One of these.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Provider {
    aesgcm: Option<Keys>,
    identity: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    secret: String,
}

enum Cipher {
    Plain,
    Aes(Vec<(String, LessSafeKey)>),
}

/// Encrypts what a configuration names, and decrypts what was encrypted with one of its keys.
pub struct Encryption {
    entries: Vec<(Vec<String>, Vec<Cipher>)>,
    scheme: Scheme,
    random: SystemRandom,
}

impl Encryption {
    /// Reads an `--encryption-provider-config`.
    ///
    /// # Errors
    /// Says what is wrong with it; never with a part of a key.
    pub fn parse(yaml: &str) -> Result<Encryption, InvalidEncryption> {
        let invalid = |why: String| InvalidEncryption(why);
        // The parser's own words may quote what it could not read.
        let decoded = orlop_core::yaml::decode(yaml)
            .map_err(|error| invalid(format!("line {}: it cannot be read", error.line)))?;
        let config: Config =
            serde_json::from_value(decoded.value).map_err(|_| invalid("it cannot be read".to_owned()))?;
        if config.kind != "EncryptionConfiguration" || config.api_version != "apiserver.config.k8s.io/v1" {
            return Err(invalid("it must be apiserver.config.k8s.io/v1, EncryptionConfiguration".into()));
        }
        let mut entries = Vec::new();
        for entry in config.resources {
            let ciphers: Result<Vec<Cipher>, _> = entry.providers.into_iter().map(cipher).collect();
            let ciphers = ciphers?;
            if ciphers.is_empty() || entry.resources.is_empty() {
                return Err(invalid("an entry needs resources and providers".into()));
            }
            entries.push((entry.resources, ciphers));
        }
        Ok(Encryption { entries, scheme: Scheme::builtin(), random: SystemRandom::new() })
    }

    /// The ciphers for what is stored under a key, the one that encrypts first.
    fn ciphers(&self, key: &str) -> &[Cipher] {
        let name = match self.scheme.by_storage_key(key) {
            Some((resource, _)) => match resource.kind.group.as_str() {
                "" => resource.kind.plural.to_string(),
                group => format!("{}.{group}", resource.kind.plural),
            },
            // Custom kinds lie below their group.
            None => match key.split('/').collect::<Vec<_>>().as_slice() {
                ["", "registry", group, plural, ..] => format!("{plural}.{group}"),
                _ => return &[],
            },
        };
        let fits = |pattern: &String| match pattern.as_str() {
            "*.*" => true,
            "*." => !name.contains('.'),
            pattern => match pattern.strip_prefix("*.") {
                Some(group) => name.split_once('.').is_some_and(|(_, own)| own == group),
                None => pattern == name,
            },
        };
        self.entries
            .iter()
            .find(|(resources, _)| resources.iter().any(fits))
            .map_or(&[], |(_, ciphers)| ciphers)
    }
}

fn cipher(provider: Provider) -> Result<Cipher, InvalidEncryption> {
    let keys = match provider {
        Provider { aesgcm: Some(Keys { keys }), identity: None } => keys,
        Provider { aesgcm: None, identity: Some(_) } => return Ok(Cipher::Plain),
        _ => return Err(InvalidEncryption("the providers are aesgcm and identity".to_owned())),
    };
    let mut all = Vec::new();
    for key in keys {
        let wrong = |why: &str| InvalidEncryption(format!("key \"{}\": {why}", key.name));
        let secret = STANDARD.decode(key.secret.trim()).map_err(|_| wrong("the secret is not base64"))?;
        let algorithm = match secret.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(wrong("the secret must be 16 or 32 bytes long")),
        };
        if key.name.is_empty() || key.name.contains(':') {
            return Err(wrong("the name must not be empty nor contain a colon"));
        }
        let unbound = UnboundKey::new(algorithm, &secret).map_err(|_| wrong("it cannot be used"))?;
        all.push((key.name, LessSafeKey::new(unbound)));
    }
    if all.is_empty() { Err(InvalidEncryption("aesgcm needs keys".to_owned())) } else { Ok(Cipher::Aes(all)) }
}

impl Seal for Encryption {
    fn seal<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let Some(Cipher::Aes(keys)) = self.ciphers(key).first() else { return Ok(Cow::Borrowed(bytes)) };
        let Some((name, cipher)) = keys.first() else { return Ok(Cow::Borrowed(bytes)) };
        let failed = |_| "it could not be encrypted".to_owned();
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        let mut out = bytes.to_vec();
        cipher
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(key.as_bytes()),
                &mut out,
            )
            .map_err(failed)?;
        Ok(Cow::Owned([PREFIX, name.as_bytes(), b":", &nonce, &out].concat()))
    }

    fn open<'a>(&self, key: &str, bytes: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        if !bytes.starts_with(ANY) {
            return Ok(Cow::Borrowed(bytes));
        }
        let unknown = || "it is encrypted with a key that is not configured".to_owned();
        let rest = bytes.strip_prefix(PREFIX).ok_or_else(unknown)?;
        let colon = rest.iter().position(|b| *b == b':').ok_or_else(unknown)?;
        let (name, rest) = (&rest[..colon], &rest[colon + 1..]);
        let ciphers = self.ciphers(key).iter().flat_map(|cipher| match cipher {
            Cipher::Aes(keys) => keys.as_slice(),
            Cipher::Plain => &[],
        });
        let mut named = ciphers.filter(|(own, _)| own.as_bytes() == name);
        let (_, cipher) = named.next().ok_or_else(unknown)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or_else(unknown)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| unknown())?;
        let mut out = sealed.to_vec();
        let plain = cipher
            .open_in_place(nonce, Aad::from(key.as_bytes()), &mut out)
            .map_err(|_| "it does not decrypt: the key is another one, or it was changed".to_owned())?
            .len();
        out.truncate(plain);
        Ok(Cow::Owned(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(providers: &str) -> Encryption {
        Encryption::parse(&format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets, '*.example.com']\n  providers:\n{providers}"
        ))
        .expect("well-formed")
    }

    fn aes(name: &str, byte: u8) -> String {
        format!("  - aesgcm: {{keys: [{{name: {name}, secret: {}}}]}}\n", STANDARD.encode([byte; 32]))
    }

    #[test]
    fn secrets_are_sealed_and_opened_and_nothing_else_is() {
        let encryption = config(&aes("a", 1));
        let (secret, plain) = ("/registry/secrets/ns/s", br#"{"metadata":{"name":"s"}}"#);
        let sealed = encryption.seal(secret, plain).unwrap();
        assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:a:"));
        assert!(!sealed.windows(4).any(|w| w == b"name"));
        assert_eq!(*encryption.open(secret, &sealed).unwrap(), *plain);
        // It belongs where it was written.
        assert!(encryption.open("/registry/secrets/ns/other", &sealed).is_err());
        assert_eq!(*encryption.seal("/registry/configmaps/ns/c", plain).unwrap(), *plain);
        assert_ne!(*encryption.seal("/registry/example.com/widgets/ns/w", plain).unwrap(), *plain);
    }

    #[test]
    fn a_key_can_be_changed_and_taken_away() {
        let key = "/registry/secrets/ns/s";
        let old = config(&aes("old", 1));
        let sealed = old.seal(key, b"{}").unwrap().into_owned();
        let both = config(&format!("{}{}", aes("new", 2), aes("old", 1)));
        assert_eq!(*both.open(key, &sealed).unwrap(), *b"{}");
        assert!(both.seal(key, b"{}").unwrap().starts_with(b"k8s:enc:aesgcm:v1:new:"));
        assert!(config(&aes("new", 2)).open(key, &sealed).unwrap_err().contains("not configured"));
        let plain = config(&format!("  - identity: {{}}\n{}", aes("old", 1)));
        assert_eq!(*plain.open(key, &sealed).unwrap(), *b"{}");
        assert_eq!(*plain.seal(key, b"{}").unwrap(), *b"{}");
    }

    #[test]
    fn a_bad_configuration_is_refused_without_showing_the_key() {
        for (text, why) in [
            ("  - secretbox: {keys: []}\n", "aesgcm and identity"),
            ("  - aesgcm: {keys: [{name: a, secret: c2hvcnQ=}]}\n", "16 or 32 bytes"),
            ("  - aesgcm: {keys: [{name: a, secret: '%%'}]}\n", "not base64"),
        ] {
            let yaml = format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                 - resources: [secrets]\n  providers:\n{text}"
            );
            let error = Encryption::parse(&yaml).err().expect("refused").to_string();
            assert!(error.contains(why) && !error.contains("c2hvcnQ"), "{error}");
        }
    }
}
