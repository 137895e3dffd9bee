//! Settings: what a file, the environment and flags say, checked against one table of keys.
//!
//! In: text. Out: [`Settings`], or all that is wrong with line and column. Never: a file opened by
//! itself, an effect of a setting, a secret in what is shown.
//!
//! The table ([`keys`]) is what everything follows from: what is accepted, what is said of it, the
//! JSON Schema, the page of the reference, the names of variables.

mod check;
mod keys;
mod kind;
mod layers;
mod problem;
mod reference;
mod schema;
mod settings;
mod show;
#[cfg(test)]
mod tests;
mod value;
pub mod values;
mod yaml;

pub use keys::KEYS;
pub use kind::{Key, Kind};
pub use layers::{Effective, Origin, Sources, effective};
pub use problem::Problem;
pub use reference::reference;
pub use schema::schema;
pub use settings::*;
pub use show::show;
pub use value::Value;
pub use yaml::FILE_BYTES;
