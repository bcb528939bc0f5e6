//! What the data model promises, one file a subject.

mod any;
mod bytes;
mod json;
mod keys;
mod limits;
mod names;
mod order;
mod run_ids;
mod times;
mod typed;
mod values;
