//! Tables against Kubernetes' own printers.

#[test]
fn printers_agree() {
    if let Some(tally) = orlop_api::render::oracle::PRINTERS.check() {
        assert!(tally.all(), "{} of {} agreed", tally.agreed, tally.cases);
    }
}
