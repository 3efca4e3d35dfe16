//! What the schema says about a field's merging.

use orlop_core::schema::{Field, Schema, StructId, Type};

use super::PatchError;

/// A type within its schema, as a patch meets it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    schema: &'a Schema,
    ty: Shape<'a>,
}

#[derive(Clone, Copy)]
enum Shape<'a> {
    Struct(StructId),
    Other(&'a Type),
}

/// How a field merges, and what is below it: for lists, their items.
#[derive(Clone, Copy)]
pub(super) struct Rule<'a> {
    pub(super) below: At<'a>,
    /// Lists merge instead of being replaced.
    pub(super) merge: bool,
    /// Objects are replaced instead of being merged.
    pub(super) replace: bool,
    /// Patches computed for the object name the keys that it keeps.
    pub(super) retain_keys: bool,
    /// Empty for lists of scalars.
    pub(super) key: &'a str,
}

impl<'a> At<'a> {
    pub(super) fn root(schema: &'a Schema, id: StructId) -> At<'a> {
        At { schema, ty: Shape::Struct(id) }
    }

    fn of(schema: &'a Schema, ty: &'a Type) -> At<'a> {
        At { schema, ty: ty.as_struct().map_or(Shape::Other(ty), Shape::Struct) }
    }

    /// The last part of the type's name, for messages.
    pub(super) fn name(&self) -> &'a str {
        match self.ty {
            Shape::Struct(id) => {
                let name = self.schema[id].name.as_str();
                name.rsplit_once('.').map_or(name, |(_, last)| last)
            }
            Shape::Other(ty) => shape(ty),
        }
    }

    fn field(&self, name: &str) -> Result<&'a Field, PatchError> {
        match self.ty {
            Shape::Struct(id) => self.schema[id].field(name).ok_or_else(|| {
                PatchError::Internal(format!(
                    "unable to find api field in struct {} for the json field {name:?}",
                    self.name()
                ))
            }),
            Shape::Other(ty) => Err(PatchError::Internal(format!(
                "merging an object in json but data type is not struct, instead is: {}",
                shape(ty)
            ))),
        }
    }

    /// The rule of a field that holds an object.
    pub(super) fn object(&self, name: &str) -> Result<Rule<'a>, PatchError> {
        let field = self.field(name)?;
        Ok(self.rule(field, &field.ty))
    }

    /// The rule of a field that holds a list.
    pub(super) fn list(&self, name: &str) -> Result<Rule<'a>, PatchError> {
        let field = self.field(name)?;
        match &field.ty {
            Type::List(list) if matches!(list.item, Type::List(_)) => {
                Err(PatchError::Internal("unexpected slice of slice".into()))
            }
            Type::List(list) => Ok(self.rule(field, &list.item)),
            Type::Bytes | Type::Any(_) => Ok(self.rule(field, &field.ty)),
            other => {
                Err(PatchError::Internal(format!("expected slice or array type, but got: {}", shape(other))))
            }
        }
    }

    fn rule(&self, field: &'a Field, below: &'a Type) -> Rule<'a> {
        Rule {
            below: At::of(self.schema, below),
            merge: field.patch.merge,
            replace: field.patch.replace,
            retain_keys: field.patch.retain_keys,
            key: field.patch_merge_key.as_deref().unwrap_or_default(),
        }
    }
}

fn shape(ty: &Type) -> &'static str {
    match ty {
        Type::String => "string",
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Float => "float64",
        Type::List(_) | Type::Bytes => "slice",
        Type::Map(_) => "map",
        _ => "struct",
    }
}
