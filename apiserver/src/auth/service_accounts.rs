//! The tokens of service accounts: signed here, verified here, and described for others (OpenID Connect Discovery).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use orlop_api::auth::{Authenticator, Exactly, ISSUER, TokenClaims, TokenIssuer};
use orlop_api::{Status, User};
use orlop_core::store::View;
use orlop_core::{Name, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::pki::PkiError;

/// An object that is gone may be used this long, so that what ends can still report.
const LEEWAY: Duration = Duration::from_secs(60);
/// What stands before the point of a P-256 key in its DER form (RFC 5480).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `SEQUENCE { rsaEncryption, NULL }` (RFC 8017).
const RSA_ALGORITHM: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

enum Key {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

/// Issues and verifies the tokens of service accounts with one key, ECDSA on P-256 or RSA.
///
/// A token is good as long as its time is not over, its service account is there, and so is what it is bound to.
pub struct ServiceAccountTokens {
    key: Key,
    id: String,
    jwks_uri: String,
}

impl ServiceAccountTokens {
    /// A new key, kept nowhere. `host` is where others reach the API server, `10.0.0.1:6443`.
    ///
    /// # Errors
    /// When the operating system has no entropy.
    pub fn generate(host: &str) -> Result<ServiceAccountTokens, PkiError> {
        ServiceAccountTokens::from_pem(&ServiceAccountTokens::new_key()?, host)
    }

    /// A new private key, in PEM.
    ///
    /// # Errors
    /// When the operating system has no entropy.
    pub fn new_key() -> Result<String, PkiError> {
        Ok(rcgen::KeyPair::generate()?.serialize_pem())
    }

    /// The private key of a `--service-account-signing-key-file`: ECDSA on P-256 in PKCS #8, or RSA.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn from_pem(pem: &str, host: &str) -> Result<ServiceAccountTokens, PkiError> {
        let unusable = |why: &dyn std::fmt::Display| PkiError::Tls(format!("service account key: {why}"));
        let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| unusable(&e))? {
            PrivateKeyDer::Pkcs1(der) => {
                Key::Rsa(RsaKeyPair::from_der(der.secret_pkcs1_der()).map_err(|e| unusable(&e))?)
            }
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                match EcdsaKeyPair::from_pkcs8(algorithm, der, &SystemRandom::new()) {
                    Ok(key) => Key::Ecdsa(key),
                    Err(_) => Key::Rsa(RsaKeyPair::from_pkcs8(der).map_err(|e| unusable(&e))?),
                }
            }
            _ => return Err(unusable(&"neither RSA nor PKCS #8")),
        };
        let digest = ring::digest::digest(&ring::digest::SHA256, &public_der(&key));
        let id = BASE64.encode(digest);
        Ok(ServiceAccountTokens { key, id, jwks_uri: format!("https://{host}/openid/v1/jwks") })
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ecdsa(_) => "ES256",
            Key::Rsa(_) => "RS256",
        }
    }

    /// `/.well-known/openid-configuration`.
    pub(crate) fn configuration(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": self.jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.algorithm()],
        })
    }

    /// `/openid/v1/jwks`.
    pub(crate) fn keys(&self) -> Value {
        let mut key = json!({"use": "sig", "kid": self.id, "alg": self.algorithm()});
        match &self.key {
            Key::Ecdsa(pair) => {
                // The point is 4, x and y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                key["kty"] = "EC".into();
                key["crv"] = "P-256".into();
                key["x"] = BASE64.encode(x).into();
                key["y"] = BASE64.encode(y).into();
            }
            Key::Rsa(pair) => {
                let parts: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                key["kty"] = "RSA".into();
                key["n"] = BASE64.encode(parts.n).into();
                key["e"] = BASE64.encode(parts.e).into();
            }
        }
        json!({"keys": [key]})
    }

    fn sign(&self, text: &str) -> Result<Vec<u8>, Status> {
        let random = SystemRandom::new();
        let failed = |_| Status::internal("a token could not be signed");
        match &self.key {
            Key::Ecdsa(pair) => Ok(pair.sign(&random, text.as_bytes()).map_err(failed)?.as_ref().to_vec()),
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    fn is_signed(&self, text: &str, signature: &[u8]) -> bool {
        let text = text.as_bytes();
        match &self.key {
            Key::Ecdsa(pair) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key()).verify(text, signature)
            }
            Key::Rsa(pair) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public()).verify(text, signature)
            }
        }
        .is_ok()
    }
}

