//! Manifests: files of objects, read with the place of everything, in an order that works.
//!
//! ```
//! use orlop::manifest::{Manifests, check};
//!
//! let mut manifests = Manifests::default();
//! manifests.add_text("web.yaml", "kind: Pod\napiVersion: v1\nmetadata: {name: web}\nspec: {containers: 3}\n");
//! let scheme = orlop::base::scheme::Scheme::builtin();
//! let problem = check(&manifests.objects[0], &scheme).unwrap_err();
//! assert!(problem.to_string().starts_with("web.yaml: document 1, line 4, column 8: spec.containers: "), "{problem}");
//! ```

mod order;
mod words;

use std::fmt;
use std::path::{Path, PathBuf};

use orlop_core::codec;
use orlop_core::scheme::Scheme;
use orlop_core::yaml::{self, Document};
use serde_json::Value;

/// Objects to be applied, and what could not be read.
#[derive(Debug, Default)]
pub struct Manifests {
    /// The objects, in the order of the files.
    pub objects: Vec<Manifest>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// One object and where it stands.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, as it was named.
    pub file: String,
    /// The object.
    pub value: Value,
    document: Document,
    /// The object's path within its document: `items[2]` in a List.
    prefix: String,
}

/// Something that is wrong with a manifest, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The file, as it was named.
    pub file: String,
    /// Which document, from 1; 0: the file as a whole.
    pub document: usize,
    /// Line and column, from 1.
    pub at: Option<(usize, usize)>,
    /// The field, where there is one.
    pub field: String,
    /// What is wrong, and where possible what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if self.document > 0 {
            write!(f, "document {}", self.document)?;
            if let Some((line, column)) = self.at {
                write!(f, ", line {line}, column {column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.field.is_empty() && !self.message.contains(&self.field) {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

impl Manifests {
    /// Reads files, folders (every `.yaml`, `.yml` and `.json` in them, in the order of their names) and, for `-`,
    /// standard input. What cannot be read is among the problems; the rest is read all the same.
    pub fn read<S: AsRef<str>>(paths: impl IntoIterator<Item = S>) -> Manifests {
        let mut manifests = Manifests::default();
        for path in paths {
            match path.as_ref() {
                "-" => match std::io::read_to_string(std::io::stdin()) {
                    Ok(text) => manifests.add_text("standard input", &text),
                    Err(error) => manifests.unreadable("standard input", &error),
                },
                path => manifests.add_path(Path::new(path)),
            }
        }
        manifests
    }

    fn add_path(&mut self, path: &Path) {
        let name = path.display().to_string();
        if !path.is_dir() {
            return match std::fs::read(path) {
                Ok(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => self.add_text(&name, &text),
                    Err(_) => self.whole(&name, "this is not text in UTF-8"),
                },
                Err(error) => self.unreadable(&name, &error),
            };
        }
        match files_in(path) {
            Ok(files) if files.is_empty() => {
                self.whole(&name, "the folder holds no .yaml, .yml or .json file")
            }
            Ok(files) => files.iter().for_each(|file| self.add_path(file)),
            Err(error) => self.unreadable(&name, &error),
        }
    }

    /// Reads a text.
    pub fn add_text(&mut self, file: &str, text: &str) {
        for document in yaml::documents(text) {
            match document {
                Ok(document) => self.add_document(file, document),
                Err(error) => self.problems.push(Problem {
                    file: file.to_owned(),
                    document: error.document + 1,
                    at: Some((error.line, error.column)),
                    field: error.path,
                    message: error.message,
                }),
            }
        }
    }

    fn add_document(&mut self, file: &str, document: Document) {
        let is_list = document.value["kind"] == "List" && document.value["items"].is_array();
        let items: Vec<(String, Value)> = match &document.value["items"] {
            Value::Array(items) if is_list => {
                items.iter().enumerate().map(|(at, item)| (format!("items[{at}]"), item.clone())).collect()
            }
            _ => vec![(String::new(), document.value.clone())],
        };
        for (prefix, value) in items {
            self.objects.push(Manifest { file: file.to_owned(), value, document: document.clone(), prefix });
        }
    }

    fn unreadable(&mut self, file: &str, error: &std::io::Error) {
        let message = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or folder".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        self.whole(file, &message);
    }

    fn whole(&mut self, file: &str, message: &str) {
        self.problems.push(Problem {
            file: file.to_owned(),
            document: 0,
            at: None,
            field: String::new(),
            message: message.to_owned(),
        });
    }

    /// Puts what others need before what needs it: namespaces, definitions of kinds, configuration, Services, then
    /// what runs.
    pub fn sort(&mut self) {
        self.objects.sort_by_key(|manifest| order::rank(manifest.text("kind")));
    }
}

/// The manifests of a folder, in the order of their names; folders in it are not entered, as with `kubectl apply -f`.
fn files_in(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let known = path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known));
        if known && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

impl Manifest {
    /// A problem with the field at `path`.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let full = match (self.prefix.as_str(), path) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        Problem {
            file: self.file.clone(),
            document: self.document.index + 1,
            at: self.document.locate(&full),
            field: path.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.value[field].as_str().unwrap_or_default()
    }

    /// What the object is called, for people: `Deployment guestbook/frontend`.
    pub fn title(&self) -> String {
        let meta = &self.value["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        match meta["namespace"].as_str() {
            Some(namespace) if !namespace.is_empty() => format!("{} {namespace}/{name}", self.text("kind")),
            _ => format!("{} {name}", self.text("kind")),
        }
    }
}

/// Checks what can be told from the object alone: that it names a kind that is served, has a name, and holds no field
/// of the wrong type and none that its kind does not know.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(manifest: &Manifest, scheme: &Scheme) -> Result<(), Problem> {
    let value = &manifest.value;
    if !value.is_object() {
        return Err(
            manifest.problem("", "an object is expected here: fields such as apiVersion, kind and metadata")
        );
    }
    for field in ["apiVersion", "kind"] {
        if manifest.text(field).is_empty() {
            return Err(manifest.problem(field, format!("{field} is missing: it says what this object is")));
        }
    }
    let (api_version, kind) = (manifest.text("apiVersion"), manifest.text("kind"));
    let Some(resource) = scheme.by_api_version(api_version, kind) else {
        return Err(manifest.problem("kind", order::unknown_kind(api_version, kind, scheme)));
    };
    let named = |field: &str| value["metadata"][field].as_str().is_some_and(|name| !name.is_empty());
    if !named("name") && !named("generateName") {
        return Err(manifest.problem("metadata", "metadata.name is missing: every object needs a name"));
    }
    let mut copy = value.clone();
    let complaints = codec::conform(&resource.schema, resource.ty, &mut copy, &[])
        .map_err(|error| manifest.problem(&error.path, words::wrong_type(&error.message)))?;
    match complaints.first() {
        // `unknown field "spec.foo"`.
        Some(complaint) => {
            let field = complaint.split('"').nth(1).unwrap_or_default();
            let message =
                format!("{field} is unknown to {kind}: mistyped, or indented too far or not far enough");
            Err(manifest.problem(field, message))
        }
        None => Ok(()),
    }
}
