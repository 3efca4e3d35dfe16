//! Types, and which of them fit where.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Type {
    /// Anything; known only when it runs.
    Dyn,
    /// Of an expression that was complained of.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<(Type, Type)>),
    Optional(Arc<Type>),
    /// The type of a type.
    Meta(Arc<Type>),
    /// An object with declared fields.
    Object(Arc<ObjectType>),
    /// A type that a library brings.
    Opaque(&'static str),
    /// Stands for a type, the same one wherever its number stands.
    Param(u32),
}

/// An object with declared fields.
#[derive(Debug)]
pub(crate) struct ObjectType {
    pub(crate) name: String,
    pub(crate) fields: BTreeMap<String, Type>,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &ObjectType) -> bool {
        std::ptr::eq(self, other) || self.name == other.name && self.fields == other.fields
    }
}

impl Type {
    pub(crate) fn list(of: Type) -> Type {
        Type::List(Arc::new(of))
    }

    pub(crate) fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new((key, value)))
    }

    pub(crate) fn optional(of: Type) -> Type {
        Type::Optional(Arc::new(of))
    }

    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Error => f.write_str("!error!"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(of) => write!(f, "map({}, {})", of.0, of.1),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Meta(of) => write!(f, "type({of})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(n) => write!(f, "_var{n}"),
        }
    }
}

/// What parameters stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    known: HashMap<u32, Type>,
}

impl Bindings {
    /// The type with all that is known put in. `free`: what parameters that stand for nothing yet become.
    pub(super) fn resolve(&self, ty: &Type, free: Option<&Type>) -> Type {
        let again = |ty: &Type| self.resolve(ty, free);
        match ty {
            Type::Param(n) => match self.known.get(n) {
                Some(known) => again(known),
                None => free.cloned().unwrap_or_else(|| ty.clone()),
            },
            Type::List(of) => Type::list(again(of)),
            Type::Map(of) => Type::map(again(&of.0), again(&of.1)),
            Type::Optional(of) => Type::optional(again(of)),
            Type::Meta(of) => Type::Meta(Arc::new(again(of))),
            other => other.clone(),
        }
    }

    fn direct(&self, ty: &Type) -> Type {
        match ty {
            Type::Param(n) => self.known.get(n).map_or_else(|| ty.clone(), |known| self.direct(known)),
            other => other.clone(),
        }
    }

    fn occurs(&self, param: u32, ty: &Type) -> bool {
        match self.direct(ty) {
            Type::Param(n) => n == param,
            Type::List(of) | Type::Optional(of) | Type::Meta(of) => self.occurs(param, &of),
            Type::Map(of) => self.occurs(param, &of.0) || self.occurs(param, &of.1),
            _ => false,
        }
    }

    /// Whether a value of `from` may stand where `to` is wanted; binds parameters on the way.
    pub(super) fn fits(&mut self, from: &Type, to: &Type) -> bool {
        let (from, to) = (self.direct(from), self.direct(to));
        match (&from, &to) {
            (Type::Param(a), Type::Param(b)) if a == b => true,
            (ty, Type::Param(n)) | (Type::Param(n), ty) => {
                if self.occurs(*n, ty) {
                    return false;
                }
                self.known.insert(*n, ty.clone());
                true
            }
            (a, b) if a.is_dyn() || b.is_dyn() => true,
            (Type::Null, to) | (to, Type::Null) => matches!(
                to,
                Type::Null
                    | Type::Object(_)
                    | Type::Opaque(_)
                    | Type::Timestamp
                    | Type::Duration
                    | Type::Optional(_)
            ),
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Meta(_), Type::Meta(_)) => true,
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (a, b) => a == b,
        }
    }

    /// [`Bindings::fits`] that binds nothing where it does not.
    pub(super) fn try_fit(&mut self, from: &[Type], to: &[Type]) -> bool {
        let mut bindings = self.clone();
        let fits = from.len() == to.len() && from.iter().zip(to).all(|(from, to)| bindings.fits(from, to));
        if fits {
            *self = bindings;
        }
        fits
    }
}
