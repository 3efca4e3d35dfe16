//! The scheduler's configuration, from a file of the user's.

use std::path::Path;

use orlop::manifest::Manifests;
use orlop::scheduler::config::{Configuration, Registry};

/// Reads a `KubeSchedulerConfiguration`; without a file, the default one.
///
/// # Errors
/// Everything that is wrong, each with its place.
pub(crate) fn configuration(file: Option<&Path>) -> Result<Configuration, Vec<String>> {
    let Some(file) = file else { return Ok(Configuration::default()) };
    let manifests = Manifests::read([file.to_string_lossy()]);
    if !manifests.problems.is_empty() {
        return Err(manifests.problems.iter().map(ToString::to_string).collect());
    }
    let [manifest] = &manifests.objects[..] else {
        let count = manifests.objects.len();
        return Err(vec![format!(
            "{}: one KubeSchedulerConfiguration is expected, not {count} objects",
            file.display()
        )]);
    };
    Configuration::from_value(&manifest.value, &Registry::default()).map_err(|invalid| {
        let place = |problem: &orlop::scheduler::config::Invalid| {
            // The message names the field itself.
            manifest.problem(&problem.field, problem.to_string()).to_string()
        };
        invalid.problems.iter().map(place).collect()
    })
}
