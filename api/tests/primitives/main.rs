//! The primitives, one behaviour a file, in every mode where the mode must not matter.

mod events_keep_their_order;
mod modes;
mod spans_are_found;
mod spans_make_a_tree;
mod the_chain_shows_what_was_changed;
mod watches_tell_of_changes;