fn public_der(key: &Key) -> Vec<u8> {
    match key {
        Key::Ecdsa(pair) => [&P256_PREFIX[..], pair.public_key().as_ref()].concat(),
        Key::Rsa(pair) => {
            let bits = [&[0], pair.public().as_ref()].concat();
            der(0x30, &[&RSA_ALGORITHM[..], &der(0x03, &bits)].concat())
        }
    }
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: &[u8] = &length[length.iter().position(|b| *b != 0).unwrap_or(length.len() - 1)..];
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        out.push(0x80 | u8::try_from(length.len()).unwrap_or(0x7f));
    }
    out.extend_from_slice(length);
    out.extend_from_slice(content);
    out
}

impl TokenIssuer for ServiceAccountTokens {
    fn issue(&self, claims: &TokenClaims) -> Result<String, Status> {
        let exactly = |(name, uid): &Exactly| json!({"name": name, "uid": uid});
        let mut own = json!({"namespace": claims.account.namespace});
        for (field, object) in [("node", &claims.node), ("pod", &claims.pod), ("secret", &claims.secret)] {
            if let Some(object) = object {
                own[field] = exactly(object);
            }
        }
        own["serviceaccount"] = exactly(&(claims.account.name.clone(), claims.account_uid.clone()));
        let issued = claims.issued.secs();
        let later = |by: Duration| issued.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX));
        if let Some(after) = claims.warn_after {
            own["warnafter"] = later(after).into();
        }
        let header = json!({"alg": self.algorithm(), "kid": self.id});
        let payload = json!({
            "aud": claims.audiences,
            "exp": later(claims.lasts),
            "iat": issued,
            "iss": ISSUER,
            "jti": claims.id,
            "kubernetes.io": own,
            "nbf": issued,
            "sub": format!("system:serviceaccount:{}:{}", claims.account.namespace, claims.account.name),
        });
        let text = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(payload.to_string()));
        let signature = BASE64.encode(self.sign(&text)?);
        Ok(format!("{text}.{signature}"))
    }
}

impl Authenticator for ServiceAccountTokens {
    fn authenticate(
        &self,
        token: &str,
        audiences: &[Name],
        view: &dyn View,
        now: Timestamp,
    ) -> Result<Option<(User, Vec<Name>)>, String> {
        let Some((text, signature)) = token.rsplit_once('.') else { return Ok(None) };
        let Some((header, payload)) = text.split_once('.') else { return Ok(None) };
        let read = |part: &str| -> Option<Value> { serde_json::from_slice(&BASE64.decode(part).ok()?).ok() };
        let (Some(header), Some(claims)) = (read(header), read(payload)) else { return Ok(None) };
        if claims["iss"] != ISSUER {
            return Ok(None);
        }
        let signature = BASE64.decode(signature).unwrap_or_default();
        if header["alg"] != self.algorithm() || !self.is_signed(text, &signature) {
            return Err("invalid signature".to_owned());
        }
        let good_for = wanted_audiences(audiences, &claims)?;
        let time = |claim: &str| claims[claim].as_i64().unwrap_or_default();
        if now.secs() >= time("exp") {
            return Err("service account token has expired".to_owned());
        }
        if now.secs() < time("nbf") {
            return Err("service account token is not valid yet".to_owned());
        }
        Ok(Some((bound_user(&claims, view, now)?, good_for)))
    }
}

