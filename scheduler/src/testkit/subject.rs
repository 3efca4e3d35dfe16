//! What can be checked: a plugin of one of the traits, or a profile.

use crate::framework::{Filter, PreFilter, PreScore, Reserve, Score};
use crate::profile::Profile;

/// What [`check`](super::check) takes. The parameter says as what, and is inferred where a type is only one of them.
pub trait Subject<As> {
    /// A profile with it, and the name of the plugin that is meant; `None`: all of it.
    fn into_profile(self) -> (Profile, Option<String>);
}

/// As a [`Filter`].
#[derive(Debug)]
pub enum AsFilter {}
/// As a [`PreFilter`].
#[derive(Debug)]
pub enum AsPreFilter {}
/// As a [`Score`].
#[derive(Debug)]
pub enum AsScore {}
/// As a [`PreScore`].
#[derive(Debug)]
pub enum AsPreScore {}
/// As a [`Reserve`].
#[derive(Debug)]
pub enum AsReserve {}
/// As a [`Profile`].
#[derive(Debug)]
pub enum AsProfile {}

impl Subject<AsProfile> for Profile {
    fn into_profile(self) -> (Profile, Option<String>) {
        (self, None)
    }
}

/// A plugin beside those of the default profile, in the place of one with its name.
macro_rules! plugin {
    ($as:ident, $trait:ident, $add:expr) => {
        impl<P: $trait + 'static> Subject<$as> for P {
            fn into_profile(self) -> (Profile, Option<String>) {
                let name = self.name().to_owned();
                let add: fn(Profile, P) -> Profile = $add;
                (add(Profile::default().without(&name), self), Some(name))
            }
        }
    };
}

plugin!(AsFilter, Filter, |profile, plugin| profile.filter(plugin));
plugin!(AsPreFilter, PreFilter, |profile, plugin| profile.pre_filter(plugin));
plugin!(AsScore, Score, |profile, plugin| profile.score(plugin, 1));
plugin!(AsPreScore, PreScore, |profile, plugin| profile.pre_score(plugin, 1));
plugin!(AsReserve, Reserve, |profile, plugin| profile.reserve(plugin));
