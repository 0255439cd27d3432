//! The API server: Kubernetes objects on one machine, as kube-apiserver serves them.
//!
//! [`serve`] speaks HTTP and knows who asks, [`rest`] does what can be done to objects over a [`store`], [`kinds`] says what each
//! kind is and does. What it does *not* do: run Pods, or anything else that objects ask for; [`collect`] only removes what
//! is not wanted any more.

#![deny(missing_docs)]

pub mod access;
pub mod address;
pub mod age;
pub mod allocate;
pub mod body;
pub mod chance;
pub mod collect;
pub mod connect;
pub mod discovery;
pub mod kinds;
pub mod manage;
pub mod meta;
pub mod mistake;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod range;
pub mod rest;
pub mod scale;
pub mod schema;
pub mod select;
pub mod serve;
pub mod start;
pub mod status;
pub mod writing;
