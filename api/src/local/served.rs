//! What is served at a moment: the built-in kinds and those that definitions add.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_core::schema::Schema;
use orlop_core::scheme::{OptionalVersion, Resource, Scheme, Subresource};
use orlop_core::store::{Entry, Revision, View};
use orlop_core::{Kind, Name, Scope};
use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::crd::object::Requirements;
use crate::render::{CustomColumns, JsonPath};
use crate::request::ResourceId;
use crate::status::Status;
use crate::tree::{items, text};

/// The storage range of definitions.
pub(crate) const DEFINITIONS: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";

/// What is served. Swapped as a whole when a definition changes.
#[derive(Clone)]
pub struct Served {
    /// Every kind.
    pub scheme: Arc<Scheme>,
    /// The kinds that are served whatever is defined.
    base: Scheme,
    /// How custom kinds are printed.
    pub columns: Arc<CustomColumns>,
    /// What came of recent creations.
    pub(crate) likenesses: Arc<super::likeness::Likenesses>,
    /// By definition, with the state that it was read from.
    definitions: BTreeMap<Name, (Revision, Arc<Definition>)>,
    /// By group, version and plural.
    versions: FxHashMap<(Name, Name, Name), Arc<CustomVersion>>,
}

/// What one definition adds.
struct Definition {
    resources: Vec<Resource>,
    versions: Vec<(Kind, Arc<CustomVersion>, Value)>,
}

/// What is particular to a version of a custom kind.
#[derive(Clone, Debug)]
pub(crate) struct CustomVersion {
    /// The definition's name.
    pub(crate) definition: Name,
    /// Where the scale subresource finds its fields.
    pub(crate) scale: Option<ScalePaths>,
    /// What clients of this version are warned of.
    pub(crate) deprecation: Option<String>,
    /// What its schema asks of objects.
    pub(crate) ask: Arc<Requirements>,
    /// Fields by which objects can be selected.
    pub(crate) selectable: Vec<(String, JsonPath)>,
}

/// Where the scale subresource finds its fields, as paths of field names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) selector: String,
}

impl Served {
    /// The built-in kinds alone.
    pub fn builtin() -> Served {
        Served::with(&[])
    }

    /// The built-in kinds, those of optional versions among them.
    pub fn with(versions: &[OptionalVersion]) -> Served {
        let base = versions.iter().fold(Scheme::builtin(), |scheme, version| scheme.with(*version));
        Served {
            scheme: Arc::new(base.clone()),
            base,
            columns: Arc::default(),
            likenesses: Arc::default(),
            definitions: BTreeMap::new(),
            versions: FxHashMap::default(),
        }
    }

    /// What a store's definitions say. Those that have not changed since `self` are taken over.
    pub fn reread(&self, view: &dyn View) -> Served {
        let mut next = Served {
            scheme: self.scheme.clone(),
            base: self.base.clone(),
            columns: Arc::default(),
            likenesses: Arc::default(),
            definitions: BTreeMap::new(),
            versions: FxHashMap::default(),
        };
        let (mut scheme, mut columns) = (self.base.clone(), CustomColumns::default());
        for entry in view.range(DEFINITIONS, "", usize::MAX) {
            let name = Name::from(&entry.key[DEFINITIONS.len()..]);
            let definition = match self.definitions.get(&name) {
                Some((revision, definition)) if *revision == entry.object.revision => definition.clone(),
                _ => Arc::new(Definition::read(&entry)),
            };
            for resource in &definition.resources {
                scheme.insert(resource.clone());
            }
            for (kind, version, declared) in &definition.versions {
                columns.insert(kind, declared);
                let key = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
                next.versions.insert(key, version.clone());
            }
            next.definitions.insert(name, (entry.object.revision, definition));
        }
        next.scheme = Arc::new(scheme);
        next.columns = Arc::new(columns);
        next
    }

    /// The resource of a request.
    pub(crate) fn resource(&self, id: &ResourceId) -> Result<&Arc<Resource>, Status> {
        self.scheme.resource(&id.group, &id.version, &id.plural).ok_or_else(Status::no_resource)
    }

    /// What is particular to a custom kind.
    pub(crate) fn custom(&self, kind: &Kind) -> Option<&Arc<CustomVersion>> {
        self.versions.get(&(kind.group.clone(), kind.version.clone(), kind.plural.clone()))
    }
}

