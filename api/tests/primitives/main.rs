//! The primitives, one behaviour a file, in every mode where the mode must not matter.

mod a_first_user;
mod a_memory_does_not_end;
mod cells_change_by_their_version;
mod events_keep_their_order;
mod modes;
mod pairs_are_kept_in_order;
mod random_operations;
mod runs_are_found;
mod spans_are_found;
mod spans_make_a_tree;
mod the_chain_shows_what_was_changed;
mod transactions_are_all_or_nothing;
mod waits_without_end;
mod watches_tell_of_changes;
mod what_a_transaction_looks_up;
