//! Who may approve, sign and ask for certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use orlop_core::{Key, Name};
use serde_json::Value;

use super::{Operation, Review};
use crate::auth::{Attributes, Target};
use crate::status::Status;
use crate::tree::{at, text};

const GROUP: &str = "certificates.k8s.io";
const REQUESTS: &str = "certificatesigningrequests";

/// Whether the user may do `verb` for the signer, or for all signers of its domain.
fn may(review: &Review<'_>, verb: &'static str, signer: &str) -> bool {
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let attributes = Attributes {
            verb: Name::new_static(verb),
            target: Target::Resource {
                group: Name::new_static(GROUP),
                resource: Name::new_static("signers"),
                subresource: Name::default(),
                key: Key::cluster(name),
            },
        };
        review.may(&attributes)
    })
}

fn requests(review: &Review<'_>, operation: Operation, subresource: &str) -> bool {
    review.kind.group == GROUP
        && review.kind.plural == REQUESTS
        && review.operation == operation
        && review.subresource == subresource
}

/// CertificateApproval: approving takes the signer's leave, besides that to write approvals.
pub(super) fn approval(review: &mut Review<'_>) -> Result<(), Status> {
    if !requests(review, Operation::Update, "approval") {
        return Ok(());
    }
    let signer = review.old.map_or("", |old| text(old, &["spec", "signerName"]));
    if may(review, "approve", signer) {
        return Ok(());
    }
    Err(review.forbidden(&format!("user not permitted to approve requests with signerName \"{signer}\"")))
}

/// CertificateSigning: so does signing.
pub(super) fn signing(review: &mut Review<'_>) -> Result<(), Status> {
    let Some(old) = review.old.filter(|_| requests(review, Operation::Update, "status")) else {
        return Ok(());
    };
    let same = |field| at(old, &["status", field]) == at(review.object, &["status", field]);
    let signer = text(old, &["spec", "signerName"]);
    if same("certificate") && same("conditions") || may(review, "sign", signer) {
        return Ok(());
    }
    Err(review.forbidden(&format!("user not permitted to sign requests with signerName \"{signer}\"")))
}

/// ClusterTrustBundleAttest: so does publishing whom to trust in a signer's name.
pub(super) fn attest(review: &mut Review<'_>) -> Result<(), Status> {
    let bundle = review.is(GROUP, "clustertrustbundles") && review.operation != Operation::Delete;
    let signer = text(review.object, &["spec", "signerName"]);
    if !bundle || signer.is_empty() || may(review, "attest", signer) {
        return Ok(());
    }
    Err(review.forbidden(&format!("user not permitted to attest for signerName \"{signer}\"")))
}

/// CertificateSubjectRestriction: nobody asks for a certificate that would make them a master of the cluster.
pub(super) fn subject(review: &mut Review<'_>) -> Result<(), Status> {
    const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
    if !requests(review, Operation::Create, "") || text(review.object, &["spec", "signerName"]) != CLIENT {
        return Ok(());
    }
    let masters = at(review.object, &["spec", "request"])
        .and_then(Value::as_str)
        .is_some_and(|request| organisations(request).iter().any(|o| o == b"system:masters"));
    if masters {
        let why = format!("use of {CLIENT} signer with system:masters group is not allowed");
        return Err(review.forbidden(&why));
    }
    Ok(())
}

/// The organisations in the subject of a certificate request (PEM in base64; RFC 2986).
fn organisations(request: &str) -> Vec<Vec<u8>> {
    let decoded = || -> Option<Vec<u8>> {
        let pem = String::from_utf8(STANDARD.decode(request).ok()?).ok()?;
        let inside = pem.split("-----BEGIN ").nth(1)?.split_once("-----")?.1.split("-----END").next()?;
        let base64: String = inside.chars().filter(|c| !c.is_whitespace()).collect();
        STANDARD.decode(base64).ok()
    };
    decoded().as_deref().and_then(subject_organisations).unwrap_or_default()
}

fn subject_organisations(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    // 2.5.4.10, the attribute's type.
    const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0a];
    let (request, _) = element(der)?;
    let (info, _) = element(request)?;
    let (_version, rest) = element(info)?;
    let (mut names, _) = element(rest)?;
    let mut out = Vec::new();
    while let Some((mut set, rest)) = element(names) {
        names = rest;
        while let Some((attribute, rest)) = element(set) {
            set = rest;
            let (ty, value) = element(attribute)?;
            if ty == ORGANISATION {
                out.push(element(value)?.0.to_vec());
            }
        }
    }
    Some(out)
}

/// The content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let [_tag, length, rest @ ..] = der else { return None };
    let (length, rest) = match *length {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x84 => {
            let bytes = usize::from(long & 0x7f);
            let length = rest.get(..bytes)?.iter().fold(0, |n, b| n << 8 | usize::from(*b));
            (length, &rest[bytes..])
        }
        _ => return None,
    };
    Some((rest.get(..length)?, &rest[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, u8::try_from(content.len()).expect("short")];
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn finds_the_organisations_of_a_request() {
        let attribute = |oid: u8, text: &str| {
            let ty = tlv(6, &[0x55, 4, oid]);
            tlv(0x31, &tlv(0x30, &[ty, tlv(12, text.as_bytes())].concat()))
        };
        let names = [attribute(10, "system:masters"), attribute(3, "me"), attribute(10, "dev")].concat();
        let info = [tlv(2, &[0]), tlv(0x30, &names)].concat();
        let der = tlv(0x30, &tlv(0x30, &info));
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
            STANDARD.encode(&der)
        );
        let found = organisations(&STANDARD.encode(pem));
        assert_eq!(found, [b"system:masters".to_vec(), b"dev".to_vec()]);
        assert!(organisations("no base64").is_empty());
        assert!(subject_organisations(&der[..der.len() - 3]).is_none());
    }
}
