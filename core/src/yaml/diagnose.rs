//! Recognises a manifest whose indentation was lost, as in many a blog post.

use super::load::Failure;
use crate::schema::{Schema, Type};

/// Finds a field that is empty although what belongs under it stands beside it, in the same column.
pub(super) fn lost_indentation(text: &str) -> Option<Failure> {
    let lines = || {
        text.lines().enumerate().filter_map(|(number, line)| {
            let bare = line.trim_start();
            (!bare.is_empty() && !bare.starts_with('#'))
                .then(|| (number + 1, line.len() - bare.len(), bare.trim_end()))
        })
    };
    // The column of the document's own fields.
    let (_, column, _) = lines().next()?;
    let top = |wanted: &str| {
        lines().filter(|(_, indent, _)| *indent == column).find_map(|(_, _, line)| {
            let (key, value) = line.split_once(':')?;
            (key == wanted).then(|| value.trim().trim_matches(['"', '\'']))
        })
    };
    let (group, version) = crate::scheme::split_api_version(top("apiVersion")?);
    let schema = Schema::builtin();
    let root = schema.by_kind(group, version, top("kind")?).map(|id| &schema[id]);
    let mut previous: Option<(&str, usize)> = None;
    for (number, indent, line) in lines() {
        let key = line.trim_start_matches("- ").split_once(':').map(|(key, _)| key);
        if let (Some((parent, parent_indent)), Some(key)) = (previous, key)
            && parent_indent == indent
            && indent == column
            && !line.starts_with('-')
        {
            let belongs_under = match root {
                Some(root) if root.field(key).is_some() => false,
                Some(root) => match root.field(parent).map(|f| &f.ty) {
                    Some(Type::Struct(id)) => schema[*id].field(key).is_some(),
                    Some(Type::Map(_)) => true,
                    _ => false,
                },
                None => {
                    parent == "metadata"
                        && matches!(key, "name" | "generateName" | "namespace" | "labels" | "annotations")
                }
            };
            if belongs_under {
                return Some(Failure {
                    line: number,
                    column: indent + 1,
                    path: parent.to_owned(),
                    message: format!(
                        "{parent} is empty and {key} stands beside it in the same column: the indentation was lost; \
                         indent the lines under {parent}"
                    ),
                    first: None,
                });
            }
        }
        previous =
            line.strip_suffix(':').filter(|key| !key.contains([' ', '"', '\''])).map(|key| (key, indent));
    }
    None
}