impl Definition {
    fn read(entry: &Entry) -> Definition {
        let tree: Value = serde_json::from_slice(entry.object.body.bytes()).unwrap_or_default();
        // Once established it stays so, even where a later name clashes.
        let established = items(&tree, &["status", "conditions"])
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True");
        let mut out = Definition { resources: Vec::new(), versions: Vec::new() };
        if !established {
            return out;
        }
        let (spec, names) = (&tree["spec"], &tree["spec"]["names"]);
        let group = Name::from(text(spec, &["group"]));
        let plural = Name::from(text(names, &["plural"]));
        let scope = if spec["scope"] == "Cluster" { Scope::Cluster } else { Scope::Namespaced };
        let texts = |field: &str| -> Box<[Name]> {
            items(names, &[field]).iter().filter_map(Value::as_str).map(Name::from).collect()
        };
        let kind_of = |version: &Value| Kind {
            group: group.clone(),
            version: text(version, &["name"]).into(),
            kind: text(names, &["kind"]).into(),
            plural: plural.clone(),
            scope,
        };
        let versions = items(spec, &["versions"]);
        let Some(storage) = versions.iter().find(|v| v["storage"] == true) else { return out };
        let terminating = entry.object.body.header().deleted.is_some();
        let none = Value::Null;
        // The stored version must be known even where it is not served.
        for version in versions.iter().filter(|v| v["served"] == true || v["storage"] == true) {
            let kind = kind_of(version);
            let source = version.pointer("/schema/openAPIV3Schema").unwrap_or(&none);
            let ask = Arc::new(Requirements::read(source));
            let (schema, ty) = Schema::from_crd(source);
            let served = version["served"] == true;
            let mut verbs: Vec<Name> = match (served, terminating) {
                (false, _) => Vec::new(),
                (true, false) => {
                    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
                        .map(Name::new_static)
                        .to_vec()
                }
                (true, true) => ["delete", "deletecollection", "get", "list", "patch", "update", "watch"]
                    .map(Name::new_static)
                    .to_vec(),
            };
            verbs.sort();
            let scale = version.pointer("/subresources/scale").map(|scale| ScalePaths {
                spec_replicas: text(scale, &["specReplicasPath"]).into(),
                status_replicas: text(scale, &["statusReplicasPath"]).into(),
                selector: text(scale, &["labelSelectorPath"]).into(),
            });
            let status = version.pointer("/subresources/status").is_some();
            out.resources.push(Resource {
                stored_as: kind_of(storage),
                singular: text(names, &["singular"]).into(),
                list_kind: text(names, &["listKind"]).into(),
                short_names: texts("shortNames"),
                categories: texts("categories"),
                storage_prefix: smol_str::format_smolstr!("{group}/{plural}"),
                verbs: verbs.into(),
                subresources: subresources(&kind, status, scale.is_some()),
                schema: Arc::new(schema),
                ty,
                custom: true,
                kind: kind.clone(),
            });
            let deprecation =
                (version["deprecated"] == true).then(|| match text(version, &["deprecationWarning"]) {
                    "" => format!("{} {} is deprecated", kind.api_version(), kind.kind),
                    warning => warning.to_owned(),
                });
            let selectable = items(version, &["selectableFields"])
                .iter()
                .map(|f| text(f, &["jsonPath"]))
                .map(|path| (path.trim_start_matches('.').to_owned(), JsonPath::parse(path)))
                .collect();
            let definition = Name::from(&entry.key[DEFINITIONS.len()..]);
            let custom = CustomVersion { definition, scale, deprecation, ask, selectable };
            out.versions.push((kind, Arc::new(custom), version["additionalPrinterColumns"].clone()));
        }
        out
    }
}

fn subresources(kind: &Kind, status: bool, scale: bool) -> Box<[Subresource]> {
    let verbs = || -> Box<[Name]> { ["get", "patch", "update"].map(Name::new_static).into() };
    let mut out = Vec::new();
    if scale {
        out.push(Subresource {
            name: "scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            kind: "Scale".into(),
            verbs: verbs(),
        });
    }
    if status {
        out.push(Subresource {
            name: "status".into(),
            group: Name::default(),
            version: Name::default(),
            kind: kind.kind.clone(),
            verbs: verbs(),
        });
    }
    out.into()
}