/// Those audiences that the token is good for.
fn wanted_audiences(wanted: &[Name], claims: &Value) -> Result<Vec<Name>, String> {
    let own = [Name::new_static(ISSUER)];
    let wanted = if wanted.is_empty() { &own[..] } else { wanted };
    let of_token: Vec<&str> =
        claims["aud"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let both: Vec<Name> = wanted.iter().filter(|name| of_token.contains(&name.as_str())).cloned().collect();
    if both.is_empty() {
        return Err(format!("token audiences {of_token:?} is invalid for the target audiences {wanted:?}"));
    }
    Ok(both)
}

/// The service account, provided that it and what the token is bound to are there still.
fn bound_user(claims: &Value, view: &dyn View, now: Timestamp) -> Result<User, String> {
    let own = &claims["kubernetes.io"];
    let text = |value: &Value| Name::from(value.as_str().unwrap_or_default());
    let namespace = text(&own["namespace"]);
    let mut extra = Vec::new();
    let mut add = |key: &str, value: &str| {
        let key = Name::from(format!("authentication.kubernetes.io/{key}"));
        extra.push((key, vec![Name::from(value)]));
    };
    let there = |what: &str, key: String, claim: &Value| -> Result<(Name, Name), String> {
        let (name, uid) = (text(&claim["name"]), text(&claim["uid"]));
        let gone = || format!("service account token has been invalidated: {what} {name} is gone");
        let entry = view.get(&format!("{key}{name}")).ok_or_else(gone)?;
        let header = entry.object.body.header();
        let ended = header.deleted.is_some_and(|deleted| deleted + LEEWAY < now);
        if header.uid != uid || ended { Err(gone()) } else { Ok((name, uid)) }
    };
    let account = &own["serviceaccount"];
    let (name, uid) = there("service account", format!("/registry/serviceaccounts/{namespace}/"), account)?;
    add("credential-id", &format!("JTI={}", text(&claims["jti"])));
    if own["secret"].is_object() {
        there("secret", format!("/registry/secrets/{namespace}/"), &own["secret"])?;
    }
    let pod = own["pod"].is_object();
    if pod {
        let (name, uid) = there("pod", format!("/registry/pods/{namespace}/"), &own["pod"])?;
        add("pod-name", &name);
        add("pod-uid", &uid);
    }
    if own["node"].is_object() {
        let (name, uid) = match pod {
            // The pod is what the token is bound to; its node is only told.
            true => (text(&own["node"]["name"]), text(&own["node"]["uid"])),
            false => there("node", "/registry/minions/".to_owned(), &own["node"])?,
        };
        add("node-name", &name);
        if !uid.is_empty() {
            add("node-uid", &uid);
        }
    }
    Ok(User {
        name: format!("system:serviceaccount:{namespace}:{name}").into(),
        uid,
        groups: vec![
            Name::new_static("system:serviceaccounts"),
            format!("system:serviceaccounts:{namespace}").into(),
        ],
        extra,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_core::store::MemoryStore;
    use orlop_core::{Key, ManualClock, Store};

    fn claims() -> TokenClaims {
        TokenClaims {
            account: Key::new("ns", "robot"),
            account_uid: "u1".into(),
            audiences: vec![ISSUER.into(), "vault".into()],
            issued: Timestamp::from_secs(1000),
            lasts: Duration::from_secs(600),
            id: "t1".into(),
            ..TokenClaims::default()
        }
    }

    fn asked(tokens: &ServiceAccountTokens, token: &str, audience: &str, secs: i64, uid: &str) -> String {
        let clock = std::sync::Arc::new(ManualClock::at(Timestamp::from_secs(1000)));
        let store = MemoryStore::new(clock);
        let account = format!(
            r#"{{"kind":"ServiceAccount","apiVersion":"v1","metadata":{{"name":"robot","namespace":"ns","uid":"{uid}"}}}}"#
        );
        let body = orlop_core::Body::parse(account.into_bytes().into()).expect("an object");
        let put = orlop_core::store::Op::Put("/registry/serviceaccounts/ns/robot".into(), body.into());
        let txn = orlop_core::store::Txn { ops: vec![put], ..Default::default() };
        futures_util::FutureExt::now_or_never(store.commit(txn)).expect("at once").expect("commits");
        let audiences: Vec<Name> = if audience.is_empty() { vec![] } else { vec![audience.into()] };
        match tokens.authenticate(token, &audiences, &*store.view(), Timestamp::from_secs(secs)) {
            Ok(Some((user, _))) => user.name.to_string(),
            Ok(None) => "unknown".into(),
            Err(why) => why,
        }
    }

    #[test]
    fn a_token_is_good_for_its_time_its_audiences_and_its_account() {
        let tokens = ServiceAccountTokens::generate("127.0.0.1:6443").expect("a key");
        let token = tokens.issue(&claims()).expect("signed");
        let robot = "system:serviceaccount:ns:robot";
        assert_eq!(asked(&tokens, &token, "", 1100, "u1"), robot);
        assert_eq!(asked(&tokens, &token, "vault", 1100, "u1"), robot);
        assert!(asked(&tokens, &token, "other", 1100, "u1").contains("invalid for the target audiences"));
        assert!(asked(&tokens, &token, "", 1600, "u1").contains("expired"));
        assert!(asked(&tokens, &token, "", 999, "u1").contains("not valid yet"));
        assert!(asked(&tokens, &token, "", 1100, "u2").contains("is gone"));
        let other = ServiceAccountTokens::generate("127.0.0.1:6443").expect("a key");
        assert_eq!(asked(&other, &token, "", 1100, "u1"), "invalid signature");
        for broken in ["", "a.b", "a.b.c", &token[..token.len() - 2], "token-admin"] {
            assert_ne!(asked(&tokens, broken, "", 1100, "u1"), robot, "{broken}");
        }
    }
}
