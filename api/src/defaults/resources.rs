//! Amounts, and the kinds that bound them.

use orlop_core::rules::Quantity;
use serde_json::Value;

use super::tree::{Object, absent, at, each, made, text, zero};

/// Rounds amounts up to thousandths: finer ones mean nothing in a list of resources.
pub(super) fn round(list: &mut Object) {
    for amount in list.values_mut() {
        let Some(text) = amount.as_str().filter(|text| text.contains(['n', 'u', '.', 'e', 'E'])) else {
            continue;
        };
        let Ok(quantity) = text.parse::<Quantity>() else { continue };
        let rounded = Quantity::from_milli(quantity.milli_value()).with_format(quantity.format());
        let small = quantity.scaled_value(0).is_some_and(|whole| whole.unsigned_abs() < 1 << 40);
        if small && rounded != quantity {
            *amount = rounded.to_string().into();
        }
    }
}

pub(super) fn resource_quota(object: &mut Object) {
    at(object, "spec", |spec| at(spec, "hard", round));
    at(object, "status", |status| {
        at(status, "hard", round);
        at(status, "used", round);
    });
}

/// The default limit of a container is the maximum, its default request the default limit, else the minimum.
pub(super) fn limit_range(object: &mut Object) {
    at(object, "spec", |spec| {
        each(spec, "limits", |item| {
            for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
                at(item, list, round);
            }
            if text(item, "type") != "Container" {
                return;
            }
            for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
                let Some(amounts) = item.get(from).and_then(Value::as_object).cloned() else { continue };
                if amounts.is_empty() {
                    continue;
                }
                if let Some(target) = made(item, to) {
                    for (name, amount) in amounts {
                        absent(target, &name, amount);
                    }
                }
            }
        });
    });
}

pub(super) fn resource_claim(object: &mut Object) {
    at(object, "spec", |spec| {
        at(spec, "devices", |devices| {
            each(devices, "requests", |request| {
                at(request, "exactly", device_request);
                each(request, "firstAvailable", device_request);
            });
        });
    });
}

pub(super) fn resource_claim_template(object: &mut Object) {
    at(object, "spec", resource_claim);
}

fn device_request(request: &mut Object) {
    zero(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        zero(request, "count", 1);
    }
    each(request, "tolerations", |toleration| zero(toleration, "operator", "Equal"));
}
