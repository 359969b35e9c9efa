//! What every implementation of the port must do.
//!
//! Each file has its tests as functions of a store, and lists them once, by [`suite!`]: every kind
//! of store runs all of them. A function that is not listed is dead code, which the compiler tells.

/// Makes tests of functions that take a store: a module of them for each kind of store.
macro_rules! suite {
    ($(#[test] fn $name:ident;)*) => {
        suite! { memory: Memory; $($name)* }
        #[cfg(feature = "file")]
        suite! { file: File; $($name)* }
    };
    ($module:ident: $host:ident; $($name:ident)*) => {
        mod $module {
            use crate::support::{$host, Host};

            $(#[test]
            fn $name() {
                let host = $host::new();
                super::$name(host.open());
            })*
        }
    };
}

mod order;
mod ownership;
mod races;
mod refusals;
mod streams;
