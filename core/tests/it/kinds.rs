//! Views of the built-in kinds.

use std::sync::Arc;

use orlop_core::kinds::EndpointSlice;
use orlop_core::store::Revision;
use orlop_core::{Body, Stored};

/// An EndpointSlice without endpoints is stored with `"endpoints":null`, as in Kubernetes. Its view could not be
/// decoded, so that the controller did not see the slice that it had just emptied, and made a second one.
#[test]
fn null_means_nothing_in_a_view() {
    let bytes = br#"{"metadata":{"name":"web"},"addressType":"IPv4","endpoints":null,"ports":null}"#;
    let body = Body::parse(bytes.as_slice().into()).unwrap();
    let slice: EndpointSlice = Stored { body: Arc::new(body), revision: Revision(1) }.decode().unwrap();
    assert_eq!((slice.address_type.as_str(), slice.endpoints.len(), slice.ports.len()), ("IPv4", 0, 0));
}
