//! The user that a client certificate names: its common name, with its organisations as groups.

use orlop_api::User;
use orlop_core::Name;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Reads the user from a certificate that TLS has verified; `None` if it has no common name.
pub fn user_of_certificate(der: &[u8]) -> Option<User> {
    let certificate = Certificate::from_der(der).ok()?;
    let mut user = User::default();
    for part in certificate.tbs_certificate.subject.0.iter().flat_map(|rdn| rdn.0.iter()) {
        let Ok(text) =
            part.value.decode_as::<Utf8StringRef<'_>>().map(|s| Name::from(s.as_str())).or_else(|_| {
                part.value.decode_as::<PrintableStringRef<'_>>().map(|s| Name::from(s.as_str()))
            })
        else {
            continue;
        };
        match part.oid {
            COMMON_NAME => user.name = text,
            ORGANISATION => user.groups.push(text),
            _ => {}
        }
    }
    (!user.name.is_empty()).then_some(user)
}
